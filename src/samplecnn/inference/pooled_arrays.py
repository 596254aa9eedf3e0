"""Operations on NumPy arrays that compute convolutions with the pooling behind them, chunk by chunk."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from samplecnn.inference.arrays import Arrays, add_bias_relu, factors
from samplecnn.models.graph import Layer, Squeeze

CHUNK_ROWS = 512  # pooled rows computed at a time, so that a chunk's products stay in the caches


class First:
    """A deferred first convolution with its ReLU. Its whole output exceeds the caches; a chunk of it does not.

    Args:
        frames: of the waveform, [batch, steps, width].
        layer: the convolution.
    """

    def __init__(self, frames: np.ndarray, layer: Layer) -> None:
        # The bias is the weight of a constant input, so that the ReLU is the only further pass.
        self.frames = np.pad(frames, ((0, 0), (0, 0), (0, 1)), constant_values=1)
        self.weight = np.concatenate([layer.weight[:, 0].T, layer.bias[None]])
        self.shape = (*frames.shape[:2], len(layer.bias))

    @cached_property
    def whole(self) -> np.ndarray:
        """The value itself, [batch, steps, features]."""
        out = _with_margins(*self.shape)
        for number, result in enumerate(out):
            for first in range(0, len(result), CHUNK_ROWS):
                self._compute(number, first, result[first : first + CHUNK_ROWS])
        return out

    def rows(self, number: int, start: int, out: np.ndarray) -> np.ndarray:
        """As many steps of one of the batch as `out` has, from step `start`, which may be -1; zeros outside."""
        stop, steps = start + len(out), self.shape[1]
        out[: max(-start, 0)] = 0
        out[len(out) - max(stop - steps, 0) :] = 0
        self._compute(number, max(start, 0), out[max(-start, 0) : len(out) - max(stop - steps, 0)])
        return out

    def _compute(self, number: int, start: int, out: np.ndarray) -> None:
        np.matmul(self.frames[number, start : start + len(out)], self.weight, out=out)
        np.maximum(out, 0, out=out)


class Pending(NamedTuple):
    """A deferred convolution with a ReLU."""

    x: "np.ndarray | First"
    layer: Layer


class PooledArrays(Arrays):
    """`Arrays` that compute a convolution with the max-pooling over 3 frames that follows it.

    The 3 frames that are pooled come from 3 matrix products over all channels and taps. Their left operand is the input
    itself: 3 rows in a row of memory are a row of 3 times the channels, and a product that starts one row later gives
    the next frame. So nothing is copied, the largest of the 3 is taken while the products are in the caches, and bias
    and ReLU are applied to the pooled third. The input needs a row of zeros before and after it; results have them. The
    output of the first convolution is computed chunk by chunk, right before its use.
    """

    def first(self, wave: np.ndarray, layer: Layer, pads: tuple[int, int], relu: bool) -> Any:
        frames = np.pad(wave, ((0, 0), pads)).reshape(len(wave), -1, layer.width)
        return First(frames, layer) if relu else super().first(wave, layer, pads, relu)

    def conv(self, x: Any, layer: Layer, relu: bool) -> Any:
        poolable = relu and layer.stride == 1 and layer.width == 3 and layer.padding == (1, 1)
        if poolable:
            return Pending(x if isinstance(x, First) else self.value(x), layer)
        return super().conv(self.value(x), layer, relu)

    def value(self, x: Any) -> np.ndarray:
        if isinstance(x, Pending):
            return super().conv(self.value(x.x), x.layer, True)
        return x.whole if isinstance(x, First) else x

    def join(self, x: Any, shortcut: Any, squeeze: Squeeze | None, pool: int) -> np.ndarray:
        return super().join(self.value(x), self.value(shortcut), squeeze, pool)

    def pool_excite(self, x: Any, squeeze: Squeeze | None, pool: int) -> np.ndarray:
        if not isinstance(x, Pending) or pool != 3:
            return super().pool_excite(self.value(x), squeeze, pool)
        out = self.pooled(x.x, x.layer)
        if squeeze is not None:
            out *= factors(out, squeeze)
        return out

    def hidden(self, levels: Sequence[Any], head: Layer) -> np.ndarray:
        return super().hidden([self.value(level) for level in levels], head)

    def pooled(self, x: "np.ndarray | First", layer: Layer) -> np.ndarray:
        """The largest of every 3 frames of the convolution with bias and ReLU."""
        batch, steps, channels = x.shape
        weight = self.taps(layer).reshape(3 * channels, -1)
        out = _with_margins(batch, steps // 3, weight.shape[1])
        chunk = min(CHUNK_ROWS, steps // 3)
        products = np.empty((2, chunk, weight.shape[1]), np.float32)
        whole = np.empty((3 * chunk + 2, channels), np.float32) if isinstance(x, First) else _margined(x)
        for number, result in enumerate(out):
            for first in range(0, len(result), CHUNK_ROWS):
                largest = result[first : first + CHUNK_ROWS]
                count = len(largest)
                one, other = products[:, :count]
                if isinstance(x, First):
                    rows = x.rows(number, 3 * first - 1, whole[: 3 * count + 2])
                else:
                    rows = whole[number, 3 * first :]
                for frame in range(3):
                    source = rows[frame : frame + 3 * count].reshape(count, 3 * channels)
                    np.matmul(source, weight, out=other if frame else one)
                    if frame:
                        np.maximum(one, other, out=one if frame == 1 else largest)
                add_bias_relu(largest, layer, True)
        return out


class RoundedArrays(PooledArrays):
    """`PooledArrays` with convolution operands rounded to bfloat16, stored as float32."""

    def taps(self, layer: Layer) -> np.ndarray:
        if layer not in self._taps:
            self._taps[layer] = round_to_bfloat16(super().taps(layer))
        return self._taps[layer]

    def conv(self, x: Any, layer: Layer, relu: bool) -> Any:
        return super().conv(round_to_bfloat16(self.value(x)), layer, relu)


def round_to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Rounds float32 values to the 8 significant bits of bfloat16, ties to even.

    Example:
        >>> round_to_bfloat16(np.float32([1 + 2**-8, 1 + 3 * 2**-8, -0.1])).tolist()
        [1.0, 1.015625, -0.10009765625]
    """
    bits = np.array(x, np.float32).view(np.uint32)
    odd = bits >> 16
    odd &= 1
    bits += odd
    bits += 0x7FFF
    bits &= 0xFFFF0000
    return bits.view(np.float32)


def _with_margins(batch: int, steps: int, features: int) -> np.ndarray:
    """An array [batch, steps, features] inside one that has a row of zeros before and after each of the batch."""
    whole = np.empty((batch, steps + 2, features), np.float32)
    whole[:, 0] = whole[:, -1] = 0
    return whole[:, 1:-1]


def _margined(x: np.ndarray) -> np.ndarray:
    """x [batch, steps, channels] with a row of zeros before and after, without a copy if `_with_margins` made it."""
    whole, (batch, steps, channels) = x.base, x.shape
    if (
        isinstance(whole, np.ndarray)
        and whole.shape == (batch, steps + 2, channels)
        and whole.flags.c_contiguous
        and x.ctypes.data == whole.ctypes.data + whole.strides[1]
        and not (whole[:, 0].any() or whole[:, -1].any())
    ):
        return whole
    return np.pad(x, ((0, 0), (1, 1), (0, 0)))
