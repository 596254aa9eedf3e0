"""Groups of arrays that kernels take as one argument. In memory a batch is [samples * steps, channels].

bfloat16 is passed as uint16.
"""

from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Values over time: rows [samples * steps, channels], one row per step, sample after sample."""

    rows: np.ndarray
    steps: int


class Affine(NamedTuple):
    """A batch norm with its statistics known: k y + d, float32 [channels]; `relu`: whether a ReLU follows."""

    k: np.ndarray
    d: np.ndarray
    relu: bool


class InputFactors(NamedTuple):
    """Factors of the gradient of a batch norm's input: a g + b y + e, float32 [channels].

    If an excitation follows, a differs between samples, and a g + h replaces a g: both are then [samples, channels].
    """

    a: np.ndarray
    b: np.ndarray
    e: np.ndarray


class Pooled(NamedTuple):
    """Max-pooling over 3 rows: its result, the y that it chose, and which of the 3 rows that was (uint8).

    All are [samples * (steps // 3), channels].
    """

    out: np.ndarray
    kept: np.ndarray
    chosen: np.ndarray


class ConvBlock(NamedTuple):
    """A plain block: the convolution's packed weight and its bias, float32 [features]."""

    weight: np.ndarray
    bias: np.ndarray


class PooledResult(NamedTuple):
    """Destination of pooled rows.

    Args:
        out: [samples * (steps // 3), features].
        sums: float32 [samples, features], to which they are added before rounding; from sample `first_sample` on.
        first_sample: see `sums`.
    """

    out: np.ndarray
    sums: np.ndarray
    first_sample: int
