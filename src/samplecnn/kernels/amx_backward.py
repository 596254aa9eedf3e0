"""The way back through a convolution and its batch norm in bfloat16 by matrix tiles, in one pass over memory.

The gradient of the convolution's output is made of what lies in memory anyway, some rows at a time, and stays in the
caches: there it gives the gradient of the input and its share in that of the weights.
"""

# mypy: ignore-errors
# What stands here is numba's language, whose types are inferred where a kernel is called.

import numpy as np
from numba import njit

from samplecnn.kernels.amx_forward import (
    LARGE,
    LINE,
    SIDE,
    STEPS,
    TILE,
    add_products,
    keep_real,
    padded_length,
    place,
    products,
    room,
    stage,
)
from samplecnn.kernels.amx_tiles import configure, release, tile_load, tile_store
from samplecnn.kernels.bf16_epilogues import narrow
from samplecnn.kernels.bfloat16 import load, pack
from samplecnn.kernels.vectors import pair, streamed, transpose

SUMMED = 256  # rows at a time: 32 x 32 of the weights' gradient then need what the first-level cache holds


@njit(nogil=True, cache=True, fastmath={"contract"})
def stage_gradient(y, g, chosen, steps, k, d, relu, a, h, b, e, first, staged):
    """Fills `staged` with rows `first` on, spread out, of the gradient of y, the convolution: a g + h + b y + e.

    a g + h counts where pooling chose: in the row of its three that `chosen` says; or if that is None, with `relu`,
    where k y + d > 0. a and h are [samples, features]. Gaps and what is outside are zeros.
    """
    span, samples, pooled = padded_length(steps), y.shape[0] // steps, steps // 3
    zero = np.float32(0)
    floor = zero if relu else np.float32(-np.inf)
    sample, step = first // span, first % span
    for i in range(len(staged)):
        row = sample * steps + step
        if not (0 <= sample < samples and step < steps):
            staged[i] = 0
        elif chosen is None:
            for c in range(y.shape[1]):
                value = load(y[row, c])
                gradient = a[sample, c] * load(g[row, c]) + h[sample, c]
                gradient = gradient if value * k[c] + d[c] > floor else zero
                staged[i, c] = pack(staged, gradient + b[c] * value + e[c])
        elif step // 3 < pooled:
            place, which = sample * pooled + step // 3, np.uint8(step % 3)
            for c in range(y.shape[1]):
                gradient = a[sample, c] * load(g[place, c]) + h[sample, c]
                gradient = gradient if chosen[place, c] == which else zero
                staged[i, c] = pack(staged, gradient + b[c] * load(y[row, c]) + e[c])
        else:
            for c in range(y.shape[1]):
                staged[i, c] = pack(staged, b[c] * load(y[row, c]) + e[c])
        step += 1
        if step == span:
            sample, step = sample + 1, 0


@njit(nogil=True, cache=True)
def back(lo, hi, x, steps, y, g, chosen, k, d, relu, a, h, b, e, weight, out, sums, config):
    """Rows `lo` to `hi`, spread out: writes the gradient of x to `out`, and adds that of the weights to `sums`.

    x and `out` are [rows, channels], y [rows, features]; the others as in `stage_gradient`. `weight` is that of the way
    back (`tiled.packed`), `sums` float32 [taps, channels / 32, features / 32, 2, 2, 16, 16]: tiles side by side.
    """
    channels, features, taps = x.shape[1], y.shape[1], weight.shape[1]
    gradient = room(SUMMED + 2, features, np.uint16)
    scratch, block = room(2 * STEPS, SIDE // 2, np.float32), room(STEPS, channels, np.uint16)
    some, across = room(SUMMED, channels, np.uint16), room(channels, SUMMED, np.uint16)
    even, odd = room(features // 16, 16 * SUMMED, np.uint16), room(features // 16, 16 * (SUMMED + 2), np.uint16)
    past_caches = out.size > LARGE
    configure(np.int64(config.ctypes.data))
    for begin in range(lo, hi, SUMMED):
        count = min(SUMMED, hi - begin)
        stage_gradient(y, g, chosen, steps, k, d, relu, a, h, b, e, begin - 1, gradient)
        for first in range(0, count, STEPS):
            ahead, share = place(x, steps, begin + first), np.int64(2 * STEPS * SIDE)
            for f in range(channels // SIDE):
                rows = gradient[first : first + STEPS + 2]
                products(rows, weight[2 * f : 2 * f + 2], scratch, ahead + f * share, share)
                target = np.int64(block.ctypes.data) + 64 * f
                narrow(np.int64(scratch.ctypes.data), STEPS, target, np.int64(2 * channels))
            keep_real(block, begin + first, min(STEPS, count - first), steps, out, past_caches)
        if count == SUMMED and begin % padded_length(steps) + count <= steps:  # nothing but real rows of one sample
            lay_across(place(x, steps, begin), across)
        else:
            stage(x, steps, begin, count, some)
            some[count:] = 0  # those of another part
            lay_across(np.int64(some.ctypes.data), across)
        lay_paired(gradient[1 : 1 + SUMMED], even)
        if taps == 3:
            lay_paired(gradient, odd)
        squares = (count + SIDE - 1) // SIDE
        for c in range(channels // SIDE):
            for f in range(features // SIDE):
                # A step of the input meets the gradient a step later in the first tap, a step before in the last.
                square(across, SIDE * c, even, 2 * f, 0, squares, sums[taps // 2, c, f])
                if taps == 3:
                    square(across, SIDE * c, odd, 2 * f, 1, squares, sums[0, c, f])
                    square(across, SIDE * c, odd, 2 * f, 0, squares, sums[2, c, f])
    release()
    streamed()


@njit(nogil=True, cache=True)
def gather(lo, hi, sums, out):
    """Adds up the parts of `sums`, [parts, taps, channels / 32, features / 32, 1024], the tiles of a square flat.

    That is a weight's gradient, of which squares `lo` to `hi` of features go to `out`, [features, channels, taps].
    """
    total, square = np.empty(SIDE * SIDE, np.float32), np.empty((SIDE, SIDE, sums.shape[1]), np.float32)
    for f in range(lo, hi):
        for c in range(sums.shape[2]):
            for tap in range(sums.shape[1]):
                total[:] = sums[0, tap, c, f]
                for part in range(1, len(sums)):
                    for i in range(len(total)):
                        total[i] += sums[part, tap, c, f, i]
                for i in range(SIDE):
                    for j in range(SIDE):
                        half, column = j // 4 % 2, j // 8 * 4 + j % 4  # as `pair` has laid them
                        square[j, i, tap] = total[((i // 16 * 2 + half) * 16 + i % 16) * 16 + column]
            for j in range(SIDE):
                out[SIDE * f + j, SIDE * c : SIDE * (c + 1)] = square[j]


@njit(nogil=True, cache=True)
def lay_across(source, across):
    """Transposes the rows at the address `source`, to [channels, rows]."""
    wide, long = np.int64(2 * across.shape[0]), np.int64(2 * across.shape[1])
    for row in range(0, across.shape[1], SIDE):
        for c in range(0, across.shape[0], 16):
            target = np.int64(across.ctypes.data) + c * long + 2 * row
            transpose(source + row * wide + 2 * c, wide, target, long)


@njit(nogil=True, cache=True)
def lay_paired(g, paired):
    """Pairs the rows of g [rows, features]: [features / 16, rows / 2 of 16 pairs], each 32 features as `pair` does."""
    wide, deep = np.int64(2 * g.shape[1]), np.int64(2 * paired.shape[1])
    for i in range(g.shape[0] // 2):
        for f in range(g.shape[1] // SIDE):
            source = np.int64(g.ctypes.data) + 2 * i * wide + f * np.int64(LINE)
            pair(source, wide, np.int64(paired.ctypes.data) + 2 * f * deep + i * np.int64(LINE), deep)


@njit(nogil=True, cache=True)
def square(across, channel, paired, f, first, squares, sums):
    """Adds to `sums` [2, 2, 16, 16] the product of 32 channels with 32 features, of these from pair `first` on."""
    long, line, at = np.int64(2 * across.shape[1]), np.int64(LINE), np.int64(sums.ctypes.data)
    for half in range(2):
        a = np.int64(across.ctypes.data) + channel * long
        b = np.int64(paired.ctypes.data) + (f + half) * np.int64(2 * paired.shape[1]) + first * line
        tile_load(0, at, line)
        tile_load(1, at + 2 * TILE, line)
        for _ in range(squares):
            add_products(a, long, b)
            a += 64
            b += TILE
        tile_store(0, at, line)
        tile_store(1, at + 2 * TILE, line)
        at += TILE
