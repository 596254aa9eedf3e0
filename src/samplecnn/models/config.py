"""The settings of an architecture, as they are stored in config.json; nothing here needs PyTorch."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from samplecnn import parsing
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.models import logmel
from samplecnn.models.blocks import BlockSpec, block_spec
from samplecnn.models.logmel import LogMel
from samplecnn.parsing import Rule, choice, flag, number, or_null, text, whole
from samplecnn.task import MAX_CLASSES

MULTI_LEVELS = 3  # blocks whose outputs the head sees with multi-level aggregation
EPSILON = 1e-3  # of batch norms, as in Keras
NORM_UPDATE = 0.01  # share of a batch's statistics in the running averages; Keras calls 1 - this the momentum
FIRST_SIZE = 3  # samples of the first convolution, which is as wide as its stride

FirstPadding = Literal["same", "valid", "centred"]
Pooling = Literal["max", "strided"]

# More than any real network has: bounds on what a file can describe before its weights are looked at.
MAX_BLOCKS, MAX_FEATURES, MAX_RATIO, MAX_SIZE = 32, 8192, 64, 8192

# What a file or a caller may give for each field.
RULES: dict[str, Rule] = {
    "block": text(100),
    "multi": flag(),
    "num_blocks": whole(1, MAX_BLOCKS),
    "num_classes": whole(1, MAX_CLASSES),
    "features": whole(1, MAX_FEATURES),
    "amplifying_ratio": number(0, MAX_RATIO),
    "dropout": number(),
    "first_padding": choice(*get_args(FirstPadding)),
    "tail": flag(),
    "pool_size": or_null(whole(2, MAX_SIZE)),
    "filter_size": or_null(whole(1, MAX_SIZE)),
    "first_size": or_null(whole(1, MAX_SIZE)),
    "pooling": choice(*get_args(Pooling)),
}
DESCRIPTION = parsing.fields({**RULES, "logmel": or_null(logmel.DESCRIPTION)}, optional=[*RULES, "logmel"])


@dataclass(frozen=True)
class ModelConfig:
    """The settings of a network; `spec.network_spec` derives its layers from them.

    Args:
        block: a name in `blocks.BLOCKS` or `blocks.CONVERTED_BLOCKS`.
        multi: multi-level aggregation: the head sees the last three blocks.
        num_blocks: blocks after the first convolution; each divides the length by its pooling (`fitting`).
        num_classes: outputs.
        features: width of the first convolution and of blocks 0 and 1; doubles at block 2 and at the last block.
        amplifying_ratio: hidden width of the excitations as a share of the features.
        dropout: share of the last hidden layer's features dropped in training.
        first_padding: how the first convolution pads the waveform, see `first_padding`.
        tail: one more stage of 1-wide convolutions between the last block and the head.
        pool_size: frames of every block's pooling, at least 2; None: as the kind of block has it, 3 in the paper's.
        filter_size: frames of the blocks' convolutions that are wider than 1; None: as the kind of block has them, 3 in
            the paper's. With a pool size of m as well, these are the m^n models of SMC 2017 (Lee et al.: Sample-level
            deep convolutional neural networks for music auto-tagging using raw waveforms).
        first_size: samples of the first convolution, its width and its stride; None: the pool size where that is given,
            else 3. With m^k samples, the frame-level models of the same paper.
        logmel: log-mel frames in place of the first convolution and of the blocks that bring the waveform to their
            rate; `num_blocks` counts the blocks behind them, which are as wide as in the whole network.
        pooling: "max", or "strided": no max-pooling; the last convolution of every block's path, and that of its
            shortcut, have the stride instead (Springenberg et al. 2015: Striving for simplicity).

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
    pool_size: int | None = None
    filter_size: int | None = None
    first_size: int | None = None
    pooling: Pooling = "max"
    logmel: LogMel | None = None

    def __post_init__(self) -> None:
        for field, rule in RULES.items():
            problem = rule(getattr(self, field), field)
            if problem:
                raise UsageError(f"a model's {problem}")
        kind = self.kind
        if self.multi and self.num_blocks < MULTI_LEVELS:
            raise UsageError(f"a model with --multi needs {MULTI_LEVELS} blocks, not {self.num_blocks}")
        if kind.excites and int(self.features * self.amplifying_ratio) < 1:
            raise UsageError(
                f"amplifying ratio {self.amplifying_ratio:g} leaves no hidden unit of {self.features} features; "
                f"it must be at least {1 / self.features:g}; the blocks basic, res1 and res2 have no excitations"
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, not {self.dropout:g}")
        if self.logmel is not None and (self.first_size is not None or self.first_padding != "same" or self.tail):
            raise UsageError("log-mel frames take the place of the first convolution: leave its size and padding out")
        if kind.residual_ends and self.variant:
            raise UsageError(f"the block {self.block} is used as it was converted: without {self.variant}")

    @property
    def kind(self) -> BlockSpec:
        """The kind of block, with the sizes chosen here. Raises UsageError for sizes that no block can have."""
        kind = block_spec(self.block)
        filters = kind.convs
        if self.filter_size is not None:
            filters = tuple(self.filter_size if width > 1 else width for width in filters)
        return replace(kind, convs=filters, pool=kind.pool if self.pool_size is None else self.pool_size)

    @property
    def first_samples(self) -> int:
        """Width and stride of the first convolution in samples."""
        chosen = self.pool_size if self.first_size is None else self.first_size
        return FIRST_SIZE if chosen is None else chosen

    @property
    def variant(self) -> str:
        """How the network differs from the original's, in words for a message; "" where it does not."""
        parts = [
            f"{name.replace('_', ' ')} {getattr(self, name)}"
            for name in ("pool_size", "filter_size", "first_size")
            if getattr(self, name) is not None
        ]
        parts += ["strided convolutions"] if self.pooling == "strided" else []
        if self.logmel is not None:
            parts.append(
                f"log-mel frames of {self.logmel.frame} samples every {self.logmel.hop}, {self.logmel.bands} bands"
            )
        return ", ".join(parts)

    @property
    def replaced_blocks(self) -> int:
        """Blocks that log-mel frames take the place of, those that would shorten the waveform to no more frames."""
        if self.logmel is None:
            return 0
        blocks, hop = 0, self.first_samples * self.kind.pool
        while hop <= self.logmel.hop:
            blocks, hop = blocks + 1, hop * self.kind.pool
        return blocks

    @property
    def widths(self) -> list[int]:
        """Features of every block."""
        widths, width, blocks = [], self.features, self.replaced_blocks + self.num_blocks
        for i in range(blocks):
            width *= 2 if i in (2, blocks - 1) else 1
            widths.append(width)
        return widths[self.replaced_blocks :]

    @property
    def first_features(self) -> int:
        """Features of the first block's input."""
        return self.features if self.logmel is None else self.logmel.bands

    @property
    def signature(self) -> str:
        """The name of a run where none is given: "se", "rese2_multi", "se_pool2_filter2_strided"."""
        sizes = {"pool": self.pool_size, "filter": self.filter_size, "first": self.first_size}
        marks = [
            self.block,
            *(["multi"] if self.multi else []),
            *(f"{name}{size}" for name, size in sizes.items() if size is not None),
            *(["strided"] if self.pooling == "strided" else []),
            *(["logmel"] if self.logmel is not None else []),
        ]
        return "_".join(marks)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """The inverse of `to_dict`; unknown keys are ignored, absent ones have their defaults.

        Raises:
            SampleCNNError: not a description of a model, or a value of the wrong type or out of range, named.
        """
        problem = DESCRIPTION(values, "")
        if problem:
            raise SampleCNNError(f"not the description of a model: {problem}")
        frames = values.get("logmel")
        given = {key: values[key] for key in RULES if key in values}
        return cls(**given, logmel=None if frames is None else LogMel.from_dict(frames))


def first_padding(samples: int, kind: FirstPadding, size: int = FIRST_SIZE) -> tuple[int, int]:
    """Zeros before and after the waveform that make `samples` a multiple of `size`; below zero: samples left out.

    "same" is TensorFlow's (the smaller half in front; the original), "valid" leaves out samples that do not fill a
    frame of the first convolution (the authors' code of 2018), "centred" is PyTorch's padding=1, every frame of 3
    centred on a sample (its peers).
    For a multiple of `size`, the first two are the same.

    Example:
        >>> first_padding(100, "same"), first_padding(100, "valid"), first_padding(99, "centred")
        ((1, 1), (0, -1), (1, -1))
    """
    if kind == "valid":
        return 0, -(samples % size)
    total = -samples % size
    return (1, total - 1) if kind == "centred" else (total // 2, total - total // 2)
