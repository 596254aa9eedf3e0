"""The passes of the first convolution as Triton kernels; see `passes`."""

# Triton has no types.
# mypy: ignore-errors

import triton
import triton.language as tl

from samplecnn.kernels.gpu.passes import NAN


@triton.jit
def frames_of(x, r, rows):
    """The three samples of the frames r."""
    inside = r < rows
    return tl.load(x + r * 3, inside, 0.0), tl.load(x + r * 3 + 1, inside, 0.0), tl.load(x + r * 3 + 2, inside, 0.0)


@triton.jit
def taps_of(taps, c, channels):
    """The three taps and the offset of the channels c, [1, c] each."""
    inside = c < channels
    w0 = tl.load(taps + c, inside, 0.0)[None, :]
    w1 = tl.load(taps + channels + c, inside, 0.0)[None, :]
    w2 = tl.load(taps + 2 * channels + c, inside, 0.0)[None, :]
    return w0, w1, w2, tl.load(taps + 3 * channels + c, inside, 0.0)[None, :]


@triton.jit
def frame_moments(x, sums, rows, loops, ROWS: tl.constexpr):
    """Sums of the three samples of a frame and of their six products over each block of rows: [blocks, 9]."""
    block = tl.program_id(0)
    s0 = tl.zeros([ROWS], tl.float32)
    s1 = tl.zeros([ROWS], tl.float32)
    s2 = tl.zeros([ROWS], tl.float32)
    s00 = tl.zeros([ROWS], tl.float32)
    s01 = tl.zeros([ROWS], tl.float32)
    s02 = tl.zeros([ROWS], tl.float32)
    s11 = tl.zeros([ROWS], tl.float32)
    s12 = tl.zeros([ROWS], tl.float32)
    s22 = tl.zeros([ROWS], tl.float32)
    for i in range(loops):
        r = (block * loops + i).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        x0, x1, x2 = frames_of(x, r, rows)
        s0 += x0
        s1 += x1
        s2 += x2
        s00 += x0 * x0
        s01 += x0 * x1
        s02 += x0 * x2
        s11 += x1 * x1
        s12 += x1 * x2
        s22 += x2 * x2
    at = sums + block * 9
    tl.store(at, tl.sum(s0, 0))
    tl.store(at + 1, tl.sum(s1, 0))
    tl.store(at + 2, tl.sum(s2, 0))
    tl.store(at + 3, tl.sum(s00, 0))
    tl.store(at + 4, tl.sum(s01, 0))
    tl.store(at + 5, tl.sum(s02, 0))
    tl.store(at + 6, tl.sum(s11, 0))
    tl.store(at + 7, tl.sum(s12, 0))
    tl.store(at + 8, tl.sum(s22, 0))


@triton.jit
def first_forward(x, taps, out, rows, channels, loops, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """ReLU of taps[:3] times a frame plus taps[3]: out [rows, channels]."""
    block = tl.program_id(0)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    w0, w1, w2, offset = taps_of(taps, c, channels)
    for i in range(loops):
        r = (block * loops + i).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        x0, x1, x2 = frames_of(x, r, rows)
        x0, x1, x2 = x0[:, None], x1[:, None], x2[:, None]
        value = tl.maximum(w0 * x0 + w1 * x1 + w2 * x2 + offset, 0.0, propagate_nan=NAN)
        mask = (r < rows)[:, None] & inside[None, :]
        tl.store(out + r[:, None] * channels + c[None, :], value.to(out.dtype.element_ty), mask)


@triton.jit
def first_backward(x, gradient, taps, sums, rows, channels, loops, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Sums over each block of g and of g times each sample of the frame, g behind the ReLU: [blocks, 4, channels]."""
    block = tl.program_id(0)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = c < channels
    w0, w1, w2, offset = taps_of(taps, c, channels)
    g0 = tl.zeros([ROWS, CHANNELS], tl.float32)
    gx0 = tl.zeros([ROWS, CHANNELS], tl.float32)
    gx1 = tl.zeros([ROWS, CHANNELS], tl.float32)
    gx2 = tl.zeros([ROWS, CHANNELS], tl.float32)
    for i in range(loops):
        r = (block * loops + i).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        x0, x1, x2 = frames_of(x, r, rows)
        x0, x1, x2 = x0[:, None], x1[:, None], x2[:, None]
        mask = (r < rows)[:, None] & inside[None, :]
        g = tl.load(gradient + r[:, None] * channels + c[None, :], mask, 0.0).to(tl.float32)
        g = tl.where(w0 * x0 + w1 * x1 + w2 * x2 + offset > 0.0, g, 0.0)
        g0 += g
        gx0 += g * x0
        gx1 += g * x1
        gx2 += g * x2
    at = sums + block * 4 * channels + c
    tl.store(at, tl.sum(g0, 0), inside)
    tl.store(at + channels, tl.sum(gx0, 0), inside)
    tl.store(at + 2 * channels, tl.sum(gx1, 0), inside)
    tl.store(at + 3 * channels, tl.sum(gx2, 0), inside)
