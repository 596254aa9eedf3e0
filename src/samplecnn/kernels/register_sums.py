"""Matrix products that are summed in registers, as code of functions for numba."""

# mypy: ignore-errors
# llvmlite has no type annotations.

from llvmlite import ir
from numba.core import cgutils

from samplecnn.kernels.vectors import FLOATS, LINE_BYTES, LONG, WORD, WORDS, at, get, keep


def sums_of_products(builder, rows, sides, a, b, target, count, unrolled, multiply_add, adds=False):
    """`rows` x 16 `sides` float32 sums over `count` words of a and b, a multiple of `unrolled`, at the target.

    Args:
        builder: of LLVM instructions.
        rows: number of rows of a and of the target.
        sides: number of vectors of 16 columns of b and of the target.
        a: address, bytes from row to row, bytes from word to word. A word is multiplied in all lanes.
        b: address, bytes from side to side; LINE_BYTES from 16 words to the next.
        target: address, bytes from row to row, bytes from side to side.
        count: number of words of 4 bytes.
        unrolled: words per iteration.
        multiply_add: (builder, sum, words of a, words of b) -> sum.
        adds: adds to the values at the target, instead of 0.
    """
    sums = [cgutils.alloca_once(builder, FLOATS) for _ in range(rows * sides)]
    places = [
        builder.add(at(builder, target[0], target[1], row), at(builder, LONG(0), target[2], side))
        for row in range(rows)
        for side in range(sides)
    ]
    for place, slot in zip(places, sums, strict=True):
        builder.store(get(builder, place, FLOATS) if adds else ir.Constant(FLOATS, [0.0] * 16), slot)
    starts = [at(builder, a[0], a[1], row) for row in range(rows)]
    with cgutils.for_range(builder, builder.udiv(count, LONG(unrolled))) as loop:
        for part in range(unrolled):
            step = builder.add(builder.mul(loop.index, LONG(unrolled)), LONG(part))
            line = at(builder, b[0], LONG(LINE_BYTES), step)
            others = [get(builder, at(builder, line, b[1], side), WORDS) for side in range(sides)]
            for number, start in enumerate(starts):
                word = get(builder, at(builder, start, a[2], step), WORD)
                lane = builder.insert_element(WORDS(ir.Undefined), word, WORD(0))
                everywhere = builder.shuffle_vector(lane, lane, WORDS([0] * 16))
                for side, other in enumerate(others):
                    slot = sums[sides * number + side]
                    builder.store(multiply_add(builder, builder.load(slot), everywhere, other), slot)
    for place, slot in zip(places, sums, strict=True):
        keep(builder, builder.load(slot), place)


def multiply_add_floats(builder, total, a, b):
    """total + a b of words that are float32."""
    product = builder.fmul(builder.bitcast(a, FLOATS), builder.bitcast(b, FLOATS), flags=("contract",))
    return builder.fadd(total, product, flags=("contract",))
