"""A plain block of a trained network in one pass: convolution, bias, ReLU, max-pooling, excitation."""

# mypy: ignore-errors
# numba infers the types where a kernel is called.

import numpy as np
from numba.extending import overload

from samplecnn.kernels.amx_tiles import is_a
from samplecnn.kernels.bf16_epilogues import BLOCK_ROWS, first_conv_rows, round_pooled
from samplecnn.kernels.compiling import kernel
from samplecnn.kernels.micro_kernel import GROUP, configure, products, release
from samplecnn.kernels.operands import PooledResult
from samplecnn.kernels.passes import scale
from samplecnn.kernels.staging import aligned_empty, padded_length, row_address, stage
from samplecnn.kernels.vectors import LINE_BYTES
from samplecnn.kernels.winograd_inference import FloatVectors
from samplecnn.kernels.winograd_inference import pooled_rows as pooled_rows_in_float32

POOLED_BLOCK_ROWS = BLOCK_ROWS // 3 * 3  # rows per block if groups of 3 are pooled


@kernel()
def pooled_block(lo, hi, unit, x, first, block, squeeze, out):
    """Samples `lo` to `hi` of a block, with its excitation, to `out` [samples * (steps // 3), features].

    x, `first` and `block` as in `pooled_rows`; `squeeze` is None, or weight and bias of both dense layers.
    """
    steps, pooled = x.steps, x.steps // 3
    sums = np.zeros((hi - lo, out.shape[1]), np.float32)
    rows = padded_length(steps)
    pooled_rows(lo * rows, hi * rows, unit, x, first, block, PooledResult(out, sums, lo))
    if squeeze is not None:
        factors = np.empty_like(sums)
        for i in range(hi - lo):
            factors[i] = excitation_factors(sums[i] / np.float32(pooled), squeeze)
        scale(0, (hi - lo) * pooled, pooled, out[lo * pooled : hi * pooled], factors)


@kernel()
def pooled_rows(begin, end, unit, x, first, block, result):
    """The largest of every 3 of the padded rows `begin`, a multiple of 3, to `end` of a convolution with bias and ReLU.

    Args:
        begin, end: padded rows.
        unit: the micro-kernel; `winograd_inference.FloatVectors` for float32.
        x: the input, a `Batch`; with `first` the input of the first convolution, float32 [rows, 3].
        first: None, or weight [3, channels] and bias of the first convolution, whose ReLU is then the input.
        block: a `ConvBlock`.
        result: a `PooledResult`.
    """
    _pooled_rows_by(begin, end, unit, x, first, block, result)


def _pooled_rows_by(begin, end, unit, x, first, block, result):
    """`pooled_rows`, selected by the type of `unit`."""
    raise NotImplementedError


@overload(_pooled_rows_by)
def _pooled_rows_of(begin, end, unit, x, first, block, result):
    if is_a(unit, FloatVectors):
        return lambda begin, end, unit, x, first, block, result: pooled_rows_in_float32(
            begin, end, x, first, block, result
        )
    return lambda begin, end, unit, x, first, block, result: _pooled_rows_in_bfloat16(
        begin, end, unit, x, first, block, result
    )


@kernel()
def _pooled_rows_in_bfloat16(begin, end, unit, x, first, block, result):
    """`pooled_rows` by a micro-kernel."""
    features = result.out.shape[1]
    channels = x.rows.shape[1] if first is None else first[1].shape[0]
    staged = aligned_empty(BLOCK_ROWS + 2, channels, np.uint16)
    scratch = aligned_empty(2 * BLOCK_ROWS, GROUP // 2, np.float32)
    ahead = np.int64(0)
    share = np.int64(0) if first is not None else POOLED_BLOCK_ROWS * np.int64(2 * channels) * GROUP // features
    state = configure(unit)
    for row in range(begin, end, POOLED_BLOCK_ROWS):
        if first is None:
            stage(x, row - 1, BLOCK_ROWS + 2, staged)
            ahead = row_address(x, row + POOLED_BLOCK_ROWS + 1)
        else:
            _stage_first_conv(x, first, row - 1, staged)
        count = min(POOLED_BLOCK_ROWS, end - row)
        for group in range(features // GROUP):
            prefetch = ahead + group * share, ahead + (group + 1) * share
            products(state, staged, block.weight, group, scratch, prefetch)
            _write_pooled(scratch, row, count, x.steps, block.bias, group, result)
    release(state)


@kernel(fastmath={"contract", "reassoc"})
def excitation_factors(means, squeeze):
    """The excitation's factors, float32 [features], from the means over time of a sample's features."""
    weight0, bias0, weight1, bias1 = squeeze
    hidden, out = np.empty(len(bias0), np.float32), np.empty(len(bias1), np.float32)
    for h in range(len(hidden)):
        total = bias0[h]
        for c in range(len(means)):
            total += weight0[h, c] * means[c]
        hidden[h] = max(total, np.float32(0))
    for c in range(len(out)):
        total = bias1[c]
        for h in range(len(hidden)):
            total += weight1[c, h] * hidden[h]
        out[c] = np.float32(1) / (np.float32(1) + np.exp(-total))
    return out


@kernel()
def _stage_first_conv(x, first, row, staged):
    """Fills `staged` with the padded rows from `row` on of the first convolution with its ReLU."""
    steps, channels = x.steps, np.int64(staged.shape[1])
    span, samples = padded_length(steps), x.rows.shape[0] // steps
    source, target = np.int64(x.rows.ctypes.data), np.int64(staged.ctypes.data)
    weight, bias = np.int64(first[0].ctypes.data), np.int64(first[1].ctypes.data)
    done, count = 0, len(staged)
    while done < count:
        sample, step = (row + done) // span, (row + done) % span
        if 0 <= sample < samples and step < steps:
            some = min(count - done, steps - step)
            frames = source + 12 * (sample * steps + step)
            first_conv_rows(frames, np.int64(some), weight, channels, bias, target + done * 2 * channels)
        else:
            some = min(count - done, span - step)
            staged[done : done + some] = 0
        done += some


@kernel()
def _write_pooled(scratch, row, count, steps, bias, group, result):
    """Writes the largest of every 3 of the `count` rows in `scratch`, padded rows from `row` on, without the gaps."""
    pooled, width = steps // 3, np.int64(result.out.shape[1])
    source, target = np.int64(scratch.ctypes.data), np.int64(result.out.ctypes.data) + 2 * GROUP * group
    bias_address = np.int64(bias.ctypes.data) + 4 * GROUP * group
    sums_address = np.int64(result.sums.ctypes.data) + 4 * GROUP * group
    done, before = 0, row // 3
    while done < count // 3:
        sample, step = (before + done) // (pooled + 1), (before + done) % (pooled + 1)
        some = min(count // 3 - done, pooled - step)
        to = target + (sample * pooled + step) * 2 * width
        sums = sums_address + (sample - result.first_sample) * 4 * width
        round_pooled(source + 3 * done * LINE_BYTES, some, to, 2 * width, bias_address, sums)
        done += some + 1
