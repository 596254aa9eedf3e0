"""Passes over memory around convolutions: first convolution, excitation, sum and pooling, dropout.

Each makes one pass over memory, PyTorch's kernels 3 or 4. Arrays are [rows, channels], one row per time step, `steps`
rows per sample; bfloat16, the upper half of a float32, is passed as uint16. A kernel processes the
rows (or groups of 3 rows, or samples) `lo` to `hi`; threads divide them.
"""

# mypy: ignore-errors
# numba infers the types where a kernel is called.

import numpy as np

from samplecnn.kernels.bfloat16 import load, pack
from samplecnn.kernels.compiling import kernel
from samplecnn.kernels.norm_passes import FLOAT32_ROWS, NONE_CHOSEN


@kernel(fastmath={"contract"})
def first_conv(lo, hi, x, w, d, out):
    """out = w x + d, not below 0, from x [rows, 3], the frames of 3 samples, and w [3, channels]."""
    zero = np.float32(0)
    for row in range(lo, hi):
        x0, x1, x2 = x[row, 0], x[row, 1], x[row, 2]
        for c in range(out.shape[1]):
            value = x0 * w[0, c] + x1 * w[1, c] + x2 * w[2, c] + d[c]
            out[row, c] = pack(out, zero if value <= zero else value)


@kernel(fastmath={"contract"})
def frame_moments(lo, hi, x, sums):
    """Adds to `sums`, float64 [4, 3]: sum x, and sum x_i x_j, of x [rows, 3].

    In float32 the variance of a filter that takes differences of neighbouring samples would lose precision: for sound,
    whose energy is in the low frequencies, it is a small difference of these sums.
    """
    s0 = s1 = s2 = s00 = s01 = s02 = s11 = s12 = s22 = 0.0
    for row in range(lo, hi):
        x0, x1, x2 = np.float64(x[row, 0]), np.float64(x[row, 1]), np.float64(x[row, 2])
        s0 += x0
        s1 += x1
        s2 += x2
        s00 += x0 * x0
        s01 += x0 * x1
        s02 += x0 * x2
        s11 += x1 * x1
        s12 += x1 * x2
        s22 += x2 * x2
    for row, values in enumerate(((s0, s1, s2), (s00, s01, s02), (s01, s11, s12), (s02, s12, s22))):
        for column, value in enumerate(values):
            sums[row, column] += value


@kernel(fastmath={"contract"})
def first_conv_sums(lo, hi, x, w, d, g, sums):
    """Adds sum g and sum g x to `sums`, float64 [4, channels], where w x + d > 0."""
    channels = g.shape[1]
    part = np.empty((4, channels), np.float32)
    zero = np.float32(0)
    for first in range(lo, hi, FLOAT32_ROWS):
        part[:] = 0
        for row in range(first, min(first + FLOAT32_ROWS, hi)):
            x0, x1, x2 = x[row, 0], x[row, 1], x[row, 2]
            for c in range(channels):
                value = x0 * w[0, c] + x1 * w[1, c] + x2 * w[2, c] + d[c]
                gradient = load(g[row, c]) if value > zero else zero
                part[0, c] += gradient
                part[1, c] += gradient * x0
                part[2, c] += gradient * x1
                part[3, c] += gradient * x2
        sums += part


@kernel(fastmath={"contract"})
def sum_pool(lo, hi, steps, x, y, out, chosen):
    """The largest of 3 rows of x + y, not below 0, and which row it was."""
    span = steps // 3
    zero = np.float32(0)
    for pooled in range(lo, hi):
        row = pooled // span * steps + pooled % span * 3
        for c in range(x.shape[1]):
            best, which = load(x[row, c]) + load(y[row, c]), np.uint8(0)
            value = load(x[row + 1, c]) + load(y[row + 1, c])
            if value > best:
                best, which = value, np.uint8(1)
            value = load(x[row + 2, c]) + load(y[row + 2, c])
            if value > best:
                best, which = value, np.uint8(2)
            if best <= zero:
                best, which = zero, np.uint8(NONE_CHOSEN)
            out[pooled, c] = pack(out, best)
            chosen[pooled, c] = which


@kernel(fastmath={"contract"})
def unpool(lo, hi, steps, g, chosen, out):
    """g in the chosen one of 3 rows, elsewhere 0."""
    span, channels = steps // 3, g.shape[1]
    zero = out.dtype.type(0)
    for pooled in range(lo, hi):
        row = pooled // span * steps + pooled % span * 3
        for c in range(channels):
            which, gradient = chosen[pooled, c], g[pooled, c]
            out[row, c] = gradient if which == 0 else zero
            out[row + 1, c] = gradient if which == 1 else zero
            out[row + 2, c] = gradient if which == 2 else zero
        if pooled % span == span - 1:
            for rest in range(row + 3, (pooled // span + 1) * steps):
                for c in range(channels):
                    out[rest, c] = zero


@kernel(fastmath={"contract"})
def time_sums(lo, hi, steps, x, sums):
    """The sum over time of every sample, float32 [samples, channels]; `lo` and `hi` count samples."""
    for sample in range(lo, hi):
        for row in range(sample * steps, (sample + 1) * steps):
            for c in range(x.shape[1]):
                sums[sample, c] += load(x[row, c])


@kernel(fastmath={"contract"})
def time_products(lo, hi, steps, x, y, sums):
    """The sum over time of x y of every sample."""
    for sample in range(lo, hi):
        for row in range(sample * steps, (sample + 1) * steps):
            for c in range(x.shape[1]):
                sums[sample, c] += load(x[row, c]) * load(y[row, c])


@kernel(fastmath={"contract"})
def scale_shift(lo, hi, steps, x, factors, shift, out):
    """out = factors x + shift, with a factor and a shift for every sample and channel."""
    for row in range(lo, hi):
        sample = row // steps
        for c in range(x.shape[1]):
            out[row, c] = pack(out, load(x[row, c]) * factors[sample, c] + shift[sample, c])


@kernel(fastmath={"contract"})
def scale(lo, hi, steps, x, factors):
    """x times the factors of its sample, in place.

    `scale_shift` with x as its `out` would not be vectorised: LLVM guards against arrays that overlap.
    """
    for row in range(lo, hi):
        sample = row // steps
        for c in range(x.shape[1]):
            x[row, c] = pack(x, load(x[row, c]) * factors[sample, c])


@kernel(fastmath={"contract"})
def pool_sums(lo, hi, steps, x, out, sums):
    """The largest of 3 rows, and its sum over the time of every sample, float32 [samples, channels].

    `lo` and `hi` count samples.
    """
    span = steps // 3
    for sample in range(lo, hi):
        for step in range(span):
            row, pooled = sample * steps + 3 * step, sample * span + step
            for c in range(x.shape[1]):
                value = max(max(load(x[row, c]), load(x[row + 1, c])), load(x[row + 2, c]))
                out[pooled, c] = pack(out, value)
                sums[sample, c] += value


@kernel(fastmath={"contract"})
def join_pool(lo, hi, steps, x, y, factors, out):
    """The largest of 3 rows of factors x + y, not below 0; `lo` and `hi` count samples."""
    span = steps // 3
    zero = np.float32(0)
    for sample in range(lo, hi):
        for step in range(span):
            row, pooled = sample * steps + 3 * step, sample * span + step
            for c in range(x.shape[1]):
                factor = factors[sample, c]
                first = load(x[row, c]) * factor + load(y[row, c])
                second = load(x[row + 1, c]) * factor + load(y[row + 1, c])
                third = load(x[row + 2, c]) * factor + load(y[row + 2, c])
                out[pooled, c] = pack(out, max(max(max(first, second), third), zero))


@kernel(fastmath={"contract"})
def dropout(lo, hi, x, first, key, threshold, factor, out):
    """factor x where 32 random bits, a hash of the value's index and the `key`, reach `threshold`; else 0.

    `first` is the index of the first row.
    """
    channels, zero = x.shape[1], np.float32(0)
    for row in range(lo, hi):
        for c in range(channels):
            bits = _random((first + row) * channels + c, key)
            out[row, c] = pack(out, load(x[row, c]) * factor if bits >= threshold else zero)


@kernel()
def _random(count, key):
    """lowbias32, a bijection that spreads every bit over all others (Wellons, hash-prospector, 2018), with a key."""
    bits = np.uint32(count) ^ key[0]
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D) + key[1])
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(bits ^ (bits >> np.uint32(16)))
