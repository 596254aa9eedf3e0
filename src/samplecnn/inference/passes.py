"""Passes over memory between two convolutions, each in one, compiled by numba: see `models.fast.kernels`.

Arrays are [rows, features], a row a step of time; bfloat16 comes as uint16. A kernel does the samples `lo` to `hi`.
"""

# mypy: ignore-errors

import numpy as np
from numba import njit

from samplecnn.kernels.bfloat16 import load, pack
from samplecnn.kernels.passes import scale, scaled, stem, time_sums

__all__ = ["join_pool", "pool_sums", "scale", "scaled", "stem", "time_sums"]


@njit(nogil=True, cache=True, fastmath={"contract"})
def pool_sums(lo, hi, steps, x, out, sums):
    """The largest of three rows, and its sum over the time of every sample, float32 [samples, features]."""
    pooled = steps // 3
    for sample in range(lo, hi):
        for place in range(pooled):
            row, target = sample * steps + 3 * place, sample * pooled + place
            for c in range(x.shape[1]):
                value = max(max(load(x[row, c]), load(x[row + 1, c])), load(x[row + 2, c]))
                out[target, c] = pack(out, value)
                sums[sample, c] += value


@njit(nogil=True, cache=True, fastmath={"contract"})
def join_pool(lo, hi, steps, x, y, factors, out):
    """The largest of three rows of factors x + y, not below 0."""
    pooled = steps // 3
    zero = np.float32(0)
    for sample in range(lo, hi):
        for place in range(pooled):
            row, target = sample * steps + 3 * place, sample * pooled + place
            for c in range(x.shape[1]):
                factor = factors[sample, c]
                first = load(x[row, c]) * factor + load(y[row, c])
                second = load(x[row + 1, c]) * factor + load(y[row + 1, c])
                third = load(x[row + 2, c]) * factor + load(y[row + 2, c])
                out[target, c] = pack(out, max(max(max(first, second), third), zero))
