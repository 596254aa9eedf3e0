"""Epilogues of a product, applied while it is in the caches, and rounding to bfloat16; functions for numba.

They process 32 features at a time, one cache line after rounding. Arguments are addresses. A block of a product is
float32 [2, BLOCK_ROWS, 16]: all rows' first 16 features lie before all rows' second 16.
"""

# mypy: ignore-errors
# numba infers the types where a function is called.

from llvmlite import ir
from llvmlite.binding import llvm_version_info
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from samplecnn.kernels.compiling import target_has
from samplecnn.kernels.vectors import FLOATS, HALF, LINE_BYTES, LONG, WORD, WORDS, at, broadcast, get, instruction, keep

# Rows of output that a micro-kernel computes at a time: their input and the weights of 32 features fit the first-level
# cache.
BLOCK_ROWS = 64
HALVES = ir.VectorType(HALF, 32)
# Rounding in one instruction; before LLVM 20 the intrinsic has another type.
_ROUNDS = target_has("avx512bf16") and llvm_version_info[0] >= 20


class _BFloat(ir.types.Type):
    """LLVM's type bfloat, which llvmlite lacks."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat)

    def __hash__(self):
        return hash(_BFloat)


PAIRS_TYPE = ir.VectorType(_BFloat(), 32)  # operands of AVX512-BF16's instructions, from LLVM 20 on


def rounded(builder, low, high):
    """Two times 16 float32 as 32 bfloat16, to nearest, ties to even."""
    if _ROUNDS:
        both = instruction(builder, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", [high, low], PAIRS_TYPE)
        return builder.bitcast(both, HALVES)
    words = []
    for value in (low, high):
        bits = builder.bitcast(value, WORDS)
        odd = builder.and_(builder.lshr(bits, WORDS([16] * 16)), WORDS([1] * 16))
        words.append(builder.bitcast(builder.add(bits, builder.add(odd, WORDS([0x7FFF] * 16))), HALVES))
    return builder.shuffle_vector(*words, ir.Constant(ir.VectorType(WORD, 32), [2 * i + 1 for i in range(32)]))


def widened(builder, halves):
    """32 bfloat16 as two times 16 float32."""
    values = []
    for first in (0, 16):
        order = ir.Constant(WORDS, list(range(first, first + 16)))
        words = builder.zext(builder.shuffle_vector(halves, halves, order), WORDS)
        values.append(builder.bitcast(builder.shl(words, WORDS([16] * 16)), FLOATS))
    return values


def _pair(builder, address):
    """32 float32."""
    return [get(builder, builder.add(address, LONG(64 * half)), FLOATS) for half in (0, 1)]


def _block_row(builder, source, row):
    """The 32 float32 of a row of a product's block."""
    line = LONG(LINE_BYTES)
    addresses = at(builder, source, line, row), at(builder, source, line, builder.add(row, LONG(BLOCK_ROWS)))
    return [get(builder, address, FLOATS) for address in addresses]


def _larger(builder, one, other):
    """The larger of two numbers; the other where one is NaN."""
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


class _Sums:
    """32 float32 in memory to which registers are added."""

    def __init__(self, builder, address):
        self.builder, self.address = builder, address
        self.sums = [cgutils.alloca_once(builder, FLOATS) for _ in (0, 1)]
        for value, slot in zip(_pair(builder, address), self.sums, strict=True):
            builder.store(value, slot)

    def add(self, half, value, flags=()):
        self.builder.store(self.builder.fadd(self.builder.load(self.sums[half]), value, flags=flags), self.sums[half])

    def end(self):
        for half, slot in enumerate(self.sums):
            keep(self.builder, self.builder.load(slot), self.builder.add(self.address, LONG(64 * half)))


@intrinsic
def round_rows(typing, source, count, target, stride):
    """Rounds `count` rows of a block to bfloat16, to rows `stride` bytes apart."""

    def generate(context, builder, signature, arguments):
        source, count, target, stride = arguments
        with cgutils.for_range(builder, count) as loop:
            values = _block_row(builder, source, loop.index)
            keep(builder, rounded(builder, *values), at(builder, target, stride, loop.index))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def round_with_bias(typing, source, count, target, stride, bias, floor):
    """`round_rows` of rows plus the 32 float32 at `bias`; values below `floor`, a float32, are raised to it."""

    def generate(context, builder, signature, arguments):
        source, count, target, stride, bias, floor = arguments
        shifts, least = _pair(builder, bias), broadcast(builder, floor)
        with cgutils.for_range(builder, count) as loop:
            values = _block_row(builder, source, loop.index)
            values = [builder.fadd(value, shift) for value, shift in zip(values, shifts, strict=True)]
            values = [_larger(builder, least, value) for value in values]
            keep(builder, rounded(builder, *values), at(builder, target, stride, loop.index))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5, types.float32), generate


@intrinsic
def round_pooled(typing, source, count, target, stride, bias, sums):
    """The largest of every 3 of 3 `count` rows of a block, plus the 32 float32 at `bias`, not below 0, rounded.

    Before rounding they are added to the 32 float32 at `sums`.
    """

    def generate(context, builder, signature, arguments):
        source, count, target, stride, bias, sums = arguments
        shifts, least = _pair(builder, bias), ir.Constant(FLOATS, [0.0] * 16)
        summed = _Sums(builder, sums)
        with cgutils.for_range(builder, count) as loop:
            first = builder.mul(loop.index, LONG(3))
            rows = [_block_row(builder, source, builder.add(first, LONG(row))) for row in range(3)]
            values = []
            for half, (first, second, third) in enumerate(zip(*rows, strict=True)):
                value = _larger(builder, _larger(builder, first, second), third)
                value = _larger(builder, least, builder.fadd(value, shifts[half]))
                summed.add(half, value)
                values.append(value)
            keep(builder, rounded(builder, *values), at(builder, target, stride, loop.index))
        summed.end()
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


@intrinsic
def round_with_moments(typing, source, count, target, stride, shares, pivot, sums):
    """`round_rows`, which also adds up the moments of the rounded values.

    Addresses: `shares`, a float32 a row, 1 where the row counts for the moments and 0 where not; `pivot`, 32 float32
    that are subtracted before; `sums`, float32 [2, 32], to which the sum and the sum of squares are added.
    """

    def generate(context, builder, signature, arguments):
        source, count, target, stride, shares, pivot, sums = arguments
        around, fused = _pair(builder, pivot), ("contract",)
        ones, squares = _Sums(builder, sums), _Sums(builder, builder.add(sums, LONG(128)))
        with cgutils.for_range(builder, count) as loop:
            halves = rounded(builder, *_block_row(builder, source, loop.index))
            keep(builder, halves, at(builder, target, stride, loop.index))
            share = broadcast(builder, get(builder, at(builder, shares, LONG(4), loop.index), ir.FloatType()))
            for half, value in enumerate(widened(builder, halves)):
                value = builder.fmul(builder.fsub(value, around[half]), share)
                ones.add(half, value)
                squares.add(half, builder.fmul(value, value, flags=fused), flags=fused)
        ones.end()
        squares.end()
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), generate


@intrinsic
def first_conv_rows(typing, source, count, taps, channels, shift, target):
    """The first convolution of `count` frames of 3 float32, with its ReLU, rounded.

    `taps` are float32 [3, channels], `shift` [channels]; `target` is [count, channels], channels a multiple of 32.
    """

    def generate(context, builder, signature, arguments):
        source, count, taps, channels, shift, target = arguments
        fused, least = ("contract",), ir.Constant(FLOATS, [0.0] * 16)
        with cgutils.for_range(builder, builder.udiv(channels, LONG(32))) as part:
            column = builder.mul(part.index, LONG(128))
            tap = [
                _pair(builder, builder.add(at(builder, taps, builder.mul(channels, LONG(4)), row), column))
                for row in range(3)
            ]
            shifts = _pair(builder, builder.add(shift, column))
            first_row = builder.add(target, builder.mul(part.index, LONG(LINE_BYTES)))
            with cgutils.for_range(builder, count) as loop:
                step = at(builder, source, LONG(12), loop.index)
                samples = [
                    broadcast(builder, get(builder, builder.add(step, LONG(4 * i)), ir.FloatType())) for i in range(3)
                ]
                values = []
                for half in (0, 1):
                    value = shifts[half]
                    for sample, weights in zip(samples, tap, strict=True):
                        value = builder.fadd(value, builder.fmul(sample, weights[half], flags=fused), flags=fused)
                    values.append(_larger(builder, least, value))
                keep(
                    builder,
                    rounded(builder, *values),
                    at(builder, first_row, builder.mul(channels, LONG(2)), loop.index),
                )
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate
