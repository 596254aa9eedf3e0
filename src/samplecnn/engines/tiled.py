"""A convolution of a trained network with all that follows it until the next, by matrix tiles: see `models.fast.tiled`.

Arrays are [rows, features], a row a step of time; bfloat16 comes as uint16. A kernel does the samples `lo` to `hi`.
"""

# mypy: ignore-errors

import numpy as np
from numba import njit

from samplecnn.models.fast.rounding import first_rows, narrow_biased, narrow_pooled
from samplecnn.models.fast.tiled import LARGE, SIDE, STEPS, gapped, keep_real, place, products, room, stage
from samplecnn.models.fast.tiles import configure, release
from samplecnn.models.fast.vectors import streamed

THREES = STEPS // 3 * 3  # rows that are done at a time where they are pooled by threes


@njit(nogil=True, cache=True)
def convolve(lo, hi, x, taps, shift, steps, weight, bias, relu, pool, out, sums, config):
    """The convolution of x, with `relu` not below 0, with `pool` the largest of every three rows, to `out`.

    x is [rows, channels]; or unless `taps` [3, channels] and `shift` [channels] are None, float32 [rows, 3], of which
    these make the first convolution's output. What was pooled is added to `sums` [samples, features], before it is
    rounded; only behind a ReLU is there pooling.
    """
    span, features, channels = gapped(steps), out.shape[1], weight.shape[2] * SIDE
    staged = room(STEPS + 2, channels, np.uint16)
    scratch, block = room(STEPS, SIDE, np.float32), room(STEPS, features, np.uint16)
    floor = np.float32(0) if relu else np.float32(-np.inf)
    every = THREES if pool else STEPS
    ahead, share = np.int64(0), np.int64(0) if taps is not None else every * np.int64(2 * channels) * SIDE // features
    past_caches = out.size > LARGE
    configure(np.int64(config.ctypes.data))
    for begin in range(lo * span, hi * span, every):
        if taps is None:
            stage(x, steps, begin - 1, STEPS + 2, staged)
            ahead = place(x, steps, begin + every + 1)
        else:
            stage_first(x, taps, shift, steps, begin - 1, staged)
        count = min(every, hi * span - begin)
        for f in range(features // SIDE):
            products(staged, weight[2 * f : 2 * f + 2], scratch, ahead + f * share, share)
            if pool:
                keep_pooled(scratch, begin, count, steps, bias, out, sums, f)
            else:
                source, target = np.int64(scratch.ctypes.data), np.int64(block.ctypes.data) + 64 * f
                narrow_biased(
                    source, STEPS, target, np.int64(2 * features), np.int64(bias.ctypes.data) + 128 * f, floor
                )
        if not pool:
            keep_real(block, begin, count, steps, out, past_caches)
    release()
    streamed()


@njit(nogil=True, cache=True)
def stage_first(x, taps, shift, steps, first, staged):
    """Rows `first` on, spread out, of the first convolution with its ReLU, until `staged` is full."""
    span, samples, channels = gapped(steps), x.shape[0] // steps, np.int64(staged.shape[1])
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
def keep_pooled(scratch, first, count, steps, bias, out, sums, part):
    """Writes the largest of every three of the `count` rows of `scratch` to 32 columns of `out`; not the gaps.

    The rows are rows `first` on, spread out, of the `part`-th 32 features.
    """
    pooled, width = steps // 3, np.int64(out.shape[1])
    source, target = np.int64(scratch.ctypes.data), np.int64(out.ctypes.data) + 64 * part
    added, summed = np.int64(bias.ctypes.data) + 128 * part, np.int64(sums.ctypes.data) + 128 * part
    done, begun = 0, first // 3
    while done < count // 3:
        sample, at = (begun + done) // (pooled + 1), (begun + done) % (pooled + 1)
        some = min(count // 3 - done, pooled - at)
        to = target + (sample * pooled + at) * 2 * width
        narrow_pooled(source + done * 384, some, to, 2 * width, added, summed + sample * 4 * width)
        done += some + 1
