"""A convolution of a trained network with all that follows it until the next, by matrix tiles: see `models.fast.tiled`.

Arrays are [rows, features], a row a step of time; bfloat16 comes as uint16.
"""

# mypy: ignore-errors

import numpy as np
from numba import njit

from samplecnn.kernels.amx_forward import (
    LARGE,
    LINE,
    SIDE,
    STEPS,
    keep_real,
    padded_length,
    place,
    products,
    room,
    stage,
)
from samplecnn.kernels.amx_tiles import configure, release
from samplecnn.kernels.bf16_epilogues import first_rows, narrow_biased, narrow_pooled
from samplecnn.kernels.bfloat16 import load, pack
from samplecnn.kernels.vectors import streamed

THREES = STEPS // 3 * 3  # rows that are done at a time where they are pooled by threes


@njit(nogil=True, cache=True)
def convolve(lo, hi, x, steps, weight, bias, floor, out, config):
    """Rows `lo` to `hi`, spread out, of the convolution of x [rows, channels], not below `floor`, a float32."""
    features = out.shape[1]
    staged, scratch = room(STEPS + 2, x.shape[1], np.uint16), room(2 * STEPS, SIDE // 2, np.float32)
    block, stride = room(STEPS, features, np.uint16), np.int64(2 * features)
    share, past_caches = STEPS * np.int64(2 * x.shape[1]) * SIDE // features, out.size > LARGE
    configure(np.int64(config.ctypes.data))
    for begin in range(lo, hi, STEPS):
        stage(x, steps, begin - 1, STEPS + 2, staged)
        ahead = place(x, steps, begin + STEPS + 1)
        for f in range(features // SIDE):
            products(staged, weight[2 * f : 2 * f + 2], scratch, ahead + f * share, share)
            source, target = np.int64(scratch.ctypes.data), np.int64(block.ctypes.data) + 64 * f
            narrow_biased(source, STEPS, target, stride, np.int64(bias.ctypes.data) + 128 * f, floor)
        keep_real(block, begin, min(STEPS, hi - begin), steps, out, past_caches)
    release()
    streamed()


@njit(nogil=True, cache=True)
def block(lo, hi, x, first, steps, weight, bias, squeeze, out, config):
    """A convolution, its ReLU, the largest of every three rows, and what these are scaled by, to `out`.

    See `pooled`; `squeeze` is None, or weight and bias of both layers.
    """
    sums = np.zeros((hi - lo, out.shape[1]), np.float32)
    pooled(lo * padded_length(steps), hi * padded_length(steps), x, first, steps, weight, bias, out, sums, lo, config)
    if squeeze is not None:
        for sample in range(lo, hi):
            scale = factors(sums[sample - lo] / np.float32(steps // 3), squeeze)
            rescale(sample * (steps // 3), (sample + 1) * (steps // 3), out, scale)


@njit(nogil=True, cache=True)
def pooled(begin, end, x, first, steps, weight, bias, out, sums, lo, config):
    """The same but for the scaling: of rows `begin`, a multiple of three, to `end`, spread out.

    x is [rows, channels]; or unless `first` is None, float32 [rows, 3], of which the first convolution makes them:
    `first` is its weight [3, channels] and its bias. Adds what was pooled, before it is rounded, to `sums` [samples,
    features], of which the first is sample `lo`.
    """
    features, channels = out.shape[1], weight.shape[2] * SIDE
    staged, scratch = room(STEPS + 2, channels, np.uint16), room(2 * STEPS, SIDE // 2, np.float32)
    ahead, share = np.int64(0), np.int64(0) if first is not None else THREES * np.int64(2 * channels) * SIDE // features
    configure(np.int64(config.ctypes.data))
    for row in range(begin, end, THREES):
        if first is None:
            stage(x, steps, row - 1, STEPS + 2, staged)
            ahead = place(x, steps, row + THREES + 1)
        else:
            stage_first(x, first[0], first[1], steps, row - 1, staged)
        count = min(THREES, end - row)
        for f in range(features // SIDE):
            products(staged, weight[2 * f : 2 * f + 2], scratch, ahead + f * share, share)
            keep_pooled(scratch, row, count, steps, bias, out, sums, lo, f)
    release()


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def factors(means, squeeze):
    """What the means over time of a sample's features give, float32 [features]."""
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


@njit(nogil=True, cache=True)
def rescale(lo, hi, x, scale):
    """Rows `lo` to `hi` of x times `scale`, in place."""
    for row in range(lo, hi):
        for c in range(len(scale)):
            x[row, c] = pack(x, load(x[row, c]) * scale[c])


@njit(nogil=True, cache=True)
def stage_first(x, taps, shift, steps, first, staged):
    """Rows `first` on, spread out, of the first convolution with its ReLU, until `staged` is full."""
    span, samples, channels = padded_length(steps), x.shape[0] // steps, np.int64(staged.shape[1])
    source, target = np.int64(x.ctypes.data), np.int64(staged.ctypes.data)
    weight, bias = np.int64(taps.ctypes.data), np.int64(shift.ctypes.data)
    done, count = 0, len(staged)
    while done < count:
        sample, step = (first + done) // span, (first + done) % span
        if 0 <= sample < samples and step < steps:
            some = min(count - done, steps - step)
            row = sample * steps + step
            first_rows(source + 12 * row, np.int64(some), weight, channels, bias, target + done * 2 * channels)
        else:
            some = min(count - done, span - step)
            staged[done : done + some] = 0
        done += some


@njit(nogil=True, cache=True)
def keep_pooled(scratch, first, count, steps, bias, out, sums, lo, part):
    """Writes the largest of every three of the `count` rows of `scratch` to 32 columns of `out`; not the gaps.

    The rows are rows `first` on, spread out, of the `part`-th 32 features. Adds them to `sums`, from sample `lo` on.
    """
    pooled, width = steps // 3, np.int64(out.shape[1])
    source, target = np.int64(scratch.ctypes.data), np.int64(out.ctypes.data) + 64 * part
    added, summed = np.int64(bias.ctypes.data) + 128 * part, np.int64(sums.ctypes.data) + 128 * part
    done, begun = 0, first // 3
    while done < count // 3:
        sample, at = (begun + done) // (pooled + 1), (begun + done) % (pooled + 1)
        some = min(count // 3 - done, pooled - at)
        to = target + (sample * pooled + at) * 2 * width
        narrow_pooled(source + 3 * done * LINE, some, to, 2 * width, added, summed + (sample - lo) * 4 * width)
        done += some + 1
