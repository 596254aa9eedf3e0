"""The convolutions of a trained network in float32 by Winograd's filtering, with what follows them in the same pass.

As in `winograd`, 4 output steps are computed from 6 input steps by 6 products instead of 12; but block by block, so
that transformed values stay in the caches: 144 rows are staged and transformed, multiplied with 16 or 32 features at a
time, and transformed back, pooled and written. The vectors are those of the CPU: AVX-512, AVX2 or NEON.
"""

# mypy: ignore-errors
# numba infers the types where a function is called.

from typing import NamedTuple

import numpy as np
from numba.extending import overload

from samplecnn.kernels.amx_tiles import is_a
from samplecnn.kernels.compiling import kernel
from samplecnn.kernels.micro_kernel import pack_weight
from samplecnn.kernels.staging import aligned_empty, padded_length, stage
from samplecnn.kernels.vectors import LINE_BYTES
from samplecnn.kernels.winograd_vectors import (
    BLOCK,
    COLUMNS,
    POINTS,
    ROWS,
    SIDES,
    TILE_STEPS,
    TILES,
    finish,
    finish_summed,
    multiply_tiles,
    pool_tiles,
    rows_of_tiles,
    transform,
)


class FloatVectors(NamedTuple):
    """The type that selects these kernels in `conv_inference`."""

    rows: int


FLOAT_VECTORS = FloatVectors(ROWS)


@overload(pack_weight)
def _pack_weight(unit, weight, backward):
    """G w, float32 [features / 16, 6, channels, 16]; computed in double precision."""

    def implementation(unit, weight, backward):
        features, channels, _ = weight.shape
        out = aligned_empty(features // 16, POINTS * channels * 16, np.float32)
        blocks = out.reshape(features // 16, POINTS, channels, 16)
        for f in range(features):
            for c in range(channels):
                before, at, after = (
                    np.float64(weight[f, c, 0]),
                    np.float64(weight[f, c, 1]),
                    np.float64(weight[f, c, 2]),
                )
                point = blocks[f // 16, :, c, f % 16]
                point[0] = before / 4
                point[1] = -(before + at + after) / 6
                point[2] = -(before - at + after) / 6
                point[3] = before / 24 + at / 12 + after / 6
                point[4] = before / 24 - at / 12 + after / 6
                point[5] = after
        return blocks

    return implementation if is_a(unit, FloatVectors) else None


@kernel()
def pooled_rows(begin, end, x, first, block, result):
    """See `conv_inference.pooled_rows`."""
    features = result.out.shape[1]
    channels = x.rows.shape[1] if first is None else first[1].shape[0]
    staged = aligned_empty(BLOCK + 2, channels, np.float32)
    transformed = aligned_empty(POINTS * TILES, channels, np.float32)
    scratch, pooled = aligned_empty(POINTS * TILES, COLUMNS, np.float32), aligned_empty(BLOCK // 3, COLUMNS, np.float32)
    for row in range(begin, end, BLOCK):
        count = min(BLOCK, end - row)
        tiles = _stage_tiles(x, first, row, count, staged, transformed)
        for group in range(features // COLUMNS):
            _products(transformed, tiles, block.weight, group, scratch)
            pool_tiles(np.int64(scratch.ctypes.data), np.int64(tiles // 3), np.int64(pooled.ctypes.data))
            _write_pooled(pooled, row, count, x.steps, block.bias, group, result)


@kernel()
def convolve(lo, hi, x, weight, out, epilogue):
    """Padded rows `lo` to `hi` of the convolution of x, to `out`; `Batch`es. `epilogue`: a `conv_forward.BiasFloor`."""
    channels, features = x.rows.shape[1], out.rows.shape[1]
    staged = aligned_empty(BLOCK + 2, channels, np.float32)
    transformed = aligned_empty(POINTS * TILES, channels, np.float32)
    scratch, rows = aligned_empty(POINTS * TILES, COLUMNS, np.float32), aligned_empty(BLOCK, COLUMNS, np.float32)
    for row in range(lo, hi, BLOCK):
        count = min(BLOCK, hi - row)
        tiles = _stage_tiles(x, None, row, count, staged, transformed)
        for group in range(features // COLUMNS):
            _products(transformed, tiles, weight, group, scratch)
            rows_of_tiles(np.int64(scratch.ctypes.data), np.int64(tiles), np.int64(rows.ctypes.data))
            _write_rows(rows, row, count, epilogue, group, out)


@kernel()
def _stage_tiles(x, first, row, count, staged, transformed):
    """The transformed input of the padded rows from `row` on; returns the number of tiles for `count` rows."""
    tiles = (count + TILE_STEPS * ROWS - 1) // (TILE_STEPS * ROWS) * ROWS
    needed = staged[: TILE_STEPS * tiles + 2]
    if first is None:
        stage(x, row - 1, len(needed), needed)
    else:
        _stage_first_conv(x, first, row - 1, needed)
    source, target = np.int64(staged.ctypes.data), np.int64(transformed.ctypes.data)
    transform(source, np.int64(staged.shape[1]), np.int64(tiles), target)
    return tiles


@kernel(fastmath={"contract"})
def _stage_first_conv(x, first, row, staged):
    """Fills `staged` with the padded rows from `row` on of the first convolution with its ReLU."""
    frames, steps, (weight, bias) = x.rows, x.steps, first
    span, samples = padded_length(steps), frames.shape[0] // steps
    before, at, after, zero = weight[0], weight[1], weight[2], np.float32(0)
    for i in range(len(staged)):
        sample, step = (row + i) // span, (row + i) % span
        if 0 <= sample < samples and step < steps:
            frame, target = frames[sample * steps + step], staged[i]
            one, two, three = frame[0], frame[1], frame[2]
            for c in range(len(bias)):
                target[c] = max(bias[c] + one * before[c] + two * at[c] + three * after[c], zero)
        else:
            staged[i] = 0


@kernel()
def _products(transformed, tiles, weight, group, scratch):
    """scratch [6, TILES, COLUMNS] = for each point, the product of its transformed tiles with COLUMNS features."""
    channels = np.int64(transformed.shape[1])
    plane = channels * LINE_BYTES
    for point in range(POINTS):
        b = np.int64(weight.ctypes.data) + (SIDES * POINTS * group + point) * plane
        for tile in range(0, tiles, ROWS):
            a = np.int64(transformed.ctypes.data) + (point * TILES + tile) * channels * 4
            target = np.int64(scratch.ctypes.data) + np.int64((point * TILES + tile) * COLUMNS * 4)
            multiply_tiles(a, 4 * channels, b, POINTS * plane, channels, target)


@kernel()
def _write_pooled(pooled, row, count, steps, bias, group, result):
    """Writes the pooled rows of `count` padded rows from `row` on, with bias and ReLU, without the gaps."""
    span, width = steps // 3, np.int64(result.out.shape[1])
    line, column = np.int64(4 * COLUMNS), np.int64(4 * COLUMNS * group)
    bias_address, sums = np.int64(bias.ctypes.data) + column, np.int64(result.sums.ctypes.data) + column
    target, floor = np.int64(result.out.ctypes.data) + column, np.float32(0)
    done, before = 0, row // 3
    while done < count // 3:
        sample, step = (before + done) // (span + 1), (before + done) % (span + 1)
        some = min(count // 3 - done, span - step)
        source, to = np.int64(pooled.ctypes.data) + done * line, target + (sample * span + step) * 4 * width
        finish_summed(
            source, some, to, 4 * width, bias_address, floor, sums + (sample - result.first_sample) * 4 * width
        )
        done += some + 1


@kernel()
def _write_rows(rows, row, count, epilogue, group, out):
    """Writes `count` padded rows, from `row` on, with bias and floor, without the gaps."""
    steps, span, width = out.steps, padded_length(out.steps), np.int64(out.rows.shape[1])
    line, column = np.int64(4 * COLUMNS), np.int64(4 * COLUMNS * group)
    bias, target = np.int64(epilogue.bias.ctypes.data) + column, np.int64(out.rows.ctypes.data) + column
    done = 0
    while done < count:
        sample, step = (row + done) // span, (row + done) % span
        if step < steps:
            some = min(count - done, steps - step)
            source, to = np.int64(rows.ctypes.data) + done * line, target + (sample * steps + step) * 4 * width
            finish(source, some, to, 4 * width, bias, epilogue.floor)
        done += span - step
