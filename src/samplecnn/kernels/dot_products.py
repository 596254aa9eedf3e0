"""The micro-kernel by dot products of bfloat16 pairs, for CPUs with AVX512-BF16 and without AMX, such as AMD's Zen 4.

VDPBF16PS adds to each of 16 float32 the products of two pairs of bfloat16. One operand is a pair of adjacent channels
of a row, in all lanes, the other the same pair of the weights of 16 features. 8 rows by 32 features are summed at a
time: 16 independent sums hide the instruction's latency, and each pair that is loaded is used twice. On the measured
Xeon, with one such instruction per cycle, 8, 12, 13, 14 and 16 rows are equally fast.

`PlainDots` computes the same in float32 on any CPU, for tests.
"""

# mypy: ignore-errors
# numba infers the types where a function is called.

from functools import cache
from typing import NamedTuple

import numpy as np
from llvmlite.binding import llvm_version_info
from numba import types
from numba.extending import intrinsic, overload

from samplecnn.kernels.amx_tiles import is_a
from samplecnn.kernels.bf16_epilogues import BLOCK_ROWS, PAIRS_TYPE
from samplecnn.kernels.compiling import kernel, target_has
from samplecnn.kernels.micro_kernel import (
    GROUP,
    add_weight_gradient,
    configure,
    gradient_index,
    gradient_workspace,
    pack_weight,
    products,
    release,
)
from samplecnn.kernels.pairs import pair_column, pair_rows, paired_weight
from samplecnn.kernels.register_sums import multiply_add_floats, sums_of_products
from samplecnn.kernels.staging import GRADIENT_ROWS, aligned_empty
from samplecnn.kernels.vectors import FLOATS, LINE_BYTES, LONG, WORDS, instruction, prefetch_line

ROWS = 8  # rows, or channels in the weight's gradient, that are summed at a time in registers
UNROLLED = 2  # pairs per iteration


class Avx512Dots(NamedTuple):
    """The instructions of AVX512-BF16."""

    rows: int


class PlainDots(NamedTuple):
    """The same in float32."""

    rows: int


AVX512_BF16 = Avx512Dots(ROWS)
PLAIN_DOTS = PlainDots(ROWS)


@cache
def available() -> bool:
    """Whether numba compiles for a CPU with AVX512-BF16."""
    return target_has("avx512bf16")


def _by_dots(kind) -> bool:
    return is_a(kind, Avx512Dots) or is_a(kind, PlainDots)


def _multiply_add(unit):
    """Adds to each of 16 float32 the two products of a pair in a and one in b; for the micro-kernel's numba type."""

    def by_instruction(builder, total, a, b):
        kind = PAIRS_TYPE if llvm_version_info[0] >= 20 else WORDS
        operands = [total, builder.bitcast(a, kind), builder.bitcast(b, kind)]
        return instruction(builder, "llvm.x86.avx512bf16.dpbf16ps.512", operands, FLOATS)

    def in_float32(builder, total, a, b):
        sixteen, upper = WORDS([16] * 16), WORDS([0xFFFF0000] * 16)
        total = multiply_add_floats(builder, total, builder.shl(a, sixteen), builder.shl(b, sixteen))
        return multiply_add_floats(builder, total, builder.and_(a, upper), builder.and_(b, upper))

    return by_instruction if is_a(unit, Avx512Dots) else in_float32


@intrinsic
def multiply_rows(typing, unit, a, stride, b, half, count, target):
    """Products of ROWS rows at a, `stride` bytes apart, with `count` pairs for 32 features, to a block's scratch.

    `count` is a multiple of UNROLLED; `half` bytes lie between the pairs of the first and of the second 16 features.
    """

    def generate(context, builder, signature, arguments):
        _, a, stride, b, half, count, target = arguments
        places = (a, stride, LONG(4)), (b, half), (target, LONG(LINE_BYTES), LONG(BLOCK_ROWS * LINE_BYTES))
        sums_of_products(builder, ROWS, 2, *places, count, UNROLLED, _multiply_add(unit))
        return context.get_dummy_value()

    return types.void(unit, *[types.int64] * 6), generate


@intrinsic
def _add_columns(typing, unit, a, b, half, count, target):
    """The same for ROWS adjacent columns at a, whose pairs of rows lie LINE_BYTES apart, added to [ROWS, 32] sums."""

    def generate(context, builder, signature, arguments):
        _, a, b, half, count, target = arguments
        places = (a, LONG(4), LONG(LINE_BYTES)), (b, half), (target, LONG(2 * LINE_BYTES), LONG(LINE_BYTES))
        sums_of_products(builder, ROWS, 2, *places, count, UNROLLED, _multiply_add(unit), adds=True)
        return context.get_dummy_value()

    return types.void(unit, *[types.int64] * 5), generate


@overload(configure)
def _configure(unit):
    """The state is the micro-kernel itself."""
    return (lambda unit: unit) if _by_dots(unit) else None


@overload(release)
def _release(state):
    return (lambda state: None) if _by_dots(state) else None


@overload(pack_weight)
def _pack_weight(unit, weight, backward):
    return (lambda unit, weight, backward: paired_weight(weight, backward)) if _by_dots(unit) else None


@overload(products)
def _products(state, staged, weight, group, scratch, prefetch):
    """All pairs of a row's taps and channels follow each other, in `staged` as in the packed weight."""

    def implementation(state, staged, weight, group, scratch, prefetch):
        taps, channels, line = weight.shape[1], np.int64(staged.shape[1]), np.int64(LINE_BYTES)
        pairs = taps * channels // 2
        half = pairs * line
        b = np.int64(weight.ctypes.data) + 2 * group * half
        a = np.int64(staged.ctypes.data) + (3 - taps) // 2 * 2 * channels
        ahead, until = prefetch
        share = (until - ahead) // (BLOCK_ROWS // ROWS)
        for first in range(0, BLOCK_ROWS, ROWS):
            for address in range(ahead, ahead + share, LINE_BYTES):
                prefetch_line(address)
            ahead += share
            target = np.int64(scratch.ctypes.data) + first * line
            multiply_rows(state, a + first * 2 * channels, 2 * channels, b, half, pairs, target)

    return implementation if _by_dots(state) else None


@overload(gradient_workspace)
def _gradient_workspace(unit, channels, features):
    """The input's rows in pairs, and the gradient's in pairs that begin with an odd and with an even padded row."""

    def implementation(unit, channels, features):
        source = aligned_empty(channels // 16, 16 * GRADIENT_ROWS, np.uint16)
        centred = aligned_empty(features // 16, 16 * GRADIENT_ROWS, np.uint16)
        shifted = aligned_empty(features // 16, 16 * (GRADIENT_ROWS + 2), np.uint16)
        return source, centred, shifted

    return implementation if _by_dots(unit) else None


@overload(add_weight_gradient)
def _add_weight_gradient(state, workspace, source, gradient, count, sums):
    def implementation(state, workspace, source, gradient, count, sums):
        inputs, centred, shifted = workspace
        taps, width = sums.shape[0], np.int64(2 * gradient.shape[1])
        pair_rows(source, GRADIENT_ROWS, inputs)
        pair_rows(np.int64(gradient.ctypes.data) + width, GRADIENT_ROWS, centred)
        if taps == 3:
            pair_rows(np.int64(gradient.ctypes.data), GRADIENT_ROWS + 2, shifted)
        pairs = (count + 3) // 4 * 2
        for c in range(sums.shape[1]):
            for f in range(sums.shape[2]):
                # The first tap multiplies an input step with the gradient of the next step, the last of the previous.
                _add_square(state, inputs[2 * c :], centred[2 * f :], 0, pairs, sums[taps // 2, c, f])
                if taps == 3:
                    _add_square(state, inputs[2 * c :], shifted[2 * f :], 1, pairs, sums[0, c, f])
                    _add_square(state, inputs[2 * c :], shifted[2 * f :], 0, pairs, sums[2, c, f])

    return implementation if _by_dots(state) else None


@overload(gradient_index)
def _gradient_index(unit, channel, feature):
    """[32 channels, 32 features], both in the order of `pair`."""

    def implementation(unit, channel, feature):
        (half, column), (other_half, other_column) = pair_column(channel), pair_column(feature)
        return (half * 16 + column) * GROUP + other_half * 16 + other_column

    return implementation if _by_dots(unit) else None


@kernel()
def _add_square(state, inputs, paired, first, pairs, sums):
    """Adds to `sums` [1024] the product of 32 channels with 32 features, the latter from pair `first` on."""
    line, distance = np.int64(LINE_BYTES), np.int64(2 * inputs.shape[1])
    b, half = np.int64(paired.ctypes.data) + first * line, np.int64(2 * paired.shape[1])
    for channel in range(0, GROUP, ROWS):
        a = np.int64(inputs.ctypes.data) + channel // 16 * distance + 4 * (channel % 16)
        target = np.int64(sums.ctypes.data) + channel * 2 * line
        _add_columns(state, a, b, half, np.int64(pairs), target)
