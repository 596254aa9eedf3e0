"""bfloat16, the upper half of a float32, for numba, which lacks this type: values are passed as uint16."""

# mypy: ignore-errors
# numba infers the types where a function is called.

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from samplecnn.kernels.compiling import target_has

_WIDE_REGISTERS = target_has("amx-tile") or target_has("avx512bf16")


def _prefer_wide(builder):
    """Makes LLVM use the full 64-byte registers in this function if the CPU has them.

    LLVM prefers halves, because the first CPUs with such registers lowered their clock. CPUs with instructions for
    bfloat16 do not.
    """
    if _WIDE_REGISTERS:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # llvmlite's `add` rejects such pairs


@intrinsic
def float_of_bits(typing, bits):
    """The float32 that 32 bits stand for."""

    def generate(context, builder, signature, arguments):
        _prefer_wide(builder)
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def bits_of_float(typing, value):
    """The 32 bits of a float32."""

    def generate(context, builder, signature, arguments):
        _prefer_wide(builder)
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


def load(stored):
    """A stored value as float32."""
    raise NotImplementedError


@overload(load, inline="always")
def _load(stored):
    if stored == types.uint16:
        return lambda stored: float_of_bits(np.uint32(stored) << np.uint32(16))
    return lambda stored: stored


def pack(array, value):
    """A float32 as `array` stores it: for bfloat16 rounded to nearest, ties to even."""
    raise NotImplementedError


@overload(pack, inline="always")
def _pack(array, value):
    if array.dtype == types.uint16:
        return lambda array, value: np.uint16(
            (bits_of_float(value) + np.uint32(0x7FFF) + ((bits_of_float(value) >> np.uint32(16)) & np.uint32(1)))
            >> np.uint32(16)
        )
    return lambda array, value: value
