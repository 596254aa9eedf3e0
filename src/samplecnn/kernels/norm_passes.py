"""Passes of batch norm with ReLU and max-pooling: one pass over memory each, where PyTorch's kernels take 3 or 4 times.

Arrays are [rows, channels], one row per time step; bfloat16, the upper half of a float32, is passed as uint16. A kernel
processes the rows (or groups of 3 rows, or samples) `lo` to `hi`; threads divide them.

What the passes compute, with y the convolution's output and R its number of rows:
    z = (y - mean) / sqrt(var + epsilon),  batch norm: gamma z + beta = k y + d
    from g, the gradient of the batch norm's output:  dbeta = sum g,  dgamma = sum g z,
    dy = gamma / sqrt(var + epsilon) (g - dbeta / R - z dgamma / R)          (Ioffe and Szegedy 2015, section 3)
which is dy = a g + b y + e with three numbers per channel.
"""

# mypy: ignore-errors
# numba infers the types where a kernel is called.

import numpy as np

from samplecnn.kernels.bfloat16 import load, pack
from samplecnn.kernels.compiling import kernel

FLOAT32_ROWS = 64  # rows summed in float32 before their sum is added in float64
NONE_CHOSEN = 3  # instead of the index of the chosen row, 0 to 2, where the ReLU gives 0


@kernel(fastmath={"contract"})
def moments(lo, hi, y, pivot, sums):
    """Adds sum and sum of squares of y - pivot to `sums`, float64 [2, channels]."""
    channels = y.shape[1]
    one, two = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for first in range(lo, hi, FLOAT32_ROWS):
        one[:] = 0
        two[:] = 0
        for row in range(first, min(first + FLOAT32_ROWS, hi)):
            for c in range(channels):
                value = load(y[row, c]) - pivot[c]
                one[c] += value
                two[c] += value * value
        for c in range(channels):
            sums[0, c] += one[c]
            sums[1, c] += two[c]


@kernel(fastmath={"contract"})
def affine(lo, hi, y, norm, out):
    """out = k y + d, with `norm.relu` not below 0."""
    k, d, floor = norm.k, norm.d, np.float32(0) if norm.relu else np.float32(-np.inf)
    for row in range(lo, hi):
        for c in range(y.shape[1]):
            value = load(y[row, c]) * k[c] + d[c]
            out[row, c] = pack(out, floor if value <= floor else value)  # NaN propagates


@kernel(fastmath={"contract"})
def affine_sums(lo, hi, y, mean, norm, g, sums):
    """Adds sum g and sum g (y - mean) to `sums`, float64 [2, channels]; with `norm.relu`, where k y + d > 0."""
    k, d, floor = norm.k, norm.d, np.float32(0) if norm.relu else np.float32(-np.inf)
    channels = y.shape[1]
    one, two = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for first in range(lo, hi, FLOAT32_ROWS):
        one[:] = 0
        two[:] = 0
        for row in range(first, min(first + FLOAT32_ROWS, hi)):
            for c in range(channels):
                value = load(y[row, c])
                gradient = load(g[row, c]) if value * k[c] + d[c] > floor else np.float32(0)
                one[c] += gradient
                two[c] += gradient * (value - mean[c])
        for c in range(channels):
            sums[0, c] += one[c]
            sums[1, c] += two[c]


@kernel(fastmath={"contract"})
def affine_input(lo, hi, y, norm, g, factors, out):
    """out = a g + b y + e; with `norm.relu`, g counts where k y + d > 0."""
    k, d, floor = norm.k, norm.d, np.float32(0) if norm.relu else np.float32(-np.inf)
    a, b, e = factors.a, factors.b, factors.e
    for row in range(lo, hi):
        for c in range(y.shape[1]):
            value = load(y[row, c])
            gradient = load(g[row, c]) if value * k[c] + d[c] > floor else np.float32(0)
            out[row, c] = pack(out, a[c] * gradient + b[c] * value + e[c])


@kernel(fastmath={"contract"})
def affine_pool(lo, hi, y, norm, pooled, sums):
    """The largest of 3 rows of k y + d, not below 0, the y it came from, and which row it was, to `pooled`.

    y is a `Batch`. Unless `sums` [samples, channels] is None, the largest are added to it; then `lo` and `hi` must be
    multiples of a sample's number of pooled rows.
    """
    rows, steps, k, d = y.rows, y.steps, norm.k, norm.d
    out, kept, chosen = pooled.out, pooled.kept, pooled.chosen
    span = steps // 3
    zero = np.float32(0)
    for target in range(lo, hi):
        row = target // span * steps + target % span * 3
        for c in range(rows.shape[1]):
            source, which = rows[row, c], np.uint8(0)
            best = load(source) * k[c] + d[c]
            other = rows[row + 1, c]
            value = load(other) * k[c] + d[c]
            if value > best:
                best, source, which = value, other, np.uint8(1)
            other = rows[row + 2, c]
            value = load(other) * k[c] + d[c]
            if value > best:
                best, source, which = value, other, np.uint8(2)
            if best <= zero:
                best, which = zero, np.uint8(NONE_CHOSEN)
            out[target, c] = pack(out, best)
            kept[target, c] = source
            chosen[target, c] = which
            if sums is not None:
                sums[target // span, c] += best


@kernel(fastmath={"contract"})
def affine_pool_sums(lo, hi, kept, mean, g, chosen, sums):
    """Adds sum g and sum g (y - mean) over the chosen rows' y, which are `kept`, to `sums`, float64 [2, channels]."""
    channels = kept.shape[1]
    one, two = np.empty(channels, np.float32), np.empty(channels, np.float32)
    zero = np.float32(0)
    for first in range(lo, hi, FLOAT32_ROWS):
        one[:] = 0
        two[:] = 0
        for row in range(first, min(first + FLOAT32_ROWS, hi)):
            for c in range(channels):
                gradient = load(g[row, c]) if chosen[row, c] != NONE_CHOSEN else zero
                one[c] += gradient
                two[c] += gradient * (load(kept[row, c]) - mean[c])
        for c in range(channels):
            sums[0, c] += one[c]
            sums[1, c] += two[c]


@kernel(fastmath={"contract"})
def sample_sums(lo, hi, kept, mean, g, chosen, sums):
    """Over the chosen rows of every sample: sum g, sum g (y - mean), their number, sum y - mean.

    `kept` is a `Batch` of pooled rows, `sums` float32 [4, samples, channels]; `lo` and `hi` count samples.
    """
    rows, steps = kept.rows, kept.steps
    zero, one = np.float32(0), np.float32(1)
    for sample in range(lo, hi):
        for row in range(sample * steps, (sample + 1) * steps):
            for c in range(rows.shape[1]):
                counts = one if chosen[row, c] != NONE_CHOSEN else zero
                gradient, value = counts * load(g[row, c]), counts * (load(rows[row, c]) - mean[c])
                sums[0, sample, c] += gradient
                sums[1, sample, c] += gradient * value
                sums[2, sample, c] += counts
                sums[3, sample, c] += value


@kernel(fastmath={"contract"})
def affine_pool_input(lo, hi, y, g, chosen, factors, out):
    """out = a g + b y + e, where g counts in the chosen one of 3 rows; rows outside all pooling windows have no g.

    y is a `Batch`; `lo` and `hi` count pooled rows.
    """
    rows, steps, a, b, e = y.rows, y.steps, factors.a, factors.b, factors.e
    span, channels = steps // 3, rows.shape[1]
    zero = np.float32(0)
    for source in range(lo, hi):
        row = source // span * steps + source % span * 3
        for c in range(channels):
            which, gradient = chosen[source, c], a[c] * load(g[source, c])
            out[row, c] = pack(out, (gradient if which == 0 else zero) + b[c] * load(rows[row, c]) + e[c])
            out[row + 1, c] = pack(out, (gradient if which == 1 else zero) + b[c] * load(rows[row + 1, c]) + e[c])
            out[row + 2, c] = pack(out, (gradient if which == 2 else zero) + b[c] * load(rows[row + 2, c]) + e[c])
        if source % span == span - 1:
            for rest in range(row + 3, (source // span + 1) * steps):
                for c in range(channels):
                    out[rest, c] = pack(out, b[c] * load(rows[rest, c]) + e[c])
