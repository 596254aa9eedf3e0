"""Groups of values that belong together, as kernels take them. In memory a batch is [samples * steps, channels].

bfloat16 comes as uint16.
"""

from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Values over time: rows [samples * steps, channels], a row a step, one sample after the other."""

    rows: np.ndarray
    steps: int


class Affine(NamedTuple):
    """A batch norm with its statistics known: k y + d, float32 [channels]; `relu`: whether a ReLU follows."""

    k: np.ndarray
    d: np.ndarray
    relu: bool


class InputFactors(NamedTuple):
    """What gives the gradient of a batch norm's input: a g + b y + e, float32 [channels].

    Where an excitation follows, a differs from sample to sample, and a g + h takes the place of a g: both are then
    [samples, channels].
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
