"""Backward through a convolution and its batch norm in bfloat16 by a micro-kernel, in one pass over memory.

The gradient of the convolution's output is computed block by block from arrays that exist anyway, and stays in the
caches, where it is used for the gradients of the input and of the weight.
"""

# mypy: ignore-errors
# numba infers the types where a kernel is called.

from typing import NamedTuple

import numpy as np

from samplecnn.kernels.bf16_epilogues import BLOCK_ROWS, round_rows
from samplecnn.kernels.bfloat16 import load, pack
from samplecnn.kernels.compiling import kernel
from samplecnn.kernels.micro_kernel import (
    GROUP,
    add_weight_gradient,
    configure,
    gradient_index,
    gradient_workspace,
    products,
    release,
)
from samplecnn.kernels.operands import Affine, Batch, InputFactors
from samplecnn.kernels.staging import (
    CACHED_VALUES,
    GRADIENT_ROWS,
    aligned_empty,
    padded_length,
    row_address,
    stage,
    write_rows,
)
from samplecnn.kernels.vectors import end_streams


class OutputGradient(NamedTuple):
    """Operands of the gradient of y, the convolution's output: a g + h + b y + e.

    Args:
        y: the convolution without its bias.
        g: the gradient of the result, [rows, features]; of pooled rows where pooling follows.
        norm: the batch norm.
        factors: a [samples, features]; b, e [features].
        h: [samples, features].
    """

    y: Batch
    g: np.ndarray
    norm: Affine
    factors: InputFactors
    h: np.ndarray


@kernel(fastmath={"contract"})
def stage_gradient(source, chosen, first, staged):
    """Fills `staged` with the padded rows from `first` on of the gradient of y; gaps and rows outside are zeros.

    a g + h counts where pooling chose, in the row of 3 that `chosen` names; or without pooling, `chosen` None, with a
    ReLU where k y + d > 0.
    """
    y, steps, g, h = source.y.rows, source.y.steps, source.g, source.h
    a, b, e, k, d = source.factors.a, source.factors.b, source.factors.e, source.norm.k, source.norm.d
    span, samples, pooled = padded_length(steps), y.shape[0] // steps, steps // 3
    zero = np.float32(0)
    floor = zero if source.norm.relu else np.float32(-np.inf)
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
            pooled_row, which = sample * pooled + step // 3, np.uint8(step % 3)
            for c in range(y.shape[1]):
                gradient = a[sample, c] * load(g[pooled_row, c]) + h[sample, c]
                gradient = gradient if chosen[pooled_row, c] == which else zero
                staged[i, c] = pack(staged, gradient + b[c] * load(y[row, c]) + e[c])
        else:
            for c in range(y.shape[1]):
                staged[i, c] = pack(staged, b[c] * load(y[row, c]) + e[c])
        step += 1
        if step == span:
            sample, step = sample + 1, 0


@kernel()
def backward(lo, hi, unit, x, source, chosen, weight, out, sums):
    """Padded rows `lo` to `hi`: writes the gradient of x to `out`, and adds that of the weight to `sums`.

    x and `out` are `Batch`es; with `out` None the gradient of x is not computed. `source` and `chosen` as in
    `stage_gradient`; `weight` is packed for backward, `sums` as in `micro_kernel.add_weight_gradient`.
    """
    steps, channels, features = x.steps, x.rows.shape[1], source.y.rows.shape[1]
    gradient = aligned_empty(GRADIENT_ROWS + 2, features, np.uint16)
    scratch = aligned_empty(2 * BLOCK_ROWS, GROUP // 2, np.float32)
    block, inputs = aligned_empty(BLOCK_ROWS, channels, np.uint16), aligned_empty(GRADIENT_ROWS, channels, np.uint16)
    workspace = gradient_workspace(unit, channels, features)
    past_caches = out is not None and out.rows.size > CACHED_VALUES
    share = np.int64(2 * BLOCK_ROWS * GROUP)
    state = configure(unit)
    for begin in range(lo, hi, GRADIENT_ROWS):
        count = min(GRADIENT_ROWS, hi - begin)
        stage_gradient(source, chosen, begin - 1, gradient)
        if out is not None:
            for first in range(0, count, BLOCK_ROWS):
                ahead, rows = row_address(x, begin + first), gradient[first : first + BLOCK_ROWS + 2]
                for group in range(channels // GROUP):
                    products(state, rows, weight, group, scratch, (ahead + group * share, ahead + (group + 1) * share))
                    target = np.int64(block.ctypes.data) + 2 * GROUP * group
                    round_rows(np.int64(scratch.ctypes.data), BLOCK_ROWS, target, np.int64(2 * channels))
                write_rows(block, begin + first, min(BLOCK_ROWS, count - first), out, past_caches)
        if count == GRADIENT_ROWS and begin % padded_length(steps) + count <= steps:  # rows of one sample, no gap
            add_weight_gradient(state, workspace, row_address(x, begin), gradient, count, sums)
        else:
            stage(x, begin, count, inputs)
            inputs[count:] = 0  # rows of another thread
            add_weight_gradient(state, workspace, np.int64(inputs.ctypes.data), gradient, count, sums)
    release(state)
    end_streams()


@kernel()
def gather(lo, hi, unit, sums, out):
    """Adds up the parts of `sums`, [parts, taps, channels / 32, features / 32, 1024], to a weight's gradient.

    `out` is [features, channels, taps]; `lo` and `hi` count groups of 32 features.
    """
    total, square = np.empty(GROUP * GROUP, np.float32), np.empty((GROUP, GROUP, sums.shape[1]), np.float32)
    for f in range(lo, hi):
        for c in range(sums.shape[2]):
            for tap in range(sums.shape[1]):
                total[:] = sums[0, tap, c, f]
                for part in range(1, len(sums)):
                    for i in range(len(total)):
                        total[i] += sums[part, tap, c, f, i]
                for i in range(GROUP):
                    for j in range(GROUP):
                        square[j, i, tap] = total[gradient_index(unit, i, j)]
            for j in range(GROUP):
                out[GROUP * f + j, GROUP * c : GROUP * (c + 1)] = square[j]
