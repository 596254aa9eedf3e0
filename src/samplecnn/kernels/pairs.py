"""Operands of bfloat16 instructions, which multiply pairs of adjacent values: weights and rows in that order."""

# mypy: ignore-errors
# numba infers the types where a function is called.

import numpy as np

from samplecnn.kernels.bfloat16 import pack
from samplecnn.kernels.compiling import kernel
from samplecnn.kernels.micro_kernel import GROUP
from samplecnn.kernels.staging import aligned_empty
from samplecnn.kernels.vectors import LINE_BYTES, pair


@kernel()
def paired_weight(weight, backward):
    """A weight, float32 [features, channels, taps], as [features / 16, taps, channels / 32, 16, 16, 2].

    For 16 features all pairs of channels follow each other, tap after tap, with the pairs of 16 features in a cache
    line. `backward` as in `micro_kernel.pack_weight`.
    """
    taps = weight.shape[2]
    features, channels = (weight.shape[1], weight.shape[0]) if backward else (weight.shape[0], weight.shape[1])
    flat = aligned_empty(features // 16, taps * channels * 16, np.uint16)
    out = flat.reshape(features // 16, taps, channels // GROUP, 16, 16, 2)
    for block in range(features // 16):
        for tap in range(taps):
            for c in range(0, channels, 2):
                pairs = out[block, tap, c // GROUP, c % GROUP // 2]
                for f in range(16):
                    for i in range(2):
                        one, other = 16 * block + f, c + i
                        value = weight[other, one, taps - 1 - tap] if backward else weight[one, other, tap]
                        pairs[f, i] = pack(pairs, value)
    return out


@kernel()
def pair_rows(source, rows, paired):
    """Pairs rows at the address `source`: [columns / 16, rows / 2 of 16 pairs], each 32 columns as `pair` does."""
    width, distance = np.int64(2 * 16 * paired.shape[0]), np.int64(2 * paired.shape[1])
    for i in range(rows // 2):
        for f in range(paired.shape[0] // 2):
            row = source + 2 * i * width + f * np.int64(LINE_BYTES)
            target = np.int64(paired.ctypes.data) + 2 * f * distance + i * np.int64(LINE_BYTES)
            pair(row, width, target, distance)


@kernel()
def pair_column(column):
    """Half and position of a column, 0 to 31, among the pairs of `pair`."""
    return column // 4 % 2, column // 8 * 4 + column % 4
