"""Matrix tiles: AMX instructions as functions for numba, and the same as plain loops for CPUs without AMX.

A core with AMX has 8 tiles of 16 rows of 64 bytes. TDPBF16PS adds to a tile of 16 x 16 float32 the product of a tile of
16 x 32 bfloat16 with one of 32 x 16, whose rows come in pairs: a row of memory holds 16 times the two values of rows 2i
and 2i + 1 (Intel's Software Developer's Manual, volume 1, chapter 18). LLVM supports the instructions, so
everything is compiled on the user's machine.

The type of the first argument, `AmxTiles` or `PlainTiles`, selects one of the two. The plain loops are slow and meant
for tests: with them, everything built on tiles computes the same results on any CPU.
"""

# mypy: ignore-errors
# numba infers the types where a function is called.

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import config
from numba.extending import intrinsic, overload

from samplecnn.kernels.bfloat16 import float_of_bits
from samplecnn.kernels.micro_kernel import configure, release
from samplecnn.kernels.vectors import BYTE, WORD, get, instruction, keep, pointer

TILE_BYTES = 1024
TILE_ROWS = 16

_CONFIG = np.zeros(64, np.uint8)  # LDTILECFG's operand: palette 1, all 8 tiles of full size
_CONFIG[0] = 1
_CONFIG[16:32].view(np.uint16)[:] = 64  # bytes of a row
_CONFIG[48:56] = TILE_ROWS


class AmxTiles(NamedTuple):
    """The tiles of a core with AMX."""

    config: int  # the address of LDTILECFG's operand


class PlainTiles(NamedTuple):
    """Tiles in memory."""

    count: int


AMX = AmxTiles(_CONFIG.ctypes.data)
PLAIN = PlainTiles(8)


@cache
def available() -> bool:
    """Whether this machine has AMX for bfloat16, numba may use it, and the operating system lets this process do so."""
    if config.CPU_NAME or config.CPU_FEATURES:  # numba is set to compile for another CPU
        return False
    features = get_host_cpu_features()
    needed = all(features.get(name) for name in ("amx-tile", "amx-bf16", "avx512bw"))
    return needed and bool(getattr(torch.cpu, "_init_amx", lambda: False)())


def is_a(kind, group: type) -> bool:
    """Whether a numba type is that of a NamedTuple class."""
    return getattr(kind, "instance_class", None) is group


def are_plain(state) -> bool:
    """Whether a numba type is that of the memory of `PlainTiles`."""
    return isinstance(state, types.Array) and state.ndim == 3 and state.dtype == types.uint32


# ---- the instructions


@intrinsic
def _ldtilecfg(typing, address):
    def generate(context, builder, signature, arguments):
        instruction(builder, "llvm.x86.ldtilecfg", [pointer(builder, arguments[0])])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def _tilerelease(typing):
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


_tileloadd = _with_memory("llvm.x86.tileloadd64")
_tilestored = _with_memory("llvm.x86.tilestored64")


def _on_tiles(name, count):
    def typed(*tiles):
        def generate(context, builder, signature, arguments):
            instruction(builder, name, [ir.Constant(BYTE, tile.literal_value) for tile in tiles])
            return context.get_dummy_value()

        return types.void(*tiles), generate

    if count == 1:
        return intrinsic(prefer_literal=True)(lambda typing, a: typed(a))
    return intrinsic(prefer_literal=True)(lambda typing, c, a, b: typed(c, a, b))


_tilezero = _on_tiles("llvm.x86.tilezero", 1)
_tdpbf16ps = _on_tiles("llvm.x86.tdpbf16ps", 3)


# ---- the same in memory: uint32 [tiles, 16, 16]


@intrinsic
def _word(typing, address):
    """The 4 bytes at an address."""

    def generate(context, builder, signature, arguments):
        return get(builder, arguments[0], WORD)

    return types.uint32(types.int64), generate


@intrinsic
def _set_word(typing, address, word):
    def generate(context, builder, signature, arguments):
        keep(builder, arguments[1], arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64, types.uint32), generate


# ---- one of the two, by the type of `tiles`; a tile's number is a constant


@overload(configure)
def _configure(unit):
    """The state is the `AmxTiles` themselves, or the memory of the `PlainTiles`."""

    def ready(unit):
        _ldtilecfg(unit.config)
        return unit

    if is_a(unit, AmxTiles):
        return ready
    return (lambda unit: np.zeros((unit.count, TILE_ROWS, 16), np.uint32)) if is_a(unit, PlainTiles) else None


@overload(release)
def _release(state):
    if is_a(state, AmxTiles):
        return lambda state: _tilerelease()
    return (lambda state: None) if are_plain(state) else None


def tile_load(tiles, number, address, stride):
    """Fills a tile from 16 rows of 64 bytes, `stride` bytes apart."""
    raise NotImplementedError


@overload(tile_load, prefer_literal=True)
def _tile_load(tiles, number, address, stride):
    if is_a(tiles, AmxTiles):
        return lambda tiles, number, address, stride: _tileloadd(number, address, stride)

    def loop(tiles, number, address, stride):
        for i in range(16):
            for j in range(16):
                tiles[number, i, j] = _word(address + i * stride + 4 * j)

    return loop


def tile_store(tiles, number, address, stride):
    """Writes a tile to 16 rows of 64 bytes, `stride` bytes apart."""
    raise NotImplementedError


@overload(tile_store, prefer_literal=True)
def _tile_store(tiles, number, address, stride):
    if is_a(tiles, AmxTiles):
        return lambda tiles, number, address, stride: _tilestored(number, address, stride)

    def loop(tiles, number, address, stride):
        for i in range(16):
            for j in range(16):
                _set_word(address + i * stride + 4 * j, tiles[number, i, j])

    return loop


def tile_zero(tiles, number):
    """Tile = 0."""
    raise NotImplementedError


@overload(tile_zero, prefer_literal=True)
def _tile_zero(tiles, number):
    if is_a(tiles, AmxTiles):
        return lambda tiles, number: _tilezero(number)

    def loop(tiles, number):
        tiles[number] = 0

    return loop


def tile_product(tiles, c, a, b):
    """Tile c += tile a @ tile b."""
    raise NotImplementedError


@overload(tile_product, prefer_literal=True)
def _tile_product(tiles, c, a, b):
    if is_a(tiles, AmxTiles):
        return lambda tiles, c, a, b: _tdpbf16ps(c, a, b)

    def loop(tiles, c, a, b):
        upper, shift = np.uint32(0xFFFF0000), np.uint32(16)
        sums = tiles[c].view(np.float32)
        for i in range(16):
            for k in range(16):
                even, odd = float_of_bits(tiles[a, i, k] << shift), float_of_bits(tiles[a, i, k] & upper)
                for j in range(16):
                    sums[i, j] += even * float_of_bits(tiles[b, k, j] << shift)
                    sums[i, j] += odd * float_of_bits(tiles[b, k, j] & upper)

    return loop
