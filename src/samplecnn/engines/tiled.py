"""A convolution of a trained network with all that follows it until the next, by matrix tiles: see `models.fast.tiled`.

Arrays are [rows, features], a row a step of time; bfloat16 comes as uint16. A kernel does the samples `lo` to `hi`.
"""

# mypy: ignore-errors

import numpy as np
from numba import njit

from samplecnn.models.fast.bfloat16 import load, pack
from samplecnn.models.fast.tiled import LARGE, SIDE, STEPS, gapped, keep_real, place, products, room, stage
from samplecnn.models.fast.tiles import configure, release
from samplecnn.models.fast.vectors import narrow_biased, streamed

THREES = STEPS // 3 * 3  # rows that are done at a time where they are pooled by threes


@njit(nogil=True, cache=True)
def convolve(lo, hi, x, taps, shift, steps, weight, bias, relu, pool, out, sums, config):
    """The convolution of x, with `relu` not below 0, with `pool` the largest of every three rows, to `out`.

    x is [rows, channels]; or unless `taps` [3, channels] and `shift` [channels] are None, float32 [rows, 3], of which
    these make the first convolution's output. Unless `sums` [samples, features] is None, what is written is added to
    it; only what was pooled is, and only behind a ReLU is there pooling.
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
        for f in range(features // SIDE):
            products(staged, weight[2 * f : 2 * f + 2], scratch, ahead + f * share, share)
            target = np.int64(block.ctypes.data) + 64 * f
            added = np.int64(bias.ctypes.data) + 128 * f
            narrow_biased(np.int64(scratch.ctypes.data), STEPS, target, np.int64(2 * features), added, floor)
        count = min(every, hi * span - begin)
        if pool:
            keep_pooled(block, begin, count, steps, out, sums)
        else:
            keep_real(block, begin, count, steps, out, past_caches)
    release()
    streamed()


@njit(nogil=True, cache=True, fastmath={"contract"})
def stage_first(x, taps, shift, steps, first, staged):
    """Rows `first` on, spread out, of the first convolution with its ReLU, until `staged` is full."""
    span, samples = gapped(steps), x.shape[0] // steps
    zero = np.float32(0)
    sample, step = first // span, first % span
    for i in range(len(staged)):
        if 0 <= sample < samples and step < steps:
            row = sample * steps + step
            x0, x1, x2 = x[row, 0], x[row, 1], x[row, 2]
            for c in range(staged.shape[1]):
                value = x0 * taps[0, c] + x1 * taps[1, c] + x2 * taps[2, c] + shift[c]
                staged[i, c] = pack(staged, zero if value <= zero else value)
        else:
            staged[i] = 0
        step += 1
        if step == span:
            sample, step = sample + 1, 0


@njit(nogil=True, cache=True)
def keep_pooled(block, first, count, steps, out, sums):
    """Writes the largest of every three of the `count` rows of a block, rows `first` on, spread out, to `out`.

    None is negative, so that their bits are in the order of the numbers.
    """
    span, pooled = gapped(steps), steps // 3
    for i in range(0, count, 3):
        sample, step = (first + i) // span, (first + i) % span
        if step // 3 < pooled:
            row = sample * pooled + step // 3
            for c in range(block.shape[1]):
                value = max(max(block[i, c], block[i + 1, c]), block[i + 2, c])
                out[row, c] = value
            if sums is not None:
                for c in range(block.shape[1]):
                    sums[sample, c] += load(out[row, c])
