"""Rows in the padded layout, copied to and from blocks that stay in the caches.

In memory a batch is [samples, steps, channels]. In a convolution's loop each sample is followed by a gap of 1 to 3 zero
rows, so that a tap beyond a sample's end multiplies zeros, and the 3 rows that are pooled together never straddle two
samples. Padded row numbers include the gaps.
"""

# mypy: ignore-errors
# numba infers the types where a function is called.

import numpy as np

from samplecnn.kernels.compiling import kernel
from samplecnn.kernels.vectors import LINE_BYTES, move, stream

GRADIENT_ROWS = 256  # rows per block backward: the operands of 32 x 32 weight gradients then fit the first-level cache
CACHED_VALUES = 1 << 23  # 16 MB of bfloat16: a larger result is evicted from the caches before it is read


@kernel()
def padded_length(steps):
    """Rows of a sample with its gap: a multiple of 3."""
    return 3 * (steps // 3 + 1)


@kernel()
def aligned_empty(rows, columns, kind):
    """An empty array [rows, columns], aligned to a cache line."""
    raw = np.empty(rows * columns + LINE_BYTES, kind)
    skip = -np.int64(raw.ctypes.data) % LINE_BYTES // raw.itemsize
    return raw[skip : skip + rows * columns].reshape(rows, columns)


@kernel()
def stage(x, first, count, staged):
    """Copies `count` padded rows of a `Batch`, from `first` on; gaps, and rows outside the batch, are zeros."""
    rows, steps = x.rows, x.steps
    span, width = padded_length(steps), np.int64(rows.itemsize * rows.shape[1])
    samples = rows.shape[0] // steps
    source, target = np.int64(rows.ctypes.data), np.int64(staged.ctypes.data)
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


@kernel()
def row_address(x, row):
    """The address of a padded row of a `Batch`; for a row in a gap, that of the next sample's first row."""
    sample, step = row // padded_length(x.steps), row % padded_length(x.steps)
    return np.int64(x.rows.ctypes.data) + (sample * x.steps + min(step, x.steps)) * np.int64(2 * x.rows.shape[1])


@kernel()
def write_rows(block, first, count, out, past_caches):
    """Writes the first `count` rows of a block, the padded rows from `first` on, to a `Batch`, without the gaps."""
    steps, span, done = out.steps, padded_length(out.steps), 0
    while done < count:
        sample, step = (first + done) // span, (first + done) % span
        if step < steps:
            _copy(block, done, min(count - done, steps - step), out.rows, sample * steps + step, past_caches)
        done += span - step


@kernel()
def _copy(block, done, count, out, row, past_caches):
    """Copies `count` rows of a block, from `done` on, to `out`, from `row` on, bypassing the caches on request."""
    width = np.int64(2 * out.shape[1])
    source, target = np.int64(block.ctypes.data) + done * width, np.int64(out.ctypes.data) + row * width
    if past_caches:
        for at in range(0, count * width, LINE_BYTES):
            stream(source + at, target + at)
    else:
        move(source, target, count * width)
