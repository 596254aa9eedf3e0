"""Convolutions over time in bfloat16 by matrix tiles (AMX).

A batch lies in memory as [samples, steps, channels]. To a kernel a sample is followed by one to three rows of zeros,
its gap, so that a tap that looks over a border sees zeros, and threes of rows to be pooled stay together. Rows that
are counted so are called spread out.

How tiles are used follows a measurement. On a core whose other hardware thread is at work, which on rented machines is
the rule, there are few tile registers behind the eight that have names: with all eight in use, a square of two tiles by
two, a product took 29 ns in place of 7.5. A register that was set to zero takes none up. So a tile is loaded as late as
it can be and set to zero once it was used, 18 ns; and two tiles are summed at a time, not four, which loads half as
many again: 14.5 ns. On a core that is free nothing of this makes a difference.

To load a tile takes 5 ns from rows that each are one line of the caches, and 25 from rows that lie across two. So what
tiles read begins with a line (`room`).
"""

# mypy: ignore-errors
# What stands here is numba's language, whose types are inferred where a kernel is called.

import numpy as np
from numba import njit

from samplecnn.kernels.amx_tiles import configure, release, tile_load, tile_product, tile_store, tile_zero
from samplecnn.kernels.bf16_epilogues import STEPS, narrow_summing
from samplecnn.kernels.bfloat16 import pack
from samplecnn.kernels.vectors import move, prefetch, prefetch_tile, stream, streamed

SIDE = 32  # two tiles by two make a square of the result
TILE = 1024  # bytes
LINE = 64  # of the caches, bytes
LARGE = 1 << 23  # values, 16 MB: too many to be in the caches still when they are read


@njit(nogil=True, cache=True)
def padded_length(steps):
    """Rows of a sample with its gap."""
    return 3 * (steps // 3 + 1)


@njit(nogil=True, cache=True)
def room(rows, columns, kind):
    """An empty array [rows, columns] that begins with a line of the caches."""
    raw = np.empty(rows * columns + LINE, kind)
    skip = -np.int64(raw.ctypes.data) % LINE // raw.itemsize
    return raw[skip : skip + rows * columns].reshape(rows, columns)


@njit(nogil=True, cache=True)
def stage(x, steps, first, count, staged):
    """Copies rows `first` to `first` + `count`, spread out, of x; gaps, and what is outside of x, are zeros."""
    span, width = padded_length(steps), np.int64(2 * x.shape[1])
    samples = x.shape[0] // steps
    source, target = np.int64(x.ctypes.data), np.int64(staged.ctypes.data)
    done = 0
    while done < count:
        sample, step = (first + done) // span, (first + done) % span
        if 0 <= sample < samples and step < steps:
            some = min(count - done, steps - step)
            move(source + (sample * steps + step) * width, target + done * width, some * width)
        else:
            some = min(count - done, span - step)
            staged[done : done + some] = 0
        done += some


@njit(nogil=True, cache=True)
def packed(weight, back):
    """A weight, float32 [features, channels, taps], as `products` wants it; `back`: that of the way back."""
    taps = weight.shape[2]
    features, channels = (weight.shape[1], weight.shape[0]) if back else (weight.shape[0], weight.shape[1])
    flat = room(features // 16, taps * channels * 16, np.uint16)
    out = flat.reshape(features // 16, taps, channels // SIDE, 16, 16, 2)
    for block in range(features // 16):
        for tap in range(taps):
            for c in range(0, channels, 2):
                pairs = out[block, tap, c // SIDE, c % SIDE // 2]
                for f in range(16):
                    for i in range(2):
                        one, other = 16 * block + f, c + i
                        value = weight[other, one, taps - 1 - tap] if back else weight[one, other, tap]
                        pairs[f, i] = pack(pairs, value)
    return out


@njit(nogil=True, cache=True)
def add_products(a, long, b):
    """Adds to tiles 0 and 1 the products of the two tiles at a, rows of `long` bytes, with that at b."""
    tile_load(6, b, np.int64(LINE))
    tile_load(4, a, long)
    tile_product(0, 4, 6)
    tile_zero(4)
    tile_load(4, a + 16 * long, long)
    tile_product(1, 4, 6)
    tile_zero(4)
    tile_zero(6)


@njit(nogil=True, cache=True)
def place(x, steps, first):
    """The address of row `first`, spread out, of x, or of the next one that is real."""
    sample, step = first // padded_length(steps), first % padded_length(steps)
    return np.int64(x.ctypes.data) + (sample * steps + min(step, steps)) * np.int64(2 * x.shape[1])


@njit(nogil=True, cache=True)
def products(staged, weight, scratch, ahead, share):
    """scratch [2, STEPS, 16] = for 32 features, the sum over taps and channels.

    `staged` has a row before and one behind; `weight` [2, taps, channels / 32, 16, 16, 2] as `packed` makes it. On the
    way it fetches `share` bytes from the address `ahead` on.
    """
    taps, deep = weight.shape[1], weight.shape[2]
    long, line, until = np.int64(2 * staged.shape[1]), np.int64(LINE), ahead + share
    for half in range(2):
        for first in range(0, STEPS, SIDE):
            b = np.int64(weight.ctypes.data) + half * np.int64(taps * deep * TILE)
            tile_zero(0)
            tile_zero(1)
            for tap in range(taps):
                a = np.int64(staged.ctypes.data) + (first + tap + (3 - taps) // 2) * long
                for _ in range(deep):
                    prefetch_tile(b + 2 * TILE)
                    if ahead < until:
                        prefetch(ahead)
                        prefetch(ahead + LINE)
                        ahead += 2 * LINE
                    add_products(a, long, b)
                    a += 64
                    b += TILE
            target = np.int64(scratch.ctypes.data) + (half * STEPS + first) * line
            tile_store(0, target, line)
            tile_store(1, target + TILE, line)


@njit(nogil=True, cache=True)
def convolve(lo, hi, x, steps, weight, out, config, pivot, sums):
    """Rows `lo` to `hi`, spread out, of the convolution of x [rows, channels], to `out` [rows, features].

    Adds the moments of `out` around `pivot` to `sums`, float64 [2, features].
    """
    span, features = padded_length(steps), out.shape[1]
    staged = room(STEPS + 2, x.shape[1], np.uint16)
    scratch, block = room(2 * STEPS, SIDE // 2, np.float32), room(STEPS, features, np.uint16)
    shares, part = np.empty(STEPS, np.float32), np.empty((features // SIDE, 2, SIDE), np.float32)
    past_caches = out.size > LARGE
    configure(np.int64(config.ctypes.data))
    for begin in range(lo, hi, STEPS):
        stage(x, steps, begin - 1, STEPS + 2, staged)
        for i in range(STEPS):
            shares[i] = begin + i < hi and (begin + i) % span < steps
        part[:] = 0
        ahead, share = place(x, steps, begin + STEPS + 1), STEPS * np.int64(2 * x.shape[1]) * SIDE // features
        for f in range(features // SIDE):
            products(staged, weight[2 * f : 2 * f + 2], scratch, ahead + f * share, share)
            source, target = np.int64(scratch.ctypes.data), np.int64(block.ctypes.data) + 64 * f
            around, into = np.int64(pivot.ctypes.data) + 128 * f, np.int64(part.ctypes.data) + 256 * f
            real = np.int64(shares.ctypes.data)
            narrow_summing(source, STEPS, target, np.int64(2 * features), real, around, into)
        for f in range(features // SIDE):
            for c in range(SIDE):
                sums[0, f * SIDE + c] += part[f, 0, c]
                sums[1, f * SIDE + c] += part[f, 1, c]
        keep_real(block, begin, min(STEPS, hi - begin), steps, out, past_caches)
    release()
    streamed()


@njit(nogil=True, cache=True)
def keep_real(block, first, count, steps, out, past_caches):
    """Writes `count` rows of a block, which are rows `first` on, spread out, to `out`; not the gaps."""
    span, done = padded_length(steps), 0
    while done < count:
        sample, step = (first + done) // span, (first + done) % span
        if step < steps:
            keep(block, done, min(count - done, steps - step), out, sample * steps + step, past_caches)
        done += span - step


@njit(nogil=True, cache=True)
def keep(block, done, count, out, row, past_caches):
    """Writes `count` rows of a block to `out`, from `row` on."""
    width = np.int64(2 * out.shape[1])
    source, target = np.int64(block.ctypes.data) + done * width, np.int64(out.ctypes.data) + row * width
    if past_caches:
        for at in range(0, count * width, 64):
            stream(source + at, target + at)
    else:
        move(source, target, count * width)
