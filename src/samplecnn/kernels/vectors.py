"""Rows in vector registers, as functions for numba: copy, interleave, transpose; and the caches: prefetch, stream.

Registers have 16 lanes of 4 bytes; if the CPU's are shorter, LLVM uses 2 or 4 of them. Arguments are addresses.
"""

# mypy: ignore-errors
# numba infers the types where a function is called.

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

BYTE, HALF, WORD, LONG = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
WORDS, FLOATS = ir.VectorType(WORD, 16), ir.VectorType(ir.FloatType(), 16)
LINE_BYTES = 64  # of a cache line
X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


def instruction(builder, name, arguments, result=None):
    """Calls an intrinsic function of LLVM."""
    kind = ir.FunctionType(result or ir.VoidType(), [argument.type for argument in arguments])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, arguments)


def pointer(builder, address, to=BYTE):
    return builder.inttoptr(address, to.as_pointer())


def at(builder, address, stride, row):
    """The address of a row, `stride` bytes from one row to the next."""
    return builder.add(address, builder.mul(stride, LONG(row) if isinstance(row, int) else row))


def get(builder, address, kind):
    """Loads a value of LLVM type `kind`; the address need only be even."""
    loaded = builder.load(pointer(builder, address, kind))
    loaded.align = 2
    return loaded


def keep(builder, value, address):
    stored = builder.store(value, pointer(builder, address, value.type))
    stored.align = 2


@intrinsic
def prefetch_tile(typing, address):
    """Fetches the 16 cache lines of a tile that is needed soon."""

    def generate(context, builder, signature, arguments):
        for line in range(16):
            _fetch(builder, builder.add(arguments[0], LONG(LINE_BYTES * line)), 3)
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def prefetch_line(typing, address):
    """Fetches a cache line that is needed later; the address need not be valid."""

    def generate(context, builder, signature, arguments):
        _fetch(builder, arguments[0], 2)
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _fetch(builder, address, locality):
    instruction(builder, "llvm.prefetch.p0", [pointer(builder, address), WORD(0), WORD(locality), WORD(1)])


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
    """Copies 64 bytes that are not read soon to a multiple of 64, bypassing the caches."""

    def generate(context, builder, signature, arguments):
        source, target = arguments
        stored = builder.store(get(builder, source, WORDS), pointer(builder, target, WORDS))
        stored.align = 64
        stored.set_metadata("nontemporal", builder.module.add_metadata([WORD(1)]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def end_streams(typing):
    """Memory fence: stores by `stream` complete before later ones."""

    def generate(context, builder, signature, arguments):
        if X86:
            instruction(builder, "llvm.x86.sse.sfence", [])
        else:
            builder.fence("release")
        return context.get_dummy_value()

    return types.void(), generate


def broadcast(builder, value):
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
def pair(typing, source, stride, target, distance):
    """Interleaves two rows of 32 two-byte values: two times 16 pairs, 64 bytes each, `distance` bytes from each other.

    The first 16 pairs contain the first 4 of every 8 values, the others the last 4: the order in which one instruction
    interleaves registers.
    """

    def generate(context, builder, signature, arguments):
        source, stride, target, distance = arguments
        rows = [get(builder, at(builder, source, stride, number), ir.VectorType(HALF, 32)) for number in (0, 1)]
        for half in (0, 1):
            values = [8 * (i // 4) + 4 * half + i % 4 for i in range(16)]
            order = ir.Constant(ir.VectorType(WORD, 32), [lane for value in values for lane in (value, 32 + value)])
            keep(builder, builder.shuffle_vector(*rows, order), at(builder, target, distance, half))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def transpose(typing, source, source_stride, target, target_stride):
    """32 rows of 16 two-byte values as 16 rows of 32; addresses, and bytes from row to row."""

    def generate(context, builder, signature, arguments):
        source, source_stride, target, target_stride = arguments
        rows = [_pairs(builder, source, source_stride, 2 * i) for i in range(16)]
        for size in (1, 2, 4, 8):  # exchanges the off-diagonal quarters of squares of twice this size
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
