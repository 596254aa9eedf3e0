"""Rows of float32 rounded to bfloat16, with what is done to them on the way, as functions of numba's language.

Thirty-two columns at a time, which are one line of the caches when they are rounded. Arguments are addresses.
"""

# mypy: ignore-errors
# What stands here is numba's language, whose types are inferred where a function is called.

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features, llvm_version_info
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from samplecnn.kernels.vectors import FLOATS, HALF, LONG, WORD, WORDS, at, everywhere, get, instruction, keep

# Rows of output that `tiled.products` makes at a time: their input and the weights of 32 features fit the first-level
# cache.
STEPS = 64
HALVES = ir.VectorType(HALF, 32)
# Rounding in one instruction; before LLVM 20 it goes by another type.
_ROUNDS = bool(get_host_cpu_features().get("avx512bf16")) and llvm_version_info[0] >= 20


class _BFloat(ir.types.Type):
    """LLVM's bfloat, which llvmlite has no word for."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat)

    def __hash__(self):
        return hash(_BFloat)


def rounded(builder, low, high):
    """Two times 16 float32 as 32 bfloat16, to nearest, ties to even."""
    if _ROUNDS:
        kind = ir.VectorType(_BFloat(), 32)
        both = instruction(builder, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", [high, low], kind)
        return builder.bitcast(both, HALVES)
    words = []
    for value in (low, high):
        bits = builder.bitcast(value, WORDS)
        odd = builder.and_(builder.lshr(bits, WORDS([16] * 16)), WORDS([1] * 16))
        words.append(builder.bitcast(builder.add(bits, builder.add(odd, WORDS([0x7FFF] * 16))), HALVES))
    return builder.shuffle_vector(*words, ir.Constant(ir.VectorType(WORD, 32), [2 * i + 1 for i in range(32)]))


def widened(builder, halves):
    """The reverse: two times 16 float32."""
    values = []
    for first in (0, 16):
        order = ir.Constant(WORDS, list(range(first, first + 16)))
        words = builder.zext(builder.shuffle_vector(halves, halves, order), WORDS)
        values.append(builder.bitcast(builder.shl(words, WORDS([16] * 16)), FLOATS))
    return values


def _pair(builder, address):
    """32 float32."""
    return [get(builder, builder.add(address, LONG(64 * half)), FLOATS) for half in (0, 1)]


def _summed(builder, source, row):
    """The 32 float32 of a row that `tiled.products` gave: all rows' first 16 lie before all rows' second."""
    places = (at(builder, source, LONG(64), row), at(builder, source, LONG(64), builder.add(row, LONG(STEPS))))
    return [get(builder, place, FLOATS) for place in places]


def _larger(builder, one, other):
    """The larger of two numbers; where one is none, the other."""
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


class _Sums:
    """32 float32 in memory that are added to in registers."""

    def __init__(self, builder, address):
        self.builder, self.address = builder, address
        self.kept = [cgutils.alloca_once(builder, FLOATS) for _ in (0, 1)]
        for value, kept in zip(_pair(builder, address), self.kept, strict=True):
            builder.store(value, kept)

    def add(self, half, value, flags=()):
        self.builder.store(self.builder.fadd(self.builder.load(self.kept[half]), value, flags), self.kept[half])

    def end(self):
        for half, kept in enumerate(self.kept):
            keep(self.builder, self.builder.load(kept), self.builder.add(self.address, LONG(64 * half)))


@intrinsic
def narrow(typing, source, count, target, stride):
    """Rounds `count` rows of 32 float32 to bfloat16, to rows `stride` bytes apart."""

    def generate(context, builder, signature, arguments):
        source, count, target, stride = arguments
        with cgutils.for_range(builder, count) as loop:
            values = _summed(builder, source, loop.index)
            keep(builder, rounded(builder, *values), at(builder, target, stride, loop.index))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def narrow_biased(typing, source, count, target, stride, bias, floor):
    """The same of rows to which 32 float32 at `bias` are added, and which do not fall below `floor`, a float32."""

    def generate(context, builder, signature, arguments):
        source, count, target, stride, bias, floor = arguments
        shifts, least = _pair(builder, bias), everywhere(builder, floor)
        with cgutils.for_range(builder, count) as loop:
            values = _summed(builder, source, loop.index)
            values = [builder.fadd(value, shift) for value, shift in zip(values, shifts, strict=True)]
            values = [_larger(builder, least, value) for value in values]
            keep(builder, rounded(builder, *values), at(builder, target, stride, loop.index))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5, types.float32), generate


@intrinsic
def narrow_pooled(typing, source, count, target, stride, bias, sums):
    """The largest of every three of 3 `count` rows of 32 float32, with the 32 at `bias` added, not below 0, rounded.

    Before they are rounded they are added to the 32 float32 at `sums`.
    """

    def generate(context, builder, signature, arguments):
        source, count, target, stride, bias, sums = arguments
        shifts, least = _pair(builder, bias), ir.Constant(FLOATS, [0.0] * 16)
        summed = _Sums(builder, sums)
        with cgutils.for_range(builder, count) as loop:
            first = builder.mul(loop.index, LONG(3))
            rows = [_summed(builder, source, builder.add(first, LONG(row))) for row in range(3)]
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
def narrow_summing(typing, source, count, target, stride, shares, pivot, sums):
    """As `narrow`, and adds up the moments of what was rounded.

    Addresses: `shares`, of a float32 a row, 1 where it counts for the moments and 0 where not; `pivot`, of 32 float32
    that are taken off before; `sums`, of float32 [2, 32], to which the sum and the sum of squares are added.
    """

    def generate(context, builder, signature, arguments):
        source, count, target, stride, shares, pivot, sums = arguments
        around, fused = _pair(builder, pivot), ("contract",)
        ones, squares = _Sums(builder, sums), _Sums(builder, builder.add(sums, LONG(128)))
        with cgutils.for_range(builder, count) as loop:
            halves = rounded(builder, *_summed(builder, source, loop.index))
            keep(builder, halves, at(builder, target, stride, loop.index))
            share = everywhere(builder, get(builder, at(builder, shares, LONG(4), loop.index), ir.FloatType()))
            for half, value in enumerate(widened(builder, halves)):
                value = builder.fmul(builder.fsub(value, around[half]), share)
                ones.add(half, value)
                squares.add(half, builder.fmul(value, value, fused), fused)
        ones.end()
        squares.end()
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), generate


@intrinsic
def first_rows(typing, source, count, taps, channels, shift, target):
    """The first convolution of `count` steps of three float32, with its ReLU, rounded.

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
            place = builder.add(target, builder.mul(part.index, LONG(64)))
            with cgutils.for_range(builder, count) as loop:
                step = at(builder, source, LONG(12), loop.index)
                samples = [
                    everywhere(builder, get(builder, builder.add(step, LONG(4 * i)), ir.FloatType())) for i in range(3)
                ]
                values = []
                for half in (0, 1):
                    value = shifts[half]
                    for sample, weights in zip(samples, tap, strict=True):
                        value = builder.fadd(value, builder.fmul(sample, weights[half], fused), fused)
                    values.append(_larger(builder, least, value))
                keep(
                    builder,
                    rounded(builder, *values),
                    at(builder, place, builder.mul(channels, LONG(2)), loop.index),
                )
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate
