"""Matrix tiles: AMX instructions, and the shuffles that feed them, as functions of numba's language.

A core with AMX has eight tiles of 16 rows of 64 bytes. TDPBF16PS adds to a tile of 16 x 16 float32 the product of a
tile of 16 x 32 bfloat16 with one of 32 x 16, whose rows come in pairs: a row of memory holds 16 times the two values of
rows 2i and 2i + 1 (Intel's Software Developer's Manual, volume 1, chapter 18). LLVM knows the instructions, so nothing
has to be compiled before a user's machine does.
"""

# mypy: ignore-errors
# What stands here is numba's language, whose types are inferred where a function is called.

from functools import cache

import numpy as np
import torch
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import config
from numba.extending import intrinsic

BYTE, HALF, WORD, LONG = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
WORDS = ir.VectorType(WORD, 16)

CONFIG = np.zeros(64, np.uint8)  # LDTILECFG's operand: palette 1, all eight tiles of full size
CONFIG[0] = 1
CONFIG[16:32].view(np.uint16)[:] = 64  # bytes of a row
CONFIG[48:56] = 16  # rows


@cache
def available() -> bool:
    """Whether this machine has tiles for bfloat16, numba may use them, and the kernel lets this process do so."""
    if config.CPU_NAME or config.CPU_FEATURES:  # numba has been told to compile for another machine than this
        return False
    features = get_host_cpu_features()
    needed = all(features.get(name) for name in ("amx-tile", "amx-bf16", "avx512bw"))
    return needed and bool(getattr(torch.cpu, "_init_amx", lambda: False)())


def _instruction(builder, name, arguments, result=None):
    kind = ir.FunctionType(result or ir.VoidType(), [argument.type for argument in arguments])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, arguments)


def _pointer(builder, address, to=BYTE):
    return builder.inttoptr(address, to.as_pointer())


def _at(builder, address, stride, row):
    return builder.add(address, builder.mul(stride, ir.Constant(LONG, row)))


@intrinsic
def configure(typing, address):
    """Makes the tiles ready for this thread, as CONFIG at `address` says."""

    def generate(context, builder, signature, arguments):
        _instruction(builder, "llvm.x86.ldtilecfg", [_pointer(builder, arguments[0])])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def release(typing):
    """Gives the tiles back."""

    def generate(context, builder, signature, arguments):
        _instruction(builder, "llvm.x86.tilerelease", [])
        return context.get_dummy_value()

    return types.void(), generate


def _with_memory(name):
    @intrinsic(prefer_literal=True)
    def instruction(typing, tile, address, stride):
        def generate(context, builder, signature, arguments):
            number = ir.Constant(BYTE, tile.literal_value)
            _instruction(builder, name, [number, _pointer(builder, arguments[1]), arguments[2]])
            return context.get_dummy_value()

        return types.void(tile, types.int64, types.int64), generate

    return instruction


tile_load = _with_memory("llvm.x86.tileloadd64")  # (tile, address, bytes from row to row)
tile_store = _with_memory("llvm.x86.tilestored64")


@intrinsic(prefer_literal=True)
def tile_product(typing, c, a, b):
    """Tile c += tile a @ tile b."""

    def generate(context, builder, signature, arguments):
        numbers = [ir.Constant(BYTE, tile.literal_value) for tile in (c, a, b)]
        _instruction(builder, "llvm.x86.tdpbf16ps", numbers)
        return context.get_dummy_value()

    return types.void(c, a, b), generate


def _pairs(builder, address, stride, row):
    """16 columns of rows `row` and `row` + 1 of two-byte values, side by side in 16 words."""
    halves = []
    for number in (row, row + 1):
        loaded = builder.load(_pointer(builder, _at(builder, address, stride, number), ir.VectorType(HALF, 16)))
        loaded.align = 2
        halves.append(builder.zext(loaded, WORDS))
    return builder.or_(halves[0], builder.shl(halves[1], ir.Constant(WORDS, [16] * 16)))


def _keep(builder, value, address):
    stored = builder.store(value, _pointer(builder, address, value.type))
    stored.align = 2


@intrinsic
def pair(typing, source, stride, target):
    """Two rows of 16 two-byte values as 16 pairs, 64 bytes."""

    def generate(context, builder, signature, arguments):
        source, stride, target = arguments
        _keep(builder, _pairs(builder, source, stride, 0), target)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


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
            _keep(builder, row, _at(builder, target, target_stride, i))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate
