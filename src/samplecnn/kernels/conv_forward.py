"""A convolution over time in bfloat16 by a micro-kernel, with an epilogue while a block of rows is in the caches."""

# mypy: ignore-errors
# numba infers the types where a kernel is called.

from typing import NamedTuple

import numpy as np
from numba.extending import overload

from samplecnn.kernels.amx_tiles import is_a
from samplecnn.kernels.bf16_epilogues import BLOCK_ROWS, round_with_bias, round_with_moments
from samplecnn.kernels.compiling import kernel
from samplecnn.kernels.micro_kernel import GROUP, configure, pack_weight, products, release
from samplecnn.kernels.staging import CACHED_VALUES, aligned_empty, padded_length, row_address, stage, write_rows
from samplecnn.kernels.vectors import end_streams


class Moments(NamedTuple):
    """Adds the moments of the result around `pivot`, float32 [features], to `sums`, float64 [2, features]."""

    pivot: np.ndarray
    sums: np.ndarray


class BiasFloor(NamedTuple):
    """Adds a bias, float32 [features]; results below `floor`, a float32, are raised to it (0: ReLU)."""

    bias: np.ndarray
    floor: np.float32


@kernel()
def packed(unit, weight, backward):
    """`micro_kernel.pack_weight` for calls from Python."""
    return pack_weight(unit, weight, backward)


@kernel()
def convolve(lo, hi, unit, x, weight, out, epilogue):
    """Padded rows `lo` to `hi` of the convolution of x with a packed weight, and its epilogue, to `out`; `Batch`es."""
    steps, channels, features = x.steps, x.rows.shape[1], out.rows.shape[1]
    staged = aligned_empty(BLOCK_ROWS + 2, channels, np.uint16)
    scratch = aligned_empty(2 * BLOCK_ROWS, GROUP // 2, np.float32)
    block, past_caches = aligned_empty(BLOCK_ROWS, features, np.uint16), out.rows.size > CACHED_VALUES
    share = BLOCK_ROWS * np.int64(2 * channels) * GROUP // features  # bytes of the next block, fetched at every group
    workspace = _workspace(epilogue, features)
    state = configure(unit)
    for begin in range(lo, hi, BLOCK_ROWS):
        stage(x, begin - 1, BLOCK_ROWS + 2, staged)
        _begin_block(epilogue, workspace, begin, hi, steps)
        ahead = row_address(x, begin + BLOCK_ROWS + 1)
        for group in range(features // GROUP):
            products(state, staged, weight, group, scratch, (ahead + group * share, ahead + (group + 1) * share))
            _finish(epilogue, workspace, group, scratch, block)
        _end_block(epilogue, workspace)
        write_rows(block, begin, min(BLOCK_ROWS, hi - begin), out, past_caches)
    release(state)
    end_streams()


# ---- the epilogues


def _workspace(epilogue, features):
    """Memory of an epilogue, kept between the groups of a block."""
    raise NotImplementedError


@overload(_workspace)
def _workspace_of(epilogue, features):
    def moments(epilogue, features):
        return np.empty(BLOCK_ROWS, np.float32), np.empty((features // GROUP, 2, GROUP), np.float32)

    return moments if is_a(epilogue, Moments) else lambda epilogue, features: None


def _begin_block(epilogue, workspace, begin, end, steps):
    """Before the block whose first padded row is `begin`; rows from `end` on belong to another thread."""
    raise NotImplementedError


@overload(_begin_block)
def _begin_block_of(epilogue, workspace, begin, end, steps):
    def moments(epilogue, workspace, begin, end, steps):
        shares, part = workspace
        span = padded_length(steps)
        for i in range(BLOCK_ROWS):
            shares[i] = begin + i < end and (begin + i) % span < steps
        part[:] = 0

    return moments if is_a(epilogue, Moments) else lambda epilogue, workspace, begin, end, steps: None


def _finish(epilogue, workspace, group, scratch, block):
    """Writes a group's result from `scratch` to the block's columns."""
    raise NotImplementedError


@overload(_finish)
def _finish_of(epilogue, workspace, group, scratch, block):
    def moments(epilogue, workspace, group, scratch, block):
        shares, part = workspace
        source, target = np.int64(scratch.ctypes.data), np.int64(block.ctypes.data) + 2 * GROUP * group
        pivot, sums = np.int64(epilogue.pivot.ctypes.data) + 4 * GROUP * group, part[group]
        real, stride = np.int64(shares.ctypes.data), np.int64(2 * block.shape[1])
        round_with_moments(source, BLOCK_ROWS, target, stride, real, pivot, np.int64(sums.ctypes.data))

    def bias_floor(epilogue, workspace, group, scratch, block):
        source, target = np.int64(scratch.ctypes.data), np.int64(block.ctypes.data) + 2 * GROUP * group
        bias, stride = np.int64(epilogue.bias.ctypes.data) + 4 * GROUP * group, np.int64(2 * block.shape[1])
        round_with_bias(source, BLOCK_ROWS, target, stride, bias, epilogue.floor)

    return moments if is_a(epilogue, Moments) else bias_floor


def _end_block(epilogue, workspace):
    """After the block's last group."""
    raise NotImplementedError


@overload(_end_block)
def _end_block_of(epilogue, workspace):
    def moments(epilogue, workspace):
        _, part = workspace
        for group in range(len(part)):
            for c in range(GROUP):
                epilogue.sums[0, group * GROUP + c] += part[group, 0, c]
                epilogue.sums[1, group * GROUP + c] += part[group, 1, c]

    return moments if is_a(epilogue, Moments) else lambda epilogue, workspace: None
