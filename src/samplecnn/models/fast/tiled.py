"""The weight gradient of a 3-wide convolution in bfloat16 by matrix tiles (AMX), in one pass over memory.

Time is summed over. So of some rows at a time, in cache, the input is transposed and the gradient paired, which is how
tiles want a product's left and right; each tap then reads the same transposed input, one step later.
"""

# mypy: ignore-errors
# What stands here is numba's language, whose types are inferred where a kernel is called.

import numpy as np
from numba import njit

from samplecnn.models.fast.tiles import (
    configure,
    pair,
    release,
    tile_load,
    tile_product,
    tile_store,
    transpose,
)

SIDE = 32  # two tiles by two make a square of the result
SUMMED = 256  # rows packed at a time: a square of the result then needs what the first-level cache holds


@njit(nogil=True, cache=True)
def weight_gradient(lo, hi, x, g, sums, config):
    """Adds rows `lo` to `hi` of g [rows, features], with those of x [rows, channels] a step before, at, and after.

    `sums` is float32 [3, channels / 32, features / 32, 2, 2, 16, 16]: of each tap, tiles side by side.
    """
    (rows, channels), features = x.shape, g.shape[1]
    across = np.zeros((channels, SUMMED + SIDE), np.uint16)  # the input from a step before on, [channels, time]
    paired = np.zeros((features // 16, SUMMED // 2, 16, 2), np.uint16)
    long, half = np.int64(2 * (SUMMED + SIDE)), np.int64(32 * SUMMED)
    x_at, g_at, sums_at = np.int64(x.ctypes.data), np.int64(g.ctypes.data), np.int64(sums.ctypes.data)
    across_at, paired_at = np.int64(across.ctypes.data), np.int64(paired.ctypes.data)
    configure(np.int64(config.ctypes.data))
    for begin in range(lo, hi, SUMMED):
        count = min(SUMMED, hi - begin)
        steps = (count + SIDE - 1) // SIDE
        for j in range(0, count + 2, SIDE):
            first = begin - 1 + j
            if first >= 0 and first + SIDE <= rows:
                for c in range(0, channels, 16):
                    transpose(
                        x_at + 2 * (first * channels + c), np.int64(2 * channels), across_at + c * long + 2 * j, long
                    )
            else:
                for i in range(SIDE):
                    inside = 0 <= first + i < rows
                    for c in range(channels):
                        across[c, j + i] = x[first + i, c] if inside else 0
        for i in range(count // 2):
            for f in range(features // 16):
                source = g_at + 2 * ((begin + 2 * i) * features + 16 * f)
                pair(source, np.int64(2 * features), paired_at + f * half + 64 * i)
        for i in range(count // 2, 16 * steps):
            odd = 2 * i < count  # a last row by itself
            for f in range(features):
                paired[f // 16, i, f % 16, 0] = g[begin + 2 * i, f] if odd else 0
                paired[f // 16, i, f % 16, 1] = 0
        for c in range(channels // SIDE):
            for f in range(features // SIDE):
                for tap in range(3):
                    at = sums_at + ((tap * (channels // SIDE) + c) * (features // SIDE) + f) * 4096
                    tile_load(0, at, np.int64(64))
                    tile_load(1, at + 1024, np.int64(64))
                    tile_load(2, at + 2048, np.int64(64))
                    tile_load(3, at + 3072, np.int64(64))
                    a = across_at + SIDE * c * long + 2 * tap
                    b = paired_at + 2 * f * half
                    for _ in range(steps):
                        tile_load(4, a, long)
                        tile_load(6, b, np.int64(64))
                        tile_product(0, 4, 6)
                        tile_load(7, b + half, np.int64(64))
                        tile_product(1, 4, 7)
                        tile_load(5, a + 16 * long, long)
                        tile_product(2, 5, 6)
                        tile_product(3, 5, 7)
                        a += 64
                        b += 1024
                    tile_store(0, at, np.int64(64))
                    tile_store(1, at + 1024, np.int64(64))
                    tile_store(2, at + 2048, np.int64(64))
                    tile_store(3, at + 3072, np.int64(64))
    release()
