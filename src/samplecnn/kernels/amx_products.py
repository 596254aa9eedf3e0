"""The micro-kernel by matrix tiles.

The use of tiles is based on a measurement. On a core whose other hardware thread is busy, as is usual on rented
machines, there are few physical tile registers beyond the 8 named ones: with all 8 in use, a square of 2 x 2 tiles, a
product took 29 ns instead of 7.5. A zeroed tile occupies no register. So a tile is loaded as late as possible and
zeroed after its use, 18 ns; and 2 tiles are summed at a time, not 4, which takes 1.5 times the loads: 14.5 ns. On a
core whose other thread is idle this makes no difference.

Loading a tile takes 5 ns if each row is one cache line, and 25 ns if rows straddle two. So arrays that tiles read are
aligned to cache lines (`aligned_empty`).
"""

# mypy: ignore-errors
# numba infers the types where a function is called.

import numpy as np
from numba.extending import overload

from samplecnn.kernels.amx_tiles import (
    AMX,
    PLAIN,
    TILE_BYTES,
    AmxTiles,
    PlainTiles,
    are_plain,
    is_a,
    tile_load,
    tile_product,
    tile_store,
    tile_zero,
)
from samplecnn.kernels.bf16_epilogues import BLOCK_ROWS
from samplecnn.kernels.compiling import kernel
from samplecnn.kernels.micro_kernel import (
    GROUP,
    add_weight_gradient,
    gradient_index,
    gradient_workspace,
    pack_weight,
    products,
)
from samplecnn.kernels.pairs import pair_column, pair_rows, paired_weight
from samplecnn.kernels.staging import GRADIENT_ROWS, aligned_empty
from samplecnn.kernels.vectors import LINE_BYTES, prefetch_line, prefetch_tile, transpose

__all__ = ["AMX", "PLAIN"]


def _by_tiles(kind) -> bool:
    """Whether a numba type is that of tiles or of their state."""
    return is_a(kind, AmxTiles) or is_a(kind, PlainTiles) or are_plain(kind)


@overload(pack_weight)
def _pack_weight(unit, weight, backward):
    """Tiles in the order in which `products` reads them."""
    return (lambda unit, weight, backward: paired_weight(weight, backward)) if _by_tiles(unit) else None


@overload(products)
def _products(state, staged, weight, group, scratch, prefetch):
    def implementation(state, staged, weight, group, scratch, prefetch):
        taps, deep = weight.shape[1], weight.shape[2]
        stride, line = np.int64(2 * staged.shape[1]), np.int64(LINE_BYTES)
        half_bytes = np.int64(taps * deep * TILE_BYTES)
        ahead, until = prefetch
        for half in range(2):
            for first in range(0, BLOCK_ROWS, GROUP):
                b = np.int64(weight.ctypes.data) + (2 * group + half) * half_bytes
                tile_zero(state, 0)
                tile_zero(state, 1)
                for tap in range(taps):
                    a = np.int64(staged.ctypes.data) + (first + tap + (3 - taps) // 2) * stride
                    for _ in range(deep):
                        prefetch_tile(b + 2 * TILE_BYTES)
                        if ahead < until:
                            prefetch_line(ahead)
                            prefetch_line(ahead + LINE_BYTES)
                            ahead += 2 * LINE_BYTES
                        _add_products(state, a, stride, b)
                        a += LINE_BYTES
                        b += TILE_BYTES
                target = np.int64(scratch.ctypes.data) + (half * BLOCK_ROWS + first) * line
                tile_store(state, 0, target, line)
                tile_store(state, 1, target + TILE_BYTES, line)

    return implementation if _by_tiles(state) else None


@kernel()
def _add_products(state, a, stride, b):
    """Adds to tiles 0 and 1 the products of the 2 tiles at a, rows of `stride` bytes, with the tile at b."""
    tile_load(state, 6, b, np.int64(LINE_BYTES))
    tile_load(state, 4, a, stride)
    tile_product(state, 0, 4, 6)
    tile_zero(state, 4)
    tile_load(state, 4, a + 16 * stride, stride)
    tile_product(state, 1, 4, 6)
    tile_zero(state, 4)
    tile_zero(state, 6)


@overload(gradient_workspace)
def _gradient_workspace(unit, channels, features):
    """The input transposed, and the gradient's rows in pairs that begin with an odd and with an even padded row."""

    def implementation(unit, channels, features):
        transposed = aligned_empty(channels, GRADIENT_ROWS, np.uint16)
        centred = aligned_empty(features // 16, 16 * GRADIENT_ROWS, np.uint16)
        shifted = aligned_empty(features // 16, 16 * (GRADIENT_ROWS + 2), np.uint16)
        return transposed, centred, shifted

    return implementation if _by_tiles(unit) else None


@overload(add_weight_gradient)
def _add_weight_gradient(state, workspace, source, gradient, count, sums):
    def implementation(state, workspace, source, gradient, count, sums):
        transposed, centred, shifted = workspace
        taps = sums.shape[0]
        _transpose_rows(source, transposed)
        first_row = np.int64(gradient.ctypes.data)
        pair_rows(first_row + np.int64(2 * gradient.shape[1]), GRADIENT_ROWS, centred)
        if taps == 3:
            pair_rows(first_row, GRADIENT_ROWS + 2, shifted)
        tiles = (count + GROUP - 1) // GROUP
        for c in range(sums.shape[1]):
            for f in range(sums.shape[2]):
                # The first tap multiplies an input step with the gradient of the next step, the last of the previous.
                _add_square(state, transposed[GROUP * c :], centred[2 * f :], 0, tiles, sums[taps // 2, c, f])
                if taps == 3:
                    _add_square(state, transposed[GROUP * c :], shifted[2 * f :], 1, tiles, sums[0, c, f])
                    _add_square(state, transposed[GROUP * c :], shifted[2 * f :], 0, tiles, sums[2, c, f])

    return implementation if _by_tiles(state) else None


@overload(gradient_index)
def _gradient_index(unit, channel, feature):
    """2 x 2 consecutive tiles, features in the order of `pair`."""

    def implementation(unit, channel, feature):
        half, column = pair_column(feature)
        return ((channel // 16 * 2 + half) * 16 + channel % 16) * 16 + column

    return implementation if _by_tiles(unit) else None


@kernel()
def _transpose_rows(source, transposed):
    """Transposes the rows at the address `source`, to [channels, rows]."""
    channels, rows = transposed.shape
    for row in range(0, rows, GROUP):
        for c in range(0, channels, 16):
            target = np.int64(transposed.ctypes.data) + c * np.int64(2 * rows) + 2 * row
            transpose(source + row * np.int64(2 * channels) + 2 * c, np.int64(2 * channels), target, np.int64(2 * rows))


@kernel()
def _add_square(state, transposed, paired, first, tiles, sums):
    """Adds to `sums` [1024] the product of 32 channels with 32 features, the latter from pair `first` on."""
    stride, line, target = np.int64(2 * transposed.shape[1]), np.int64(LINE_BYTES), np.int64(sums.ctypes.data)
    for half in range(2):
        a = np.int64(transposed.ctypes.data)
        b = np.int64(paired.ctypes.data) + half * np.int64(2 * paired.shape[1]) + first * line
        tile_load(state, 0, target, line)
        tile_load(state, 1, target + 2 * TILE_BYTES, line)
        for _ in range(tiles):
            _add_products(state, a, stride, b)
            a += LINE_BYTES
            b += TILE_BYTES
        tile_store(state, 0, target, line)
        tile_store(state, 1, target + 2 * TILE_BYTES, line)
        target += TILE_BYTES
