"""The kinds of building blocks, as data: a line in BLOCKS is all that a new kind needs.

`spec.network_spec` turns a kind and its place in the network into convolutions with names and widths. The torch
modules, the folded graph of the engines, summaries, exports and the plain re-creations of the benchmarks are derived
from that.
"""

from dataclasses import dataclass, replace

from samplecnn.errors import UsageError


@dataclass(frozen=True)
class BlockSpec:
    """A kind of building block: [batch, time, channels] -> [batch, time // pool, features].

    Without a shortcut: (convolution, batch norm, ReLU) once or more, max-pooling, excitation. With one: the same
    convolutions, no ReLU behind the last, excitation, plus the shortcut, ReLU, max-pooling.

    Args:
        convs: widths of the convolutions in frames, first to last; each keeps the length.
        residual: whether a shortcut is added: the input, or a convolution of it where the number of features changes.
        excites: whether the block scales its features by squeeze and excitation.
        pool: frames of the max-pooling, which is as wide as its stride.
        shortcut: width of the shortcut's convolution in frames.
        inner_dropout: share of the values dropped between two convolutions in training.
        residual_ends: whether the layers around the blocks are residual too: a stem behind the first convolution, and a
            residual tail where the model has a tail.

    Raises:
        UsageError: a value outside its range.
    """

    convs: tuple[int, ...] = (3,)
    residual: bool = False
    excites: bool = False
    pool: int = 3
    shortcut: int = 1
    inner_dropout: float = 0.0
    residual_ends: bool = False

    def __post_init__(self) -> None:
        if not self.convs or min(*self.convs, self.shortcut) < 1:
            raise UsageError(f"a block needs convolutions of at least one frame, not {self.convs}")
        if self.pool < 2:
            raise UsageError(f"a block must shorten its input: pool must be at least 2, not {self.pool}")
        if not 0 <= self.inner_dropout < 1:
            raise UsageError(f"inner dropout must be at least 0 and below 1, not {self.inner_dropout:g}")


INNER_DROPOUT = 0.2  # of res2 and rese2, as in wide residual networks (the original's lib/model.py)

# The six of the paper (JSTSP 2019, section II; the original's lib/model.py).
BLOCKS = {
    "basic": BlockSpec(),
    "se": BlockSpec(excites=True),
    "res1": BlockSpec(residual=True),
    "res2": BlockSpec((3, 3), residual=True, inner_dropout=INNER_DROPOUT),
    "rese1": BlockSpec(residual=True, excites=True),
    "rese2": BlockSpec((3, 3), residual=True, excites=True, inner_dropout=INNER_DROPOUT),
}
# rese2 as minzwon/sota-music-tagging-models builds it. Such models are converted and used, not trained from scratch.
WIDE = "rese2-wide"
CONVERTED_BLOCKS = {
    WIDE: BlockSpec((3, 3), residual=True, excites=True, shortcut=3, inner_dropout=INNER_DROPOUT, residual_ends=True)
}


def block_spec(name: str) -> BlockSpec:
    """The kind of block of that name, in BLOCKS or CONVERTED_BLOCKS.

    Raises:
        UsageError: there is none.

    Example:
        >>> block_spec("rese2").convs
        (3, 3)
    """
    kind = BLOCKS.get(name) or CONVERTED_BLOCKS.get(name)
    if kind is None:
        raise UsageError(f"unknown block {name!r}: choose one of {', '.join([*BLOCKS, *CONVERTED_BLOCKS])}")
    return kind


def without_excitation(name: str) -> str:
    """The residual block of `BLOCKS` that differs from this one by its excitation alone; any other name as it is.

    So does the original where the amplifying ratio is 0 (its lib/model.py); in its block se, which is not residual, an
    excitation without hidden units would be left.

    Example:
        >>> without_excitation("rese2"), without_excitation("res2"), without_excitation("se")
        ('res2', 'res2', 'se')
    """
    kind = replace(block_spec(name), excites=False)
    return next((other for other, spec in BLOCKS.items() if kind.residual and spec == kind), name)
