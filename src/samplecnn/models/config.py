"""The settings of an architecture, as they are stored in config.json; nothing here needs PyTorch."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from samplecnn.errors import UsageError
from samplecnn.models.blocks import block_spec

MULTI_LEVELS = 3  # blocks whose outputs the head sees with multi-level aggregation
EPSILON = 1e-3  # of batch norms, as in Keras
NORM_UPDATE = 0.01  # share of a batch's statistics in the running averages; Keras calls 1 - this the momentum
FIRST_WIDTH = 3  # samples of the first convolution, which is as wide as its stride

FirstPadding = Literal["same", "valid", "centred"]


@dataclass(frozen=True)
class ModelConfig:
    """The settings of a network; `spec.network_spec` derives its layers from them.

    Args:
        block: a name in `blocks.BLOCKS` or `blocks.CONVERTED_BLOCKS`.
        multi: multi-level aggregation: the head sees the last three blocks.
        num_blocks: blocks after the first convolution; each divides the length by its pooling (`blocks_for_window`).
        num_classes: outputs.
        features: width of the first convolution and of blocks 0 and 1; doubles at block 2 and at the last block.
        amplifying_ratio: hidden width of the excitations as a share of the features.
        dropout: share of the last hidden layer's features dropped in training.
        first_padding: how the first convolution pads the waveform, see `first_padding`.
        tail: one more stage of 1-wide convolutions between the last block and the head.

    Raises:
        UsageError: a value outside its range, named.

    Example:
        >>> ModelConfig(block="rese2", num_blocks=8, num_classes=35).widths
        [128, 128, 256, 256, 256, 256, 256, 512]
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
        kind = block_spec(self.block)
        fewest = MULTI_LEVELS if self.multi else 1
        if self.num_blocks < fewest:
            raise UsageError(
                f"a model{' with --multi' if self.multi else ''} needs {fewest} blocks, not {self.num_blocks}"
            )
        if self.num_classes < 1 or self.features < 1:
            raise UsageError("a model needs at least one class and one feature")
        if kind.excites and int(self.features * self.amplifying_ratio) < 1:
            raise UsageError(
                f"amplifying ratio {self.amplifying_ratio:g} leaves no hidden unit of {self.features} features; "
                f"it must be at least {1 / self.features:g}; the blocks basic, res1 and res2 have no excitations"
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

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        return cls(**{key: values[key] for key in cls.__dataclass_fields__ if key in values})


def blocks_for_window(window: int, block: str = "se") -> int:
    """Blocks that shorten `window` samples to less frames than one more block would pool.

    Example:
        >>> blocks_for_window(59049), blocks_for_window(22050)
        (9, 8)
    """
    pool = block_spec(block).pool
    frames, blocks = -(-window // FIRST_WIDTH), 0
    while frames >= pool:
        frames, blocks = frames // pool, blocks + 1
    return max(blocks, 1)


def first_padding(samples: int, kind: FirstPadding) -> tuple[int, int]:
    """Zeros before and after the waveform that make `samples` a multiple of 3; below zero: samples left out.

    "same" is TensorFlow's (the smaller half in front; the original), "valid" leaves out samples that do not fill a
    frame of 3 (the authors' code of 2018), "centred" is PyTorch's padding=1, every frame centred on a sample
    (its peers).
    For a multiple of 3, the first two are the same.

    Example:
        >>> first_padding(100, "same"), first_padding(100, "valid"), first_padding(99, "centred")
        ((1, 1), (0, -1), (1, -1))
    """
    if kind == "valid":
        return 0, -(samples % FIRST_WIDTH)
    total = -samples % FIRST_WIDTH
    return (1, total - 1) if kind == "centred" else (total // 2, total - total // 2)
