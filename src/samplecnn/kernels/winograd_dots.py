"""The micro-kernel of inference by dot products of bfloat16 pairs and Winograd's filtering, F(2, 3).

2 output steps are computed from 4 input steps by 4 products instead of 6 (Lavin and Gray, arXiv:1509.09308). A block's
rows are transformed once, before the first group of features, and rounded to bfloat16 again, as are the transformed
weights: the errors are about 1.3 times those of the convolution itself in bfloat16. Training does not use it.
"""

# mypy: ignore-errors
# numba infers the types where a function is called.

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from samplecnn.kernels.amx_tiles import is_a
from samplecnn.kernels.bf16_epilogues import BLOCK_ROWS, HALVES, rounded, widened
from samplecnn.kernels.dot_products import ROWS, Avx512Dots, PlainDots, multiply_rows
from samplecnn.kernels.micro_kernel import configure, pack_weight, products, release
from samplecnn.kernels.pairs import paired_weight
from samplecnn.kernels.staging import aligned_empty
from samplecnn.kernels.vectors import FLOATS, LINE_BYTES, LONG, at, get, keep, prefetch_line

POINTS, TILES = 4, BLOCK_ROWS // 2
MAX_CHANNELS = 1024  # of the buffer for transformed rows; with more, and for other widths, the rows are multiplied
BLOCK_BYTES = 2 * BLOCK_ROWS * LINE_BYTES  # of a scratch, which holds the products of two points


class WinogradDots(NamedTuple):
    """The micro-kernel; `dots` multiplies."""

    dots: Any


class _State(NamedTuple):
    dots: Any
    transformed: np.ndarray  # bfloat16 [4, TILES, channels], in a buffer for MAX_CHANNELS
    points: np.ndarray  # float32 [2, 2, BLOCK_ROWS, 16]


def for_inference(unit):
    """What multiplies in inference where `unit` multiplies in training."""
    return WinogradDots(unit) if isinstance(unit, Avx512Dots | PlainDots) else unit


@overload(configure)
def _configure(unit):
    def implementation(unit):
        transformed = aligned_empty(POINTS * TILES, MAX_CHANNELS, np.uint16)
        return _State(unit.dots, transformed, aligned_empty(4 * BLOCK_ROWS, 16, np.float32))

    return implementation if is_a(unit, WinogradDots) else None


@overload(release)
def _release(state):
    return (lambda state: None) if is_a(state, _State) else None


@overload(pack_weight)
def _pack_weight(unit, weight, backward):
    """G w, computed in double precision, as `paired_weight` packs 4 taps."""

    def implementation(unit, weight, backward):
        features, channels, taps = weight.shape
        if taps != 3 or backward or channels > MAX_CHANNELS:
            return paired_weight(weight, backward)
        points = np.empty((features, channels, POINTS), np.float32)
        for f in range(features):
            for c in range(channels):
                before, after = np.float64(weight[f, c, 0]), np.float64(weight[f, c, 2])
                half, middle = (before + after) / 2, np.float64(weight[f, c, 1]) / 2
                points[f, c, 0] = before
                points[f, c, 1] = half + middle
                points[f, c, 2] = half - middle
                points[f, c, 3] = after
        return paired_weight(points, False)

    return implementation if is_a(unit, WinogradDots) else None


@overload(products)
def _products(state, staged, weight, group, scratch, prefetch):
    def implementation(state, staged, weight, group, scratch, prefetch):
        if weight.shape[1] != POINTS:
            products(state.dots, staged, weight, group, scratch, prefetch)
            return
        line, channels = np.int64(LINE_BYTES), np.int64(staged.shape[1])
        rows, points = np.int64(state.transformed.ctypes.data), np.int64(state.points.ctypes.data)
        if group == 0:
            _transform(np.int64(staged.ctypes.data), channels, rows)
        plane = channels // 2 * line
        ahead, until = prefetch
        share = (until - ahead) // POINTS
        for point in range(POINTS):
            for address in range(ahead, ahead + share, LINE_BYTES):
                prefetch_line(address)
            ahead += share
            b = np.int64(weight.ctypes.data) + (2 * POINTS * group + point) * plane
            for tile in range(0, TILES, ROWS):
                a = rows + (point * TILES + tile) * 2 * channels
                target = points + point // 2 * BLOCK_BYTES + (point % 2 * TILES + tile) * line
                multiply_rows(state.dots, a, 2 * channels, b, POINTS * plane, channels // 2, target)
        _transform_back(points, np.int64(scratch.ctypes.data))

    return implementation if is_a(state, _State) else None


@intrinsic
def _transform(typing, source, channels, target):
    """B' d of every 4 rows, 2 rows apart, of bfloat16 [BLOCK_ROWS + 2, channels], to [4, TILES, channels]."""

    def generate(context, builder, signature, arguments):
        source, channels, target = arguments
        width = builder.mul(channels, LONG(2))
        plane = builder.mul(width, LONG(TILES))
        with cgutils.for_range(builder, LONG(TILES)) as tile:
            from_row, to_row = (
                at(builder, start, width, builder.mul(tile.index, LONG(step)))
                for start, step in ((source, 2), (target, 1))
            )
            with cgutils.for_range(builder, builder.udiv(channels, LONG(32))) as part:
                start, end = (at(builder, row, LONG(LINE_BYTES), part.index) for row in (from_row, to_row))
                d = [widened(builder, get(builder, at(builder, start, width, row), HALVES)) for row in range(4)]
                points = (
                    [builder.fsub(d[0][half], d[2][half]) for half in (0, 1)],
                    [builder.fadd(d[1][half], d[2][half]) for half in (0, 1)],
                    [builder.fsub(d[2][half], d[1][half]) for half in (0, 1)],
                    [builder.fsub(d[1][half], d[3][half]) for half in (0, 1)],
                )
                for number, values in enumerate(points):
                    keep(builder, rounded(builder, *values), at(builder, end, plane, number))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def _transform_back(typing, source, target):
    """A' m of the points' products at `source`, to a block's scratch."""

    def generate(context, builder, signature, arguments):
        source, target = arguments
        with cgutils.for_range(builder, LONG(TILES)) as tile:
            for half in (0, 1):
                side = LONG(half * BLOCK_ROWS * LINE_BYTES)
                start = builder.add(at(builder, source, LONG(LINE_BYTES), tile.index), side)
                places = [point // 2 * BLOCK_BYTES + point % 2 * TILES * LINE_BYTES for point in range(POINTS)]
                m = [get(builder, builder.add(start, LONG(place)), FLOATS) for place in places]
                first = builder.fadd(builder.fadd(m[0], m[1]), m[2])
                second = builder.fsub(builder.fsub(m[1], m[2]), m[3])
                end = builder.add(at(builder, target, LONG(2 * LINE_BYTES), tile.index), side)
                keep(builder, first, end)
                keep(builder, second, builder.add(end, LONG(LINE_BYTES)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 2), generate
