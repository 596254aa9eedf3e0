"""The architecture as data, and which blocks there are; nothing here needs PyTorch."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args

from samplecnn.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

MULTI_LEVELS = 3  # blocks whose outputs --multi brings together
EPSILON = 1e-3  # of batch norms, as in Keras
NORM_UPDATE = 0.01  # share of a batch's statistics in the running averages; Keras calls 1 - this the momentum
INNER_DROPOUT = 0.2  # between the two convolutions of res2 and rese2, as in wide residual networks


@dataclass(frozen=True)
class Block:
    """A kind of building block, [batch, time, channels] -> [batch, time // 3, features].

    Args:
        place: "module:function" of this package; the function (channels, features, config) makes the block's module.
        convs: convolutions one after the other.
        excites: whether an excitation scales what comes of them.
    """

    place: str
    convs: int = 1
    excites: bool = False

    @property
    def make(self) -> "Callable[[int, int, ModelConfig], nn.Module]":
        module, _, name = self.place.partition(":")
        made: Callable[[int, int, ModelConfig], nn.Module] = getattr(import_module(f"samplecnn.models.{module}"), name)
        return made


BLOCKS = {
    "basic": Block("blocks:basic"),
    "se": Block("blocks:se", excites=True),
    "res1": Block("blocks:res1"),
    "res2": Block("blocks:res2", convs=2),
    "rese1": Block("blocks:rese1", excites=True),
    "rese2": Block("blocks:rese2", convs=2, excites=True),
}
# What other programs made of rese2; such models are converted and used, not trained from scratch (see `ends`).
WIDE = "rese2-wide"
CONVERTED_BLOCKS = {WIDE: Block("blocks:rese2_wide", convs=2, excites=True)}

FirstPadding = Literal["same", "valid", "centred"]


@dataclass(frozen=True)
class ModelConfig:
    """The architecture.

    Args:
        block: a name in BLOCKS, or in CONVERTED_BLOCKS.
        multi: multi-level aggregation: the head sees the last three blocks.
        num_blocks: blocks after the first convolution; each divides the length by 3 (`blocks_for_window`).
        num_classes: outputs.
        features: width of the first convolution and of blocks 0 and 1; doubles at block 2 and at the last block.
        amplifying_ratio: hidden width of the excitations as a share of the features.
        dropout: share of the last hidden layer's features dropped in training.
        first_padding: how the first convolution meets the ends of the waveform, see `first_padding`.
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
        if self.block not in BLOCKS and self.block not in CONVERTED_BLOCKS:
            raise UsageError(f"unknown block {self.block!r}: choose one of {', '.join([*BLOCKS, *CONVERTED_BLOCKS])}")
        least = MULTI_LEVELS if self.multi else 1
        if self.num_blocks < least:
            raise UsageError(
                f"a model{' with --multi' if self.multi else ''} needs {least} blocks, not {self.num_blocks}"
            )
        if self.num_classes < 1 or self.features < 1:
            raise UsageError("a model needs at least one class and one feature")
        if self.kind.excites and int(self.features * self.amplifying_ratio) < 1:
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
    def min_samples(self) -> int:
        """The shortest input that every pooling leaves something of."""
        return 3 ** (self.num_blocks + 1) - (0 if self.first_padding == "valid" else 2)

    @property
    def kind(self) -> Block:
        """Its blocks' kind."""
        return {**BLOCKS, **CONVERTED_BLOCKS}[self.block]

    @property
    def signature(self) -> str:
        """The name of a run where none is given: "se", "rese2_multi"."""
        return self.block + ("_multi" if self.multi else "")

    @property
    def unsupported_by_keras(self) -> str | None:
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


def first_padding(samples: int, kind: FirstPadding) -> tuple[int, int]:
    """Zeros in front and behind that make `samples` a whole number of threes; below zero: samples left out.

    "same" is TensorFlow's (the smaller half in front; the original), "valid" leaves out what does not fill a three
    (the authors' code of 2018), "centred" is PyTorch's padding=1, each three centred on a sample (its peers).
    For a length that three divides, the first two are the same.
    """
    if kind == "valid":
        return 0, -(samples % 3)
    total = -samples % 3
    return (1, total - 1) if kind == "centred" else (total // 2, total - total // 2)
