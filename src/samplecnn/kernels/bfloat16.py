"""bfloat16, the upper half of a float32, in numba's language: it comes as uint16."""

# mypy: ignore-errors
# What stands here is numba's language, whose types are inferred where a function is called.

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.extending import intrinsic, overload

_HAS_TILES = bool(get_host_cpu_features().get("amx-tile"))


def _widen(builder):
    """Makes LLVM fill registers of 64 bytes in this function where there are some.

    By itself it takes half of them, for the sake of the first cores that had any, which slowed down. Those with matrix
    tiles do not.
    """
    if _HAS_TILES:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # llvmlite's own `add` knows no such pairs


@intrinsic
def _float_of(typing, bits):
    def generate(context, builder, signature, arguments):
        _widen(builder)
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def _bits_of(typing, value):
    def generate(context, builder, signature, arguments):
        _widen(builder)
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


def load(stored):
    """A stored value as float32."""
    raise NotImplementedError


@overload(load, inline="always")
def _load(stored):
    if stored == types.uint16:
        return lambda stored: _float_of(np.uint32(stored) << np.uint32(16))
    return lambda stored: stored


def pack(array, value):
    """A float32 as `array` stores it: for bfloat16 rounded to nearest, ties to even."""
    raise NotImplementedError


@overload(pack, inline="always")
def _pack(array, value):
    if array.dtype == types.uint16:
        return lambda array, value: np.uint16(
            (_bits_of(value) + np.uint32(0x7FFF) + ((_bits_of(value) >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        )
    return lambda array, value: value
