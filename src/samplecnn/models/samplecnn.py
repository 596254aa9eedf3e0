"""SampleCNN: stacks of tiny convolutions on the waveform (Kim, Lee, Nam: ICASSP 2018 and IEEE JSTSP 2019)."""

import itertools
from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.models import fast
from samplecnn.models.blocks import BLOCKS, RELATIVES
from samplecnn.models.ends import stem_of, tail_of
from samplecnn.models.initialization import initialize
from samplecnn.models.layers import BatchNorm, FirstConv, FirstPadding
from samplecnn.task import Task

MULTI_LEVELS = 3  # blocks whose outputs --multi brings together


@dataclass(frozen=True)
class ModelConfig:
    """The architecture.

    Args:
        block: a name in BLOCKS, or in RELATIVES.
        multi: multi-level aggregation: the head sees the last three blocks.
        num_blocks: blocks after the first convolution; each divides the length by 3 (`blocks_for_window`).
        num_classes: outputs.
        features: width of the first convolution and of blocks 0 and 1; doubles at block 2 and at the last block.
        amplifying_ratio: hidden width of the excitations as a share of the features.
        dropout: share of the last hidden layer's features dropped in training.
        first_padding: how the first convolution meets the ends of the waveform, see `layers.first_padding`.
        tail: one more layer behind the last block, 1 wide (`ends`).

    Raises:
        UsageError: a value outside its range, named.
    """

    block: str = "se"
    multi: bool = False
    num_blocks: int = 9
    num_classes: int = 50
    features: int = 128
    amplifying_ratio: float = 0.125
    dropout: float = 0.5
    first_padding: FirstPadding = "same"
    tail: bool = False

    def __post_init__(self) -> None:
        if self.block not in BLOCKS and self.block not in RELATIVES:
            raise UsageError(f"unknown block {self.block!r}: choose one of {', '.join([*BLOCKS, *RELATIVES])}")
        least = MULTI_LEVELS if self.multi else 1
        if self.num_blocks < least:
            raise UsageError(
                f"a model{' with --multi' if self.multi else ''} needs {least} blocks, not {self.num_blocks}"
            )
        if self.num_classes < 1 or self.features < 1:
            raise UsageError("a model needs at least one class and one feature")
        if "se" in self.block and int(self.features * self.amplifying_ratio) < 1:
            raise UsageError(
                f"amplifying ratio {self.amplifying_ratio:g} leaves no hidden unit of {self.features} features; "
                f"it must be at least {1 / self.features:g}"
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, not {self.dropout:g}")
        if self.first_padding not in get_args(FirstPadding):
            raise UsageError(f"first padding {self.first_padding!r}: expected {', '.join(get_args(FirstPadding))}")

    @property
    def widths(self) -> list[int]:
        """Features of every block."""
        widths, width = [], self.features
        for i in range(self.num_blocks):
            width *= 2 if i in (2, self.num_blocks - 1) else 1
            widths.append(width)
        return widths

    @property
    def signature(self) -> str:
        """The name of a run where none is given: "se", "rese2_multi"."""
        return self.block + ("_multi" if self.multi else "")

    @property
    def beyond_the_original(self) -> str | None:
        """What of this architecture the original's code has no words for; None where it has them for all."""
        if self.block not in BLOCKS:
            return f"its block {self.block}"
        if self.tail:
            return "its layer between the last block and the head"
        return "its first convolution, centred on the samples" if self.first_padding == "centred" else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        return cls(**{key: values[key] for key in cls.__dataclass_fields__ if key in values})


def blocks_for_window(window: int) -> int:
    """Blocks that bring `window` samples down to the last step or two: 9 for 59,049, 8 for 22,050."""
    steps, blocks = -(-window // 3), 0
    while steps >= 3:
        steps, blocks = steps // 3, blocks + 1
    return max(blocks, 1)


def activate(logits: Tensor, task: Task) -> Tensor:
    """Probabilities [batch, classes]: sigmoid for a multilabel task, softmax for a multiclass one."""
    return torch.sigmoid(logits) if task.kind == "multilabel" else torch.softmax(logits, dim=1)


class SampleCNN(nn.Module):
    """The network.

    Args:
        config: the architecture.
        task: what it was trained for; carried along so that a model can be used without anything else.

    Shape:
        x [batch, samples], standardised as (wave - task.mean) / task.std -> logits [batch, classes].
        Any number of samples from `least_samples` on, 3 ** (num_blocks + 1) - 2 for the original's padding.

    Example:
        >>> net = SampleCNN(ModelConfig(block="rese2", multi=True, num_blocks=8, num_classes=35))
        >>> net(torch.zeros(2, 22050)).shape
        torch.Size([2, 35])
    """

    def __init__(self, config: ModelConfig, task: Task | None = None) -> None:
        super().__init__()
        if task is not None and task.num_classes != config.num_classes:
            raise SampleCNNError(
                f"{config.num_classes} outputs do not fit the {task.num_classes} classes of {task.name}"
            )
        self.config = config
        self.task = task
        self.compute_dtype = torch.float32

        widths = [config.features, *config.widths]
        self.conv0 = FirstConv(config.features, config.first_padding)
        self.norm0 = BatchNorm(config.features)
        self.stem = stem_of(config)
        block = {**BLOCKS, **RELATIVES}[config.block]
        self.blocks = nn.ModuleList(block(a, b, config) for a, b in itertools.pairwise(widths))
        self.tail = tail_of(config)
        head = sum(widths[-MULTI_LEVELS:]) if config.multi else widths[-1]
        self.final_fc = nn.Linear(head, head)
        self.final_norm = BatchNorm(head)
        self.logit = nn.Linear(head, config.num_classes)
        initialize(self)

    @property
    def least_samples(self) -> int:
        """The shortest input that every pooling leaves something of."""
        return 3 ** (self.config.num_blocks + 1) - (0 if self.config.first_padding == "valid" else 2)

    def features(self, x: Tensor) -> list[Tensor]:
        """x [batch, samples] -> every block's output [batch, time, features], first to last."""
        if x.ndim != 2:
            raise SampleCNNError(f"the model takes [batch, samples], not a shape of {list(x.shape)}")
        if x.shape[1] < self.least_samples:
            raise SampleCNNError(f"{x.shape[1]} samples are too few: this model needs {self.least_samples} or more")
        wave = x
        x = self.first(wave)
        if self.stem is not None:
            x = self.stem(wave, x)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        if self.tail is not None:
            outputs[-1] = self.tail(outputs[-1])
        return outputs

    def first(self, wave: Tensor) -> Tensor:
        """The first convolution, batch norm and ReLU: [batch, samples] -> [batch, time, features].

        The waveform goes in at full precision: rounding it would add noise that no later layer could remove.
        """
        values = wave.numel() // 3 * self.config.features
        if self.training and not wave.requires_grad and fast.fits(wave, values):
            conv, norm = self.conv0, self.norm0
            assert conv.bias is not None
            parameters = conv.weight, conv.bias, norm.weight, norm.bias
            x, mean, var = fast.stem(conv.threes(wave), *parameters, norm.EPSILON, self.compute_dtype)
            norm.note(mean, var)
            return x
        return self.norm0(self.conv0(wave).to(self.compute_dtype), relu=True)

    def forward(self, x: Tensor) -> Tensor:
        levels = self.features(x)[-MULTI_LEVELS if self.config.multi else -1 :]
        pooled = torch.cat([level.amax(1) for level in levels], dim=1).float()
        hidden = F.relu(self.final_norm(self.final_fc(pooled)))
        return self.logit(F.dropout(hidden, self.config.dropout, self.training))

    def probabilities(self, x: Tensor) -> Tensor:
        """Probabilities [batch, classes]: sigmoid for a multilabel task, softmax for a multiclass one."""
        if self.task is None:
            raise SampleCNNError("a model without a task has no probabilities; give SampleCNN(config, task) one")
        return activate(self(x), self.task)

    def num_values(self) -> int:
        """All values of the model, batch-norm statistics counted, as Keras counts parameters."""
        values = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return sum(value.numel() for value in values.values())
