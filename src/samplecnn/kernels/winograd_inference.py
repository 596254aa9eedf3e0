"""The convolutions of a trained network in float32 by Winograd's filtering, with what follows them in the same pass.

As in `winograd`, 4 output steps are computed from 6 input steps by 6 products instead of 12; but block by block, so
that transformed values stay in the caches: 144 rows are staged and transformed, multiplied with 16 or 32 features at a
time, and transformed back, pooled and written. The vectors are those of the CPU: AVX-512, AVX2 or NEON.
"""

# mypy: ignore-errors
# numba infers the types where a function is called.

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from samplecnn.kernels.amx_tiles import is_a
from samplecnn.kernels.compiling import kernel, target_has
from samplecnn.kernels.micro_kernel import pack_weight
from samplecnn.kernels.register_sums import multiply_add_floats, sums_of_products
from samplecnn.kernels.staging import aligned_empty, padded_length, stage
from samplecnn.kernels.vectors import FLOATS, LINE_BYTES, LONG, at, broadcast, get, keep

# Rows by vectors of 16 features that are summed in registers: of the 32 that AVX-512 and NEON have, or the 16 of AVX2.
ROWS, SIDES = (12, 2) if target_has("avx512f") else (6, 1)
COLUMNS = 16 * SIDES
UNROLLED = 2
POINTS, TILE_STEPS, TILES = 6, 4, 36  # a block has a multiple of 3 tiles, so that no pooled rows straddle two blocks
BLOCK = TILES * TILE_STEPS


class FloatVectors(NamedTuple):
    """The type that selects these kernels in `conv_inference`."""

    rows: int


FLOAT_VECTORS = FloatVectors(ROWS)


@overload(pack_weight)
def _pack_weight(unit, weight, backward):
    """G w, float32 [features / 16, 6, channels, 16]; computed in double precision."""

    def implementation(unit, weight, backward):
        features, channels, _ = weight.shape
        out = aligned_empty(features // 16, POINTS * channels * 16, np.float32)
        blocks = out.reshape(features // 16, POINTS, channels, 16)
        for f in range(features):
            for c in range(channels):
                before, at, after = (
                    np.float64(weight[f, c, 0]),
                    np.float64(weight[f, c, 1]),
                    np.float64(weight[f, c, 2]),
                )
                point = blocks[f // 16, :, c, f % 16]
                point[0] = before / 4
                point[1] = -(before + at + after) / 6
                point[2] = -(before - at + after) / 6
                point[3] = before / 24 + at / 12 + after / 6
                point[4] = before / 24 - at / 12 + after / 6
                point[5] = after
        return blocks

    return implementation if is_a(unit, FloatVectors) else None


@kernel()
def pooled_rows(begin, end, x, first, block, result):
    """See `conv_inference.pooled_rows`."""
    features = result.out.shape[1]
    channels = x.rows.shape[1] if first is None else first[1].shape[0]
    staged = aligned_empty(BLOCK + 2, channels, np.float32)
    transformed = aligned_empty(POINTS * TILES, channels, np.float32)
    scratch, pooled = aligned_empty(POINTS * TILES, COLUMNS, np.float32), aligned_empty(BLOCK // 3, COLUMNS, np.float32)
    for row in range(begin, end, BLOCK):
        count = min(BLOCK, end - row)
        tiles = _stage_tiles(x, first, row, count, staged, transformed)
        for group in range(features // COLUMNS):
            _products(transformed, tiles, block.weight, group, scratch)
            _pool_tiles(np.int64(scratch.ctypes.data), np.int64(tiles // 3), np.int64(pooled.ctypes.data))
            _write_pooled(pooled, row, count, x.steps, block.bias, group, result)


@kernel()
def convolve(lo, hi, x, weight, out, epilogue):
    """Padded rows `lo` to `hi` of the convolution of x, to `out`; `Batch`es. `epilogue`: a `conv_forward.BiasFloor`."""
    channels, features = x.rows.shape[1], out.rows.shape[1]
    staged = aligned_empty(BLOCK + 2, channels, np.float32)
    transformed = aligned_empty(POINTS * TILES, channels, np.float32)
    scratch, rows = aligned_empty(POINTS * TILES, COLUMNS, np.float32), aligned_empty(BLOCK, COLUMNS, np.float32)
    for row in range(lo, hi, BLOCK):
        count = min(BLOCK, hi - row)
        tiles = _stage_tiles(x, None, row, count, staged, transformed)
        for group in range(features // COLUMNS):
            _products(transformed, tiles, weight, group, scratch)
            _rows_of_tiles(np.int64(scratch.ctypes.data), np.int64(tiles), np.int64(rows.ctypes.data))
            _write_rows(rows, row, count, epilogue, group, out)


@kernel()
def _stage_tiles(x, first, row, count, staged, transformed):
    """The transformed input of the padded rows from `row` on; returns the number of tiles for `count` rows."""
    tiles = (count + TILE_STEPS * ROWS - 1) // (TILE_STEPS * ROWS) * ROWS
    needed = staged[: TILE_STEPS * tiles + 2]
    if first is None:
        stage(x, row - 1, len(needed), needed)
    else:
        _stage_first_conv(x, first, row - 1, needed)
    source, target = np.int64(staged.ctypes.data), np.int64(transformed.ctypes.data)
    _transform(source, np.int64(staged.shape[1]), np.int64(tiles), target)
    return tiles


@kernel(fastmath={"contract"})
def _stage_first_conv(x, first, row, staged):
    """Fills `staged` with the padded rows from `row` on of the first convolution with its ReLU."""
    frames, steps, (weight, bias) = x.rows, x.steps, first
    span, samples = padded_length(steps), frames.shape[0] // steps
    before, at, after, zero = weight[0], weight[1], weight[2], np.float32(0)
    for i in range(len(staged)):
        sample, step = (row + i) // span, (row + i) % span
        if 0 <= sample < samples and step < steps:
            frame, target = frames[sample * steps + step], staged[i]
            one, two, three = frame[0], frame[1], frame[2]
            for c in range(len(bias)):
                target[c] = max(bias[c] + one * before[c] + two * at[c] + three * after[c], zero)
        else:
            staged[i] = 0


@kernel()
def _products(transformed, tiles, weight, group, scratch):
    """scratch [6, TILES, COLUMNS] = for each point, the product of its transformed tiles with COLUMNS features."""
    channels = np.int64(transformed.shape[1])
    plane = channels * LINE_BYTES
    for point in range(POINTS):
        b = np.int64(weight.ctypes.data) + (SIDES * POINTS * group + point) * plane
        for tile in range(0, tiles, ROWS):
            a = np.int64(transformed.ctypes.data) + (point * TILES + tile) * channels * 4
            target = np.int64(scratch.ctypes.data) + np.int64((point * TILES + tile) * COLUMNS * 4)
            _multiply_tiles(a, 4 * channels, b, POINTS * plane, channels, target)


@kernel()
def _write_pooled(pooled, row, count, steps, bias, group, result):
    """Writes the pooled rows of `count` padded rows from `row` on, with bias and ReLU, without the gaps."""
    span, width = steps // 3, np.int64(result.out.shape[1])
    line, column = np.int64(4 * COLUMNS), np.int64(4 * COLUMNS * group)
    bias_address, sums = np.int64(bias.ctypes.data) + column, np.int64(result.sums.ctypes.data) + column
    target, floor = np.int64(result.out.ctypes.data) + column, np.float32(0)
    done, before = 0, row // 3
    while done < count // 3:
        sample, step = (before + done) // (span + 1), (before + done) % (span + 1)
        some = min(count // 3 - done, span - step)
        source, to = np.int64(pooled.ctypes.data) + done * line, target + (sample * span + step) * 4 * width
        _finish_summed(
            source, some, to, 4 * width, bias_address, floor, sums + (sample - result.first_sample) * 4 * width
        )
        done += some + 1


@kernel()
def _write_rows(rows, row, count, epilogue, group, out):
    """Writes `count` padded rows, from `row` on, with bias and floor, without the gaps."""
    steps, span, width = out.steps, padded_length(out.steps), np.int64(out.rows.shape[1])
    line, column = np.int64(4 * COLUMNS), np.int64(4 * COLUMNS * group)
    bias, target = np.int64(epilogue.bias.ctypes.data) + column, np.int64(out.rows.ctypes.data) + column
    done = 0
    while done < count:
        sample, step = (row + done) // span, (row + done) % span
        if step < steps:
            some = min(count - done, steps - step)
            source, to = np.int64(rows.ctypes.data) + done * line, target + (sample * steps + step) * 4 * width
            _finish(source, some, to, 4 * width, bias, epilogue.floor)
        done += span - step


# ---- in vector registers; arguments are addresses


@intrinsic
def _multiply_tiles(typing, a, stride, b, half, count, target):
    """Products of ROWS rows at a, `stride` bytes apart, with `count` weights of COLUMNS features, to the scratch."""

    def generate(context, builder, signature, arguments):
        a, stride, b, half, count, target = arguments
        places = (a, stride, LONG(4)), (b, half), (target, LONG(4 * COLUMNS), LONG(LINE_BYTES))
        sums_of_products(builder, ROWS, SIDES, *places, count, UNROLLED, multiply_add_floats)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


def _times(builder, number, value):
    return builder.fmul(ir.Constant(FLOATS, [float(number)] * 16), value, flags=("contract",))


@intrinsic
def _transform(typing, source, channels, tiles, target):
    """B' d of every 6 rows, 4 rows apart, of float32 [4 tiles + 2, channels], to [6, TILES, channels]."""

    def generate(context, builder, signature, arguments):
        source, channels, tiles, target = arguments
        width, fused = builder.mul(channels, LONG(4)), ("contract",)
        plane = builder.mul(width, LONG(TILES))
        with cgutils.for_range(builder, tiles) as tile:
            from_row = at(builder, source, builder.mul(width, LONG(TILE_STEPS)), tile.index)
            to_row = at(builder, target, width, tile.index)
            with cgutils.for_range(builder, builder.udiv(channels, LONG(16))) as part:
                start, end = (at(builder, row, LONG(LINE_BYTES), part.index) for row in (from_row, to_row))
                d = [get(builder, at(builder, start, width, row), FLOATS) for row in range(POINTS)]
                even, odd = (builder.fsub(d[i], _times(builder, 4, d[i - 2]), flags=fused) for i in (4, 3))
                near = builder.fsub(d[4], d[2])
                far = _times(builder, 2, builder.fsub(d[3], d[1]))
                outer = [
                    builder.fadd(
                        builder.fsub(_times(builder, 4, d[i]), _times(builder, 5, d[i + 2]), flags=fused),
                        d[i + 4],
                        flags=fused,
                    )
                    for i in (0, 1)
                ]
                points = (
                    outer[0],
                    builder.fadd(even, odd),
                    builder.fsub(even, odd),
                    builder.fadd(near, far),
                    builder.fsub(near, far),
                    outer[1],
                )
                for number, point in enumerate(points):
                    keep(builder, point, at(builder, end, plane, number))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


def _transformed_back(builder, source, tile, side):
    """A' m, the 4 rows of a tile in the scratch at `source`, 16 features."""
    fused = ("contract",)
    start = builder.add(at(builder, source, LONG(4 * COLUMNS), tile), LONG(LINE_BYTES * side))
    m = [get(builder, builder.add(start, LONG(point * TILES * COLUMNS * 4)), FLOATS) for point in range(POINTS)]
    plus, minus = builder.fadd(m[1], m[2]), builder.fsub(m[1], m[2])
    plus2, minus2 = builder.fadd(m[3], m[4]), builder.fsub(m[3], m[4])
    return [
        builder.fadd(builder.fadd(m[0], plus), plus2),
        builder.fadd(minus, _times(builder, 2, minus2), flags=fused),
        builder.fadd(plus, _times(builder, 4, plus2), flags=fused),
        builder.fadd(builder.fadd(minus, _times(builder, 8, minus2), flags=fused), m[5]),
    ]


def _larger(builder, one, other):
    """The larger of two numbers; the other where one is NaN."""
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


@intrinsic
def _pool_tiles(typing, source, triples, target):
    """The largest of every 3 rows of 3 `triples` tiles in the scratch, to [4 triples, COLUMNS]."""

    def generate(context, builder, signature, arguments):
        source, triples, target = arguments
        with cgutils.for_range(builder, triples) as loop:
            first, end = builder.mul(loop.index, LONG(3)), at(builder, target, LONG(16 * COLUMNS), loop.index)
            for side in range(SIDES):
                rows = []
                for tile in range(3):
                    rows += _transformed_back(builder, source, builder.add(first, LONG(tile)), side)
                for i in range(4):
                    value = _larger(builder, _larger(builder, rows[3 * i], rows[3 * i + 1]), rows[3 * i + 2])
                    keep(builder, value, builder.add(end, LONG(4 * COLUMNS * i + LINE_BYTES * side)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def _rows_of_tiles(typing, source, tiles, target):
    """The rows of all tiles in the scratch, to [4 tiles, COLUMNS]."""

    def generate(context, builder, signature, arguments):
        source, tiles, target = arguments
        with cgutils.for_range(builder, tiles) as loop:
            end = at(builder, target, LONG(16 * COLUMNS), loop.index)
            for side in range(SIDES):
                for i, row in enumerate(_transformed_back(builder, source, loop.index, side)):
                    keep(builder, row, builder.add(end, LONG(4 * COLUMNS * i + LINE_BYTES * side)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


def _with_bias(builder, source, count, target, stride, bias, floor, sums):
    """`count` rows of COLUMNS plus a bias, not below `floor`, to rows `stride` bytes apart, and added to `sums`."""
    least = broadcast(builder, floor)
    for side in range(SIDES):
        shift = LONG(LINE_BYTES * side)
        offset, total = get(builder, builder.add(bias, shift), FLOATS), cgutils.alloca_once(builder, FLOATS)
        if sums is not None:
            builder.store(get(builder, builder.add(sums, shift), FLOATS), total)
        with cgutils.for_range(builder, count) as loop:
            value = get(builder, builder.add(at(builder, source, LONG(4 * COLUMNS), loop.index), shift), FLOATS)
            value = _larger(builder, least, builder.fadd(value, offset))
            keep(builder, value, builder.add(at(builder, target, stride, loop.index), shift))
            if sums is not None:
                builder.store(builder.fadd(builder.load(total), value), total)
        if sums is not None:
            keep(builder, builder.load(total), builder.add(sums, shift))


@intrinsic
def _finish(typing, source, count, target, stride, bias, floor):
    """See `_with_bias`."""

    def generate(context, builder, signature, arguments):
        _with_bias(builder, *arguments, None)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5, types.float32), generate


@intrinsic
def _finish_summed(typing, source, count, target, stride, bias, floor, sums):
    """See `_with_bias`."""

    def generate(context, builder, signature, arguments):
        _with_bias(builder, *arguments)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5, types.float32, types.int64), generate
