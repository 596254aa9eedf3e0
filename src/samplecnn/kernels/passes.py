"""Passes over memory that PyTorch makes in three or four, each in one, compiled by numba on the user's machine.

Arrays are [rows, channels] of one batch, a row a step of time; bfloat16, the upper half of a float32, comes as uint16.
A kernel does the rows (or groups of three rows) `lo` to `hi`, without Python's lock, so that threads share them.

What the passes compute, with y the convolution's output and R its rows:
    z = (y - mean) / sqrt(var + epsilon),  batch norm: gamma z + beta = k y + d
    from g, the gradient of the batch norm's output:  dbeta = sum g,  dgamma = sum g z,
    dy = gamma / sqrt(var + epsilon) (g - dbeta / R - z dgamma / R)          (Ioffe and Szegedy 2015, section 3)
which is dy = a g + b y + c with three numbers a channel.
"""

# mypy: ignore-errors
# What stands here is numba's language, whose types are inferred where a kernel is called.

import numpy as np
from numba import njit

from samplecnn.kernels.bfloat16 import load, pack

ROWS_AT_ONCE = 64  # summed in float32 before they are added in float64
NONE = 3  # in the place of the chosen row's number, 0 to 2, where the ReLU let nothing through


@njit(nogil=True, cache=True, fastmath={"contract"})
def moments(lo, hi, y, pivot, sums):
    """Adds sum and sum of squares of y - pivot to `sums`, float64 [2, channels]."""
    channels = y.shape[1]
    one, two = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for first in range(lo, hi, ROWS_AT_ONCE):
        one[:] = 0
        two[:] = 0
        for row in range(first, min(first + ROWS_AT_ONCE, hi)):
            for c in range(channels):
                value = load(y[row, c]) - pivot[c]
                one[c] += value
                two[c] += value * value
        for c in range(channels):
            sums[0, c] += one[c]
            sums[1, c] += two[c]


@njit(nogil=True, cache=True, fastmath={"contract"})
def affine(lo, hi, y, k, d, relu, out):
    """out = k y + d, with `relu` not below 0."""
    floor = np.float32(0) if relu else np.float32(-np.inf)
    for row in range(lo, hi):
        for c in range(y.shape[1]):
            value = load(y[row, c]) * k[c] + d[c]
            out[row, c] = pack(out, floor if value <= floor else value)  # what is no number stays none


@njit(nogil=True, cache=True, fastmath={"contract"})
def affine_sums(lo, hi, y, mean, k, d, relu, g, sums):
    """Adds sum g and sum g (y - mean) to `sums`, float64 [2, channels]; with `relu`, where k y + d > 0."""
    floor = np.float32(0) if relu else np.float32(-np.inf)
    channels = y.shape[1]
    one, two = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for first in range(lo, hi, ROWS_AT_ONCE):
        one[:] = 0
        two[:] = 0
        for row in range(first, min(first + ROWS_AT_ONCE, hi)):
            for c in range(channels):
                value = load(y[row, c])
                gradient = load(g[row, c]) if value * k[c] + d[c] > floor else np.float32(0)
                one[c] += gradient
                two[c] += gradient * (value - mean[c])
        for c in range(channels):
            sums[0, c] += one[c]
            sums[1, c] += two[c]


@njit(nogil=True, cache=True, fastmath={"contract"})
def affine_input(lo, hi, y, k, d, relu, g, a, b, e, out):
    """out = a g + b y + e; with `relu`, g counts where k y + d > 0."""
    floor = np.float32(0) if relu else np.float32(-np.inf)
    for row in range(lo, hi):
        for c in range(y.shape[1]):
            value = load(y[row, c])
            gradient = load(g[row, c]) if value * k[c] + d[c] > floor else np.float32(0)
            out[row, c] = pack(out, a[c] * gradient + b[c] * value + e[c])


@njit(nogil=True, cache=True, fastmath={"contract"})
def affine_pool(lo, hi, steps, y, k, d, out, kept, chosen, sums):
    """The largest of three rows of k y + d, not below 0, the y it came from, and which it was.

    Each of `steps` rows is a sample's end. Unless `sums` [samples, channels] is None, the largest are added to it; then
    `lo` and `hi` are samples' ends too.
    """
    pooled = steps // 3
    zero = np.float32(0)
    for place in range(lo, hi):
        row = place // pooled * steps + place % pooled * 3
        for c in range(y.shape[1]):
            source, which = y[row, c], np.uint8(0)
            best = load(source) * k[c] + d[c]
            other = y[row + 1, c]
            value = load(other) * k[c] + d[c]
            if value > best:
                best, source, which = value, other, np.uint8(1)
            other = y[row + 2, c]
            value = load(other) * k[c] + d[c]
            if value > best:
                best, source, which = value, other, np.uint8(2)
            if best <= zero:
                best, which = zero, np.uint8(NONE)
            out[place, c] = pack(out, best)
            kept[place, c] = source
            chosen[place, c] = which
            if sums is not None:
                sums[place // pooled, c] += best


@njit(nogil=True, cache=True, fastmath={"contract"})
def affine_pool_sums(lo, hi, kept, mean, g, chosen, sums):
    """Adds sum g and sum g (y - mean) over the chosen rows' y, which are `kept`, to `sums`, float64 [2, channels]."""
    channels = kept.shape[1]
    one, two = np.empty(channels, np.float32), np.empty(channels, np.float32)
    zero = np.float32(0)
    for first in range(lo, hi, ROWS_AT_ONCE):
        one[:] = 0
        two[:] = 0
        for place in range(first, min(first + ROWS_AT_ONCE, hi)):
            for c in range(channels):
                gradient = load(g[place, c]) if chosen[place, c] != NONE else zero
                one[c] += gradient
                two[c] += gradient * (load(kept[place, c]) - mean[c])
        for c in range(channels):
            sums[0, c] += one[c]
            sums[1, c] += two[c]


@njit(nogil=True, cache=True, fastmath={"contract"})
def sample_sums(lo, hi, steps, kept, mean, g, chosen, sums):
    """Over the chosen rows of every sample: sum g, sum g (y - mean), their number, sum y - mean.

    `sums` is float32 [4, samples, channels]; `lo` and `hi` count samples, of `steps` places each.
    """
    zero, one = np.float32(0), np.float32(1)
    for sample in range(lo, hi):
        for place in range(sample * steps, (sample + 1) * steps):
            for c in range(kept.shape[1]):
                there = one if chosen[place, c] != NONE else zero
                gradient, value = there * load(g[place, c]), there * (load(kept[place, c]) - mean[c])
                sums[0, sample, c] += gradient
                sums[1, sample, c] += gradient * value
                sums[2, sample, c] += there
                sums[3, sample, c] += value


@njit(nogil=True, cache=True, fastmath={"contract"})
def affine_pool_input(lo, hi, steps, y, g, chosen, a, b, e, out):
    """out = a g + b y + e, where g counts in the chosen row of its three; rows behind the last three have none."""
    pooled, channels = steps // 3, y.shape[1]
    zero = np.float32(0)
    for place in range(lo, hi):
        row = place // pooled * steps + place % pooled * 3
        for c in range(channels):
            which, gradient = chosen[place, c], a[c] * load(g[place, c])
            out[row, c] = pack(out, (gradient if which == 0 else zero) + b[c] * load(y[row, c]) + e[c])
            out[row + 1, c] = pack(out, (gradient if which == 1 else zero) + b[c] * load(y[row + 1, c]) + e[c])
            out[row + 2, c] = pack(out, (gradient if which == 2 else zero) + b[c] * load(y[row + 2, c]) + e[c])
        if place % pooled == pooled - 1:
            for rest in range(row + 3, (place // pooled + 1) * steps):
                for c in range(channels):
                    out[rest, c] = pack(out, b[c] * load(y[rest, c]) + e[c])


@njit(nogil=True, cache=True, fastmath={"contract"})
def stem(lo, hi, x, w, d, out):
    """out = w x + d, not below 0, from x [rows, 3] and w [3, channels]."""
    zero = np.float32(0)
    for row in range(lo, hi):
        x0, x1, x2 = x[row, 0], x[row, 1], x[row, 2]
        for c in range(out.shape[1]):
            value = x0 * w[0, c] + x1 * w[1, c] + x2 * w[2, c] + d[c]
            out[row, c] = pack(out, zero if value <= zero else value)


@njit(nogil=True, cache=True, fastmath={"contract"})
def stem_sums(lo, hi, x, w, d, g, sums):
    """Adds sum g and sum g x to `sums`, float64 [4, channels], where w x + d > 0."""
    channels = g.shape[1]
    part = np.empty((4, channels), np.float32)
    zero = np.float32(0)
    for first in range(lo, hi, ROWS_AT_ONCE):
        part[:] = 0
        for row in range(first, min(first + ROWS_AT_ONCE, hi)):
            x0, x1, x2 = x[row, 0], x[row, 1], x[row, 2]
            for c in range(channels):
                value = x0 * w[0, c] + x1 * w[1, c] + x2 * w[2, c] + d[c]
                gradient = load(g[row, c]) if value > zero else zero
                part[0, c] += gradient
                part[1, c] += gradient * x0
                part[2, c] += gradient * x1
                part[3, c] += gradient * x2
        sums += part


@njit(nogil=True, cache=True, fastmath={"contract"})
def sum_pool(lo, hi, steps, x, y, out, chosen):
    """The largest of three rows of x + y, not below 0, and which it was."""
    pooled = steps // 3
    zero = np.float32(0)
    for place in range(lo, hi):
        row = place // pooled * steps + place % pooled * 3
        for c in range(x.shape[1]):
            best, which = load(x[row, c]) + load(y[row, c]), np.uint8(0)
            value = load(x[row + 1, c]) + load(y[row + 1, c])
            if value > best:
                best, which = value, np.uint8(1)
            value = load(x[row + 2, c]) + load(y[row + 2, c])
            if value > best:
                best, which = value, np.uint8(2)
            if best <= zero:
                best, which = zero, np.uint8(NONE)
            out[place, c] = pack(out, best)
            chosen[place, c] = which


@njit(nogil=True, cache=True, fastmath={"contract"})
def unpool(lo, hi, steps, g, chosen, out):
    """g in the chosen row of its three, elsewhere 0."""
    pooled, channels = steps // 3, g.shape[1]
    none = out.dtype.type(0)
    for place in range(lo, hi):
        row = place // pooled * steps + place % pooled * 3
        for c in range(channels):
            which, gradient = chosen[place, c], g[place, c]
            out[row, c] = gradient if which == 0 else none
            out[row + 1, c] = gradient if which == 1 else none
            out[row + 2, c] = gradient if which == 2 else none
        if place % pooled == pooled - 1:
            for rest in range(row + 3, (place // pooled + 1) * steps):
                for c in range(channels):
                    out[rest, c] = none


@njit(nogil=True, cache=True, fastmath={"contract"})
def time_sums(lo, hi, steps, x, sums):
    """The sum over time of every sample, float32 [samples, channels]; lo and hi count samples."""
    for sample in range(lo, hi):
        for row in range(sample * steps, (sample + 1) * steps):
            for c in range(x.shape[1]):
                sums[sample, c] += load(x[row, c])


@njit(nogil=True, cache=True, fastmath={"contract"})
def time_products(lo, hi, steps, x, y, sums):
    """The sum over time of x y of every sample."""
    for sample in range(lo, hi):
        for row in range(sample * steps, (sample + 1) * steps):
            for c in range(x.shape[1]):
                sums[sample, c] += load(x[row, c]) * load(y[row, c])


@njit(nogil=True, cache=True, fastmath={"contract"})
def scaled(lo, hi, steps, x, factors, shift, out):
    """out = factors x + shift, with a number of each for every sample and channel."""
    for row in range(lo, hi):
        sample = row // steps
        for c in range(x.shape[1]):
            out[row, c] = pack(out, load(x[row, c]) * factors[sample, c] + shift[sample, c])


@njit(nogil=True, cache=True, fastmath={"contract"})
def scale(lo, hi, steps, x, factors):
    """x times the factors of its sample, in place; `lo` and `hi` count samples."""
    for sample in range(lo, hi):
        for row in range(sample * steps, (sample + 1) * steps):
            for c in range(x.shape[1]):
                x[row, c] = pack(x, load(x[row, c]) * factors[sample, c])


@njit(nogil=True, cache=True, fastmath={"contract"})
def dropped(lo, hi, x, key, least, factor, out):
    """factor x where a random number of 32 bits, made of the value's place and the `key`, is not below `least`."""
    channels, zero = x.shape[1], np.float32(0)
    for row in range(lo, hi):
        for c in range(channels):
            bits = _random(row * channels + c, key)
            out[row, c] = pack(out, load(x[row, c]) * factor if bits >= least else zero)


@njit(nogil=True, cache=True)
def _random(count, key):
    """lowbias32, a bijection that spreads every bit over all others (Wellons, hash-prospector, 2018), with a key."""
    bits = np.uint32(count) ^ key[0]
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D) + key[1])
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(bits ^ (bits >> np.uint32(16)))
