"""Winograd's transforms F(4, 3) over time: see `winograd`.

Arrays in time are [rows, channels], of samples of `steps` rows; transformed they are [6, tiles, channels]. A sample's
last tile may extend beyond its end. A kernel processes the tiles `lo` to `hi`.
"""

# mypy: ignore-errors
# numba infers the types where a kernel is called.

import numpy as np

from samplecnn.kernels.compiling import kernel

F2, F4, F5, F8 = (np.float32(number) for number in (2, 4, 5, 8))


@kernel()
def _rows_of_tile(x, steps, sample, step, buffer):
    """A sample's rows from `step` on, as (array, row): x itself, or if some lie outside, `buffer` padded with zeros."""
    if step >= 0 and step + len(buffer) <= steps:
        return x, sample * steps + step
    for i in range(len(buffer)):
        if 0 <= step + i < steps:
            buffer[i] = x[sample * steps + step + i]
        else:
            buffer[i] = 0
    return buffer, 0


@kernel(fastmath={"contract"})
def from_input(lo, hi, steps, x, out):
    """B' d of 6 rows, starting one row before the tile."""
    tiles = (steps + 3) // 4
    buffer = np.empty((6, x.shape[1]), x.dtype)
    for tile in range(lo, hi):
        d, row = _rows_of_tile(x, steps, tile // tiles, 4 * (tile % tiles) - 1, buffer)
        for c in range(d.shape[1]):
            even, odd = d[row + 4, c] - F4 * d[row + 2, c], d[row + 3, c] - F4 * d[row + 1, c]
            out[1, tile, c] = even + odd
            out[2, tile, c] = even - odd
            even, odd = d[row + 4, c] - d[row + 2, c], F2 * (d[row + 3, c] - d[row + 1, c])
            out[3, tile, c] = even + odd
            out[4, tile, c] = even - odd
            out[0, tile, c] = F4 * d[row, c] - F5 * d[row + 2, c] + d[row + 4, c]
            out[5, tile, c] = F4 * d[row + 1, c] - F5 * d[row + 3, c] + d[row + 5, c]


@kernel(fastmath={"contract"})
def from_input_back(lo, hi, steps, m, out):
    """The transpose of `from_input`: a row sums over its tile; a tile's first and last row also over the neighbour."""
    tiles, channels = (steps + 3) // 4, out.shape[1]
    buffer, zeros = np.empty((4, channels), out.dtype), np.zeros(channels, out.dtype)
    for tile in range(lo, hi):
        number = tile % tiles
        first, count = tile // tiles * steps + 4 * number, min(4, steps - 4 * number)
        before = m[5, tile - 1] if number > 0 else zeros
        after = m[0, tile + 1] if number + 1 < tiles else zeros
        d, row = (out, first) if count == 4 else (buffer, 0)
        for c in range(channels):
            plus, minus = m[1, tile, c] + m[2, tile, c], m[1, tile, c] - m[2, tile, c]
            plus2, minus2 = m[3, tile, c] + m[4, tile, c], m[3, tile, c] - m[4, tile, c]
            d[row, c] = F4 * (m[5, tile, c] - minus) - F2 * minus2 + before[c]
            d[row + 1, c] = -F5 * m[0, tile, c] - F4 * plus - plus2
            d[row + 2, c] = minus + F2 * minus2 - F5 * m[5, tile, c]
            d[row + 3, c] = m[0, tile, c] + plus + plus2 + F4 * after[c]
        if count < 4:
            out[first : first + count] = buffer[:count]


@kernel(fastmath={"contract"})
def to_output(lo, hi, steps, m, out):
    """A' m: the tile's rows."""
    tiles, channels = (steps + 3) // 4, out.shape[1]
    buffer = np.empty((4, channels), out.dtype)
    for tile in range(lo, hi):
        number = tile % tiles
        first, count = tile // tiles * steps + 4 * number, min(4, steps - 4 * number)
        y, row = (out, first) if count == 4 else (buffer, 0)
        for c in range(channels):
            plus, minus = m[1, tile, c] + m[2, tile, c], m[1, tile, c] - m[2, tile, c]
            plus2, minus2 = m[3, tile, c] + m[4, tile, c], m[3, tile, c] - m[4, tile, c]
            y[row, c] = m[0, tile, c] + plus + plus2
            y[row + 1, c] = minus + F2 * minus2
            y[row + 2, c] = plus + F4 * plus2
            y[row + 3, c] = minus + F8 * minus2 + m[5, tile, c]
        if count < 4:
            out[first : first + count] = buffer[:count]


@kernel(fastmath={"contract"})
def to_output_back(lo, hi, steps, gradient, out):
    """The transpose of `to_output`, A g."""
    tiles = (steps + 3) // 4
    buffer = np.empty((4, gradient.shape[1]), gradient.dtype)
    for tile in range(lo, hi):
        g, row = _rows_of_tile(gradient, steps, tile // tiles, 4 * (tile % tiles), buffer)
        for c in range(g.shape[1]):
            even, odd = g[row, c] + g[row + 2, c], g[row + 1, c] + g[row + 3, c]
            out[1, tile, c] = even + odd
            out[2, tile, c] = even - odd
            even, odd = g[row, c] + F4 * g[row + 2, c], F2 * g[row + 1, c] + F8 * g[row + 3, c]
            out[3, tile, c] = even + odd
            out[4, tile, c] = even - odd
            out[0, tile, c] = g[row, c]
            out[5, tile, c] = g[row + 3, c]
