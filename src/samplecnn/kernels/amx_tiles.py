"""Matrix tiles: AMX instructions as functions of numba's language.

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

from samplecnn.kernels.vectors import BYTE, instruction, pointer

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


@intrinsic
def configure(typing, address):
    """Makes the tiles ready for this thread, as CONFIG at `address` says."""

    def generate(context, builder, signature, arguments):
        instruction(builder, "llvm.x86.ldtilecfg", [pointer(builder, arguments[0])])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def release(typing):
    """Gives the tiles back."""

    def generate(context, builder, signature, arguments):
        instruction(builder, "llvm.x86.tilerelease", [])
        return context.get_dummy_value()

    return types.void(), generate


def _with_memory(name):
    @intrinsic(prefer_literal=True)
    def operation(typing, tile, address, stride):
        def generate(context, builder, signature, arguments):
            number = ir.Constant(BYTE, tile.literal_value)
            instruction(builder, name, [number, pointer(builder, arguments[1]), arguments[2]])
            return context.get_dummy_value()

        return types.void(tile, types.int64, types.int64), generate

    return operation


tile_load = _with_memory("llvm.x86.tileloadd64")  # (tile, address, bytes from row to row)
tile_store = _with_memory("llvm.x86.tilestored64")


@intrinsic(prefer_literal=True)
def tile_zero(typing, tile):
    """Tile = 0."""

    def generate(context, builder, signature, arguments):
        instruction(builder, "llvm.x86.tilezero", [ir.Constant(BYTE, tile.literal_value)])
        return context.get_dummy_value()

    return types.void(tile), generate


@intrinsic(prefer_literal=True)
def tile_product(typing, c, a, b):
    """Tile c += tile a @ tile b."""

    def generate(context, builder, signature, arguments):
        numbers = [ir.Constant(BYTE, tile.literal_value) for tile in (c, a, b)]
        instruction(builder, "llvm.x86.tdpbf16ps", numbers)
        return context.get_dummy_value()

    return types.void(c, a, b), generate
