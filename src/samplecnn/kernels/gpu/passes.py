"""The fused passes as Triton kernels. A batch is [batch, time, channels]; sums are float32 in blocks, added up later.

Nothing outside this folder imports this module, which needs Triton. Triton's interpreter (TRITON_INTERPRET=1) runs it
on a CPU: that is how it is tested without a GPU.
"""

# Triton has no types.
# mypy: ignore-errors

import triton
import triton.language as tl

NAN = tl.constexpr(tl.PropagateNan.ALL)  # a diverging run must show it, not continue with zeros


@triton.jit
def moments(y, means, squares, rows, channels, loops, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Mean and sum of squared deviations of every block of loops * ROWS rows: [blocks, channels].

    Deviations are taken from the block's first row, so that large means do not cancel digits.
    """
    block = tl.program_id(0)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    start = block.to(tl.int64) * loops * ROWS
    pivot = tl.load(y + start * channels + c, inside, 0.0).to(tl.float32)
    sums = tl.zeros([ROWS, CHANNELS], tl.float32)
    products = tl.zeros([ROWS, CHANNELS], tl.float32)
    for i in range(loops):
        r = start + i * ROWS + tl.arange(0, ROWS)
        mask = (r < rows)[:, None] & inside[None, :]
        v = tl.load(y + r[:, None] * channels + c[None, :], mask, 0.0).to(tl.float32)
        v = tl.where(mask, v - pivot[None, :], 0.0)
        sums += v
        products += v * v
    count = tl.minimum(rows - start, loops * ROWS).to(tl.float32)
    offset = tl.sum(sums, 0) / count
    at = block * channels + c
    tl.store(means + at, pivot + offset, inside)
    tl.store(squares + at, tl.sum(products, 0) - offset * offset * count, inside)


@triton.jit
def statistics(
    means, squares, gamma, beta, out, rows, blocks, per_block, channels, epsilon,
    BLOCKS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The blocks' moments together: mean, variance, 1 / deviation, batch norm as factor and offset: [5, channels]."""
    c = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    total = tl.zeros([CHANNELS], tl.float32)
    for i in range(0, blocks, BLOCKS):
        b = i + tl.arange(0, BLOCKS)
        mask = (b < blocks)[:, None] & inside[None, :]
        n = tl.minimum(tl.maximum(rows - b.to(tl.int64) * per_block, 0), per_block).to(tl.float32) / rows
        total += tl.sum(tl.load(means + b[:, None] * channels + c[None, :], mask, 0.0) * n[:, None], 0)
    variance = tl.zeros([CHANNELS], tl.float32)
    for i in range(0, blocks, BLOCKS):
        b = i + tl.arange(0, BLOCKS)
        mask = (b < blocks)[:, None] & inside[None, :]
        n = tl.minimum(tl.maximum(rows - b.to(tl.int64) * per_block, 0), per_block).to(tl.float32) / rows
        at = b[:, None] * channels + c[None, :]
        off = tl.load(means + at, mask, 0.0) - total[None, :]
        variance += tl.sum(tl.load(squares + at, mask, 0.0) / rows + off * off * n[:, None], 0)
    inverse = 1.0 / tl.sqrt(variance + epsilon)
    factor = tl.load(gamma + c, inside, 0.0) * inverse
    tl.store(out + c, total, inside)
    tl.store(out + channels + c, variance, inside)
    tl.store(out + 2 * channels + c, inverse, inside)
    tl.store(out + 3 * channels + c, factor, inside)
    tl.store(out + 4 * channels + c, tl.load(beta + c, inside, 0.0) - total * factor, inside)


@triton.jit
def norm_of(values, c, channels):
    """What `statistics` gives, without the variance, for the channels c: mean, 1 / deviation, factor, offset [1, c]."""
    inside = c < channels
    mean = tl.load(values + c, inside, 0.0)[None, :]
    inverse = tl.load(values + 2 * channels + c, inside, 0.0)[None, :]
    factor = tl.load(values + 3 * channels + c, inside, 0.0)[None, :]
    offset = tl.load(values + 4 * channels + c, inside, 0.0)[None, :]
    return mean, inverse, factor, offset


@triton.jit
def norm_pool(
    y, values, out, sums, time, frames, channels, blocks, loops,
    RELU: tl.constexpr, POOL: tl.constexpr, SUMS: tl.constexpr, FRAMES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Batch norm, ReLU, max-pooling, and the sums over time of each block: out [batch, frames, channels]."""
    block, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    _, _, factor, offset = norm_of(values, c, channels)
    total = tl.zeros([FRAMES, CHANNELS], tl.float32)
    for i in range(loops):
        t = (block * loops + i) * FRAMES + tl.arange(0, FRAMES)
        mask = (t < frames)[:, None] & inside[None, :]
        at = y + (b * time + t * POOL)[:, None] * channels + c[None, :]
        best = tl.load(at, mask, 0.0).to(tl.float32) * factor + offset
        for j in tl.static_range(1, POOL):
            other = tl.load(at + j * channels, mask, 0.0).to(tl.float32) * factor + offset
            best = tl.maximum(best, other, propagate_nan=NAN)
        if RELU:
            best = tl.maximum(best, 0.0, propagate_nan=NAN)
        tl.store(out + (b * frames + t)[:, None] * channels + c[None, :], best.to(out.dtype.element_ty), mask)
        if SUMS:
            total += tl.where(mask, best, 0.0)
    if SUMS:
        tl.store(sums + (b * blocks + block) * channels + c, tl.sum(total, 0), inside)


@triton.jit
def factors(
    sums, w0, b0, w1, b1, squeezed, out, blocks, frames, channels, hidden,
    CHANNELS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    """The excitation of one sample: means over time [channels] -> factors in (0, 1), out [batch, channels]."""
    b = tl.program_id(0)
    c = tl.arange(0, CHANNELS)
    inside = c < channels
    mean = tl.zeros([CHANNELS], tl.float32)
    for i in range(blocks):
        mean += tl.load(sums + (b * blocks + i) * channels + c, inside, 0.0)
    mean = mean / frames
    tl.store(squeezed + b * channels + c, mean, inside)
    logit = tl.load(b1 + c, inside, 0.0)
    for start in range(0, hidden, HIDDEN):
        h = start + tl.arange(0, HIDDEN)
        both = (h < hidden)[:, None] & inside[None, :]
        first = tl.load(w0 + h[:, None] * channels + c[None, :], both, 0.0)
        value = tl.maximum(tl.sum(first * mean[None, :], 1) + tl.load(b0 + h, h < hidden, 0.0), 0.0, propagate_nan=NAN)
        second = tl.load(w1 + c[None, :] * hidden + h[:, None], both, 0.0)
        logit += tl.sum(second * value[:, None], 0)
    tl.store(out + b * channels + c, 1.0 / (1.0 + tl.exp(-logit)), inside)


@triton.jit
def scale(x, by, out, frames, channels, loops, FRAMES: tl.constexpr, CHANNELS: tl.constexpr):
    """x [batch, frames, channels] times by [batch, channels]."""
    block, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    factor = tl.load(by + b * channels + c, inside, 0.0)[None, :]
    for i in range(loops):
        t = (block * loops + i) * FRAMES + tl.arange(0, FRAMES)
        mask = (t < frames)[:, None] & inside[None, :]
        at = (b * frames + t)[:, None] * channels + c[None, :]
        value = tl.load(x + at, mask, 0.0).to(tl.float32) * factor
        tl.store(out + at, value.to(out.dtype.element_ty), mask)


@triton.jit
def gradient_sums(
    y, gradient, values, sums, time, frames, channels, blocks, loops, plane,
    RELU: tl.constexpr, POOL: tl.constexpr, EXCITED: tl.constexpr, FRAMES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Sums over each block's chosen, active values: of g and g x, with an excitation also of 1 and x.

    g is the gradient of the pass's result, x the normalised y: sums [2 or 4, batch, blocks, channels], `plane` values
    each. With them an excitation needs no pass of its own: what it adds to g is the same for all frames of a sample.
    """
    block, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    mean, inverse, factor, offset = norm_of(values, c, channels)
    g0 = tl.zeros([FRAMES, CHANNELS], tl.float32)
    gx = tl.zeros([FRAMES, CHANNELS], tl.float32)
    n0 = tl.zeros([FRAMES, CHANNELS], tl.float32)
    nx = tl.zeros([FRAMES, CHANNELS], tl.float32)
    for i in range(loops):
        t = (block * loops + i) * FRAMES + tl.arange(0, FRAMES)
        mask = (t < frames)[:, None] & inside[None, :]
        at = y + (b * time + t * POOL)[:, None] * channels + c[None, :]
        chosen = tl.load(at, mask, 0.0).to(tl.float32)
        best = chosen * factor + offset
        for j in tl.static_range(1, POOL):
            v = tl.load(at + j * channels, mask, 0.0).to(tl.float32)
            other = v * factor + offset
            chosen = tl.where(other > best, v, chosen)
            best = tl.maximum(best, other)
        active = mask
        if RELU:
            active = mask & (best > 0.0)
        g = tl.load(gradient + (b * frames + t)[:, None] * channels + c[None, :], mask, 0.0).to(tl.float32)
        g = tl.where(active, g, 0.0)
        x = (chosen - mean) * inverse
        g0 += g
        gx += g * x
        if EXCITED:
            n0 += tl.where(active, 1.0, 0.0)
            nx += tl.where(active, x, 0.0)
    at = (b * blocks + block) * channels + c
    tl.store(sums + at, tl.sum(g0, 0), inside)
    tl.store(sums + plane + at, tl.sum(gx, 0), inside)
    if EXCITED:
        tl.store(sums + 2 * plane + at, tl.sum(n0, 0), inside)
        tl.store(sums + 3 * plane + at, tl.sum(nx, 0), inside)


@triton.jit
def factor_gradients(
    sums, w0, b0, w1, squeezed, scales, gamma, beta, totals, added, before1, before0, activations,
    blocks, frames, channels, hidden, batch, plane,
    CHANNELS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    """Backward of `factors` and `scale` for one sample, from `gradient_sums`.

    totals [2, batch, channels]: the sums of g and g x with the excitation's part; added [batch, channels]: what it adds
    to g; before1, before0: gradients before the two activations; activations: of the hidden layer [batch, hidden].
    """
    b = tl.program_id(0)
    c = tl.arange(0, CHANNELS)
    inside = c < channels
    g0 = tl.zeros([CHANNELS], tl.float32)
    gx = tl.zeros([CHANNELS], tl.float32)
    n0 = tl.zeros([CHANNELS], tl.float32)
    nx = tl.zeros([CHANNELS], tl.float32)
    for i in range(blocks):
        at = sums + (b * blocks + i) * channels + c
        g0 += tl.load(at, inside, 0.0)
        gx += tl.load(at + plane, inside, 0.0)
        n0 += tl.load(at + 2 * plane, inside, 0.0)
        nx += tl.load(at + 3 * plane, inside, 0.0)
    s = tl.load(scales + b * channels + c, inside, 0.0)
    mean = tl.load(squeezed + b * channels + c, inside, 0.0)
    of_factor = tl.load(gamma + c, inside, 0.0) * gx + tl.load(beta + c, inside, 0.0) * g0
    last = of_factor * s * (1.0 - s)
    tl.store(before1 + b * channels + c, last, inside)
    to_mean = tl.zeros([CHANNELS], tl.float32)
    for start in range(0, hidden, HIDDEN):
        h = start + tl.arange(0, HIDDEN)
        both = (h < hidden)[:, None] & inside[None, :]
        first = tl.load(w0 + h[:, None] * channels + c[None, :], both, 0.0)
        value = tl.maximum(tl.sum(first * mean[None, :], 1) + tl.load(b0 + h, h < hidden, 0.0), 0.0, propagate_nan=NAN)
        second = tl.load(w1 + c[None, :] * hidden + h[:, None], both, 0.0)
        of_value = tl.where(value > 0.0, tl.sum(second * last[None, :], 1), 0.0)
        tl.store(activations + b * hidden + h, value, h < hidden)
        tl.store(before0 + b * hidden + h, of_value, h < hidden)
        to_mean += tl.sum(first * of_value[:, None], 0)
    k = to_mean / frames
    tl.store(added + b * channels + c, k, inside)
    tl.store(totals + b * channels + c, s * g0 + k * n0, inside)
    tl.store(totals + batch * channels + b * channels + c, s * gx + k * nx, inside)


@triton.jit
def norm_pool_backward(
    y, gradient, out, values, totals, scales, added, time, frames, channels, loops, rows,
    RELU: tl.constexpr, POOL: tl.constexpr, EXCITED: tl.constexpr, FRAMES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradient of y from that of the pass's result: factor * (g - sum(g) / rows - x sum(g x) / rows)."""
    block, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    mean, inverse, factor, offset = norm_of(values, c, channels)
    g0 = (tl.load(totals + c, inside, 0.0) / rows)[None, :]
    gx = (tl.load(totals + channels + c, inside, 0.0) / rows)[None, :]
    if EXCITED:
        s = tl.load(scales + b * channels + c, inside, 0.0)[None, :]
        k = tl.load(added + b * channels + c, inside, 0.0)[None, :]
    for i in range(loops):
        t = (block * loops + i) * FRAMES + tl.arange(0, FRAMES)
        pooled = (t < frames)[:, None] & inside[None, :]
        r = t * POOL
        at = (b * time + r)[:, None] * channels + c[None, :]
        first = tl.load(y + at, (r < time)[:, None] & inside[None, :], 0.0).to(tl.float32)
        best = first * factor + offset
        which = tl.zeros([FRAMES, CHANNELS], tl.int32)
        for j in tl.static_range(1, POOL):
            v = tl.load(y + at + j * channels, (r + j < time)[:, None] & inside[None, :], 0.0).to(tl.float32)
            other = v * factor + offset
            which = tl.where(other > best, j, which)
            best = tl.maximum(best, other)
        active = pooled
        if RELU:
            active = pooled & (best > 0.0)
        g = tl.load(gradient + (b * frames + t)[:, None] * channels + c[None, :], pooled, 0.0).to(tl.float32)
        if EXCITED:
            g = g * s + k
        g = tl.where(active, g, 0.0)
        for j in tl.static_range(0, POOL):
            mask = (r + j < time)[:, None] & inside[None, :]
            v = tl.load(y + at + j * channels, mask, 0.0).to(tl.float32)
            value = factor * (tl.where(which == j, g, 0.0) - g0 - (v - mean) * inverse * gx)
            tl.store(out + at + j * channels, value.to(out.dtype.element_ty), mask)
