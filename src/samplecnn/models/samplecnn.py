"""SampleCNN: stacks of tiny convolutions on the waveform (Kim, Lee, Nam: ICASSP 2018 and IEEE JSTSP 2019)."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplecnn import kernels
from samplecnn.errors import SampleCNNError
from samplecnn.kernels import gpu
from samplecnn.models.config import FIRST_SIZE, ModelConfig
from samplecnn.models.initialization import initialize
from samplecnn.models.layer_specs import LogMelSpec
from samplecnn.models.layers import BatchNorm, FirstConv, LogMelFrames, head_dropout, is_frozen
from samplecnn.models.spec import network_spec
from samplecnn.models.stages import Stage
from samplecnn.task import Task


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
        Any number of samples from `min_samples` on, 3 ** (num_blocks + 1) - 2 for the original's sizes and padding.

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

        self.spec = spec = network_spec(config)
        self.min_samples = spec.min_samples  # of which every pooling leaves something; an attribute, for torch.compile
        padding = spec.first_padding
        self.conv0: FirstConv | None = None
        self.logmel: LogMelFrames | None = None
        if isinstance(spec.first, LogMelSpec):
            self.logmel = LogMelFrames(spec.first.logmel)
        else:
            self.conv0 = FirstConv(spec.first.features, padding, spec.first.width)
        self.norm0 = BatchNorm(spec.first.features)
        self.stem = None if spec.stem is None else Stage(spec.stem, padding)
        self.blocks = nn.ModuleList(Stage(block) for block in spec.blocks)
        self.tail = None if spec.tail is None else Stage(spec.tail)
        self.final_fc = nn.Linear(spec.hidden.inputs, spec.hidden.outputs)
        self.final_norm = BatchNorm(spec.hidden.outputs)
        self.logit = nn.Linear(spec.logit.inputs, spec.logit.outputs)
        self._frozen: list[nn.Module] = []
        initialize(self)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees just before the head, whose pooling over time looks at all frames."""
        return self.spec.receptive_field

    @property
    def hop(self) -> int:
        """Samples from one frame of the last block's output to the next."""
        return self.spec.hop

    def freeze(self, blocks: int) -> None:
        """Fixes the first layer, the stem and the first `blocks` blocks, of which training changes nothing any more.

        Their weights get no gradients, and their batch norms use the stored statistics in training mode too.
        """
        parts = (self.conv0, self.logmel, self.norm0, self.stem, *self.blocks[:blocks])
        self._frozen = [part for part in parts if part is not None]
        for part in self._frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "SampleCNN":
        """Training or evaluation mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def features(self, x: Tensor) -> list[Tensor]:
        """x [batch, samples] -> every block's output [batch, time, features], first to last."""
        if x.ndim != 2:
            raise SampleCNNError(f"the model takes [batch, samples], not a shape of {list(x.shape)}")
        if x.shape[1] < self.min_samples:
            raise SampleCNNError(f"{x.shape[1]} samples are too few: this model needs {self.min_samples} or more")
        wave = x
        x = self.first(wave)
        if self.stem is not None:
            x = self.stem(x, wave)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        if self.tail is not None:
            outputs[-1] = self.tail(outputs[-1])
        return outputs

    @property
    def stages(self) -> list[Stage]:
        """Stem, blocks and tail, as far as there are any, first to last."""
        return [stage for stage in (self.stem, *self.blocks, self.tail) if isinstance(stage, Stage)]

    def first(self, wave: Tensor) -> Tensor:
        """The first convolution, batch norm and ReLU: [batch, samples] -> [batch, time, features].

        Or log-mel frames and batch norm. The waveform goes in at full precision: rounding it would add noise that no
        later layer could remove.
        """
        if self.logmel is not None:
            frames: Tensor = self.norm0(self.logmel(wave))
            return frames.to(self.compute_dtype)
        assert self.conv0 is not None
        values = wave.numel() // self.conv0.size * self.config.features
        fusable = self.conv0.size == FIRST_SIZE and not wave.requires_grad
        frozen = is_frozen(self.conv0.weight, wave)
        on_gpu = self.norm0.training and torch.is_grad_enabled() and gpu.is_usable(wave)
        if fusable and (on_gpu or ((self.norm0.training or frozen) and kernels.is_faster(wave, values))):
            conv, norm = self.conv0, self.norm0
            assert conv.bias is not None
            frames, weights, normed = conv.frames(wave), (conv.weight, conv.bias), (norm.weight, norm.bias)
            if frozen and not on_gpu:
                stored = norm.running_mean, norm.running_var
                return kernels.stored_first_conv(frames, weights, normed, stored, norm.EPSILON, self.compute_dtype)
            first_conv = gpu.first_conv if on_gpu else kernels.first_conv
            x, mean, var = first_conv(frames, *weights, *normed, norm.EPSILON, self.compute_dtype)
            norm.update_running_stats(mean, var)
            return x
        return self.norm0(self.conv0(wave).to(self.compute_dtype), relu=True)

    def forward(self, x: Tensor) -> Tensor:
        levels = self.features(x)[-self.spec.levels :]
        pooled = torch.cat([level.amax(1) for level in levels], dim=1).float()
        hidden = F.relu(self.final_norm(self.final_fc(pooled)))
        return self.logit(head_dropout(hidden, self.config.dropout, self.training))

    def probabilities(self, x: Tensor) -> Tensor:
        """Probabilities [batch, classes]: sigmoid for a multilabel task, softmax for a multiclass one."""
        if self.task is None:
            raise SampleCNNError("a model without a task has no probabilities; give SampleCNN(config, task) one")
        return activate(self(x), self.task)

    def num_trainable(self) -> int:
        """Weights that training adjusts: what the original prints as the number of parameters."""
        return sum(value.numel() for value in self.parameters())

    @property
    def title(self) -> str:
        """Kind and depth in words: "se_pool2, 13 blocks"."""
        return f"{self.config.signature}, {self.config.num_blocks} blocks"

    @property
    def size(self) -> str:
        """The number of values in words."""
        weights = self.num_trainable()
        return f"{weights:,} trainable weights and {self.num_values() - weights:,} batch-norm statistics"

    def num_values(self) -> int:
        """All values of the model, batch-norm statistics counted, as Keras counts parameters."""
        return sum(value.numel() for value in self.state_dict().values())

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> "SampleCNN":
        """As `samplecnn.load`, with the options that are usual for models of the hub.

        Args:
            model: a path, the name of a packaged model, or a hub id, in this order.
            revision: a branch, a tag or a commit of a model on the hub.
            device: where the weights go.
            token: for private models; None: HF_TOKEN, or that of `hf auth login`.
            cache_dir: of downloads; None: that of huggingface_hub.
            local_files_only: does not use the network.

        Raises:
            UsageError, SampleCNNError: as `samplecnn.load`.
        """
        options = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        loaded: SampleCNN = _later("interop.hub.upload").load_pretrained(model, device, **options)
        return loaded

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a model folder, model.safetensors and config.json, with a card, README.md."""
        _later("interop.hub.upload").write_folder(self, folder, Path(folder).resolve().name)

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Uploads the model with its card to the hub, in one commit.

        Args:
            repository: "org/name", made if it does not exist; or "org/name@branch".
            options: `private`, `token`, `message`, `licence`, `scores`, `replace_card`, as of
                `samplecnn.interop.hub.upload.push`.

        Returns:
            The address of the commit.
        """
        address: str = _later("interop.hub.upload").push(self, repository, **options)
        return address


def _later(module: str) -> Any:
    """A module that comes after this one in the flow of data: what is called on a model, but belongs to its files."""
    return import_module(f"samplecnn.{module}")
