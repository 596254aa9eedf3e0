"""What `winograd_inference` does in vector registers; the arguments of these functions are addresses.

The vectors are those of the CPU: AVX-512, AVX2 or NEON.
"""

# mypy: ignore-errors
# numba infers the types where a function is called.

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from samplecnn.kernels.compiling import target_has
from samplecnn.kernels.register_sums import multiply_add_floats, sums_of_products
from samplecnn.kernels.vectors import FLOATS, LINE_BYTES, LONG, at, broadcast, get, keep

# Rows by vectors of 16 features that are summed in registers: of the 32 that AVX-512 and NEON have, or the 16 of AVX2.
ROWS, SIDES = (12, 2) if target_has("avx512f") else (6, 1)
COLUMNS = 16 * SIDES
UNROLLED = 2
POINTS, TILE_STEPS, TILES = 6, 4, 36  # a block has a multiple of 3 tiles, so that no pooled rows straddle two blocks
BLOCK = TILES * TILE_STEPS


@intrinsic
def multiply_tiles(typing, a, stride, b, half, count, target):
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
def transform(typing, source, channels, tiles, target):
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
                    builder.fadd(near, far, flags=fused),
                    builder.fsub(near, far, flags=fused),
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
def pool_tiles(typing, source, triples, target):
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
def rows_of_tiles(typing, source, tiles, target):
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
def finish(typing, source, count, target, stride, bias, floor):
    """See `_with_bias`."""

    def generate(context, builder, signature, arguments):
        _with_bias(builder, *arguments, None)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5, types.float32), generate


@intrinsic
def finish_summed(typing, source, count, target, stride, bias, floor, sums):
    """See `_with_bias`."""

    def generate(context, builder, signature, arguments):
        _with_bias(builder, *arguments)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5, types.float32, types.int64), generate
