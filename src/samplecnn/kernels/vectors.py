"""Rows in vector registers, as functions of numba's language: moved, paired, transposed.

Sixteen lanes of four bytes; LLVM makes two or four of them where registers are shorter. Arguments are addresses.
"""

# mypy: ignore-errors
# What stands here is numba's language, whose types are inferred where a function is called.

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

BYTE, HALF, WORD, LONG = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
WORDS, FLOATS = ir.VectorType(WORD, 16), ir.VectorType(ir.FloatType(), 16)


def instruction(builder, name, arguments, result=None):
    kind = ir.FunctionType(result or ir.VoidType(), [argument.type for argument in arguments])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, arguments)


def pointer(builder, address, to=BYTE):
    return builder.inttoptr(address, to.as_pointer())


def at(builder, address, stride, row):
    return builder.add(address, builder.mul(stride, LONG(row) if isinstance(row, int) else row))


def get(builder, address, kind):
    loaded = builder.load(pointer(builder, address, kind))
    loaded.align = 2
    return loaded


def keep(builder, value, address):
    stored = builder.store(value, pointer(builder, address, value.type))
    stored.align = 2


@intrinsic
def prefetch_tile(typing, address):
    """Asks for the 16 lines of 64 bytes of a tile that is soon needed."""

    def generate(context, builder, signature, arguments):
        for line in range(16):
            _ask(builder, builder.add(arguments[0], LONG(64 * line)), 3)
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def prefetch(typing, address):
    """Asks for a line of 64 bytes that is needed later; there may be no such address."""

    def generate(context, builder, signature, arguments):
        _ask(builder, arguments[0], 2)
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _ask(builder, address, how_soon):
    instruction(builder, "llvm.prefetch.p0", [pointer(builder, address), WORD(0), WORD(how_soon), WORD(1)])


@intrinsic
def move(typing, source, target, count):
    """Copies `count` bytes."""

    def generate(context, builder, signature, arguments):
        source, target, count = arguments
        cgutils.raw_memcpy(builder, pointer(builder, target), pointer(builder, source), count, 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def stream(typing, source, target):
    """Copies 64 bytes to an address that they divide, past the caches: nobody reads them soon."""

    def generate(context, builder, signature, arguments):
        source, target = arguments
        stored = builder.store(get(builder, source, WORDS), pointer(builder, target, WORDS))
        stored.align = 64
        stored.set_metadata("nontemporal", builder.module.add_metadata([WORD(1)]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def streamed(typing):
    """What was streamed is in memory before what follows."""

    def generate(context, builder, signature, arguments):
        instruction(builder, "llvm.x86.sse.sfence", [])
        return context.get_dummy_value()

    return types.void(), generate


def everywhere(builder, value):
    """A float32 in all 16 lanes."""
    one = builder.insert_element(FLOATS(ir.Undefined), value, WORD(0))
    return builder.shuffle_vector(one, one, WORDS([0] * 16))


def _pairs(builder, address, stride, row):
    """16 columns of rows `row` and `row` + 1 of two-byte values, side by side in 16 words."""
    halves = []
    for number in (row, row + 1):
        loaded = get(builder, at(builder, address, stride, number), ir.VectorType(HALF, 16))
        halves.append(builder.zext(loaded, WORDS))
    return builder.or_(halves[0], builder.shl(halves[1], ir.Constant(WORDS, [16] * 16)))


@intrinsic
def pair(typing, source, stride, target, apart):
    """Two rows of 32 two-byte values as two times 16 pairs, 64 bytes each.

    The first 16 are of the first four of every eight values, the others of the other four: registers are interleaved
    so at once.
    """

    def generate(context, builder, signature, arguments):
        source, stride, target, apart = arguments
        rows = [get(builder, at(builder, source, stride, number), ir.VectorType(HALF, 32)) for number in (0, 1)]
        for half in (0, 1):
            values = [8 * (i // 4) + 4 * half + i % 4 for i in range(16)]
            order = ir.Constant(ir.VectorType(WORD, 32), [place for value in values for place in (value, 32 + value)])
            keep(builder, builder.shuffle_vector(*rows, order), at(builder, target, apart, half))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def transpose(typing, source, source_stride, target, target_stride):
    """32 rows of 16 two-byte values as 16 rows of 32; addresses, and bytes from row to row."""

    def generate(context, builder, signature, arguments):
        source, source_stride, target, target_stride = arguments
        rows = [_pairs(builder, source, source_stride, 2 * i) for i in range(16)]
        for size in (1, 2, 4, 8):  # swaps the corners of ever larger squares
            upper = [lane if not lane & size else 16 + lane - size for lane in range(16)]
            lower = [lane + size if not lane & size else 16 + lane for lane in range(16)]
            for i in range(16):
                if not i & size:
                    one, two = rows[i], rows[i + size]
                    rows[i] = builder.shuffle_vector(one, two, ir.Constant(WORDS, upper))
                    rows[i + size] = builder.shuffle_vector(one, two, ir.Constant(WORDS, lower))
        for i, row in enumerate(rows):
            keep(builder, row, at(builder, target, target_stride, i))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate
