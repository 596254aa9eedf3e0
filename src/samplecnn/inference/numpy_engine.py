"""NumPy engine for a few recordings: no start-up time, while importing PyTorch takes longer than tagging a song.

fp32 is exact up to rounding, on any CPU. In bf16 the operands of the convolutions are rounded to bfloat16 and summed in
float32, as on CPUs with bfloat16 instructions: slower than fp32, to reproduce the bf16 scores of other engines. The
module is also the shortest description of what a trained network computes.
"""

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from samplecnn.inference.base import Engine
from samplecnn.models.graph import Graph, Layer, Operations, Spectrogram, Squeeze, run

CHUNK_ROWS = 512  # pooled rows computed at a time, so that a chunk's products stay in the caches
_BLAS_LIMITED = threading.Lock()  # held while the threads of BLAS are limited, which affects the whole process


class NumpyEngine(Engine):
    """NumPy on the CPU."""

    name = "numpy"
    survives_fork = True

    def __init__(self, net: Graph, precision: str) -> None:
        super().__init__(net, precision)
        self.operations = PooledArrays() if precision == "fp32" else RoundedArrays()

    @classmethod
    def open(cls, net: Graph, precision: str, device: Any = None, few: bool = False) -> "NumpyEngine":
        return cls(net, precision)

    @cached_property
    def _blas(self) -> Any:
        from threadpoolctl import ThreadpoolController

        return ThreadpoolController().select(user_api="blas")

    def infer(self, segments: np.ndarray) -> np.ndarray:
        # One segment per thread at a time: larger batches exceed the caches. A thread has all of a segment, because the
        # threads of BLAS wait for each other in every product, spinning: on a busy machine that took several times as
        # long as all else.
        threads = 1
        if len(segments) > 1:
            threads = min(max((library["num_threads"] for library in self._blas.info()), default=1), len(segments))
        if threads == 1:
            return np.concatenate([self._one(wave) for wave in segments])
        from concurrent.futures import ThreadPoolExecutor

        with _BLAS_LIMITED, self._blas.limit(limits=1), ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(self._one, segments)))

    def _one(self, wave: np.ndarray) -> np.ndarray:
        return run(self.net, self.operations, wave[None], len(wave))


class Arrays(Operations[np.ndarray]):
    """Operations on arrays, float32 [batch, time, features]."""

    def __init__(self) -> None:
        self._taps: dict[Layer, np.ndarray] = {}

    def taps(self, layer: Layer) -> np.ndarray:
        """A convolution's weight as [width, channels, features], cached."""
        if layer not in self._taps:
            self._taps[layer] = np.ascontiguousarray(layer.weight.transpose(2, 1, 0))
        return self._taps[layer]

    def first(self, wave: np.ndarray, layer: Layer, pads: tuple[int, int], relu: bool) -> np.ndarray:
        frames = np.pad(wave, ((0, 0), pads)).reshape(len(wave), -1, layer.width)
        return _add_bias_relu(frames @ layer.weight[:, 0].T, layer, relu)

    def spectrogram(self, wave: np.ndarray, first: Spectrogram, pads: tuple[int, int]) -> np.ndarray:
        return first.logmel(np.pad(wave, ((0, 0), pads))) * first.scale + first.shift

    def conv(self, x: np.ndarray, layer: Layer, relu: bool) -> np.ndarray:
        if layer.stride > 1:
            return self._strided(x, layer, relu)
        taps, steps = self.taps(layer), x.shape[1]
        before, _ = layer.padding
        y = x @ taps[before]
        for number, tap in enumerate(taps):
            shift = number - before  # offset of input relative to output, in frames
            if 0 < abs(shift) < steps:
                y[:, max(-shift, 0) : steps - max(shift, 0)] += x[:, max(shift, 0) : steps + min(shift, 0)] @ tap
        return _add_bias_relu(y, layer, relu)

    def _strided(self, x: np.ndarray, layer: Layer, relu: bool) -> np.ndarray:
        steps, stride = x.shape[1] // layer.stride, layer.stride
        padded = np.pad(x, ((0, 0), layer.padding, (0, 0)))
        y = np.zeros((len(x), steps, len(layer.bias)), np.float32)
        for number, tap in enumerate(self.taps(layer)):
            y += padded[:, number : number + (steps - 1) * stride + 1 : stride] @ tap
        return _add_bias_relu(y, layer, relu)

    def pool(self, x: np.ndarray, size: int) -> np.ndarray:
        end = x.shape[1] // size * size
        y = np.maximum(x[:, 0:end:size], x[:, 1:end:size])
        for offset in range(2, size):
            np.maximum(y, x[:, offset:end:size], out=y)
        return y

    def excite(self, x: np.ndarray, squeeze: Squeeze) -> np.ndarray:
        return x * _factors(x, squeeze)

    def add(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        y = x + y
        return np.maximum(y, 0, out=y)

    def hidden(self, levels: Sequence[np.ndarray], head: Layer) -> np.ndarray:
        pooled = np.concatenate([level.max(1) for level in levels], axis=1)
        return np.maximum(_dense(pooled, head), 0)

    def classify(self, hidden: np.ndarray, logit: Layer, softmax: bool) -> np.ndarray:
        logits = _dense(hidden, logit)
        if not softmax:
            return _sigmoid(logits)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def average(self, x: np.ndarray) -> np.ndarray:
        return x.mean(1)

    def columns(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.concatenate((x, y), axis=1)


class Pending(NamedTuple):
    """A deferred convolution with a ReLU."""

    x: np.ndarray
    layer: Layer


class PooledArrays(Arrays):
    """`Arrays` that compute a convolution with the max-pooling over 3 frames that follows it.

    The 3 frames that are pooled come from 3 matrix products over all channels and taps. Their left operand is the input
    itself: 3 rows in a row of memory are a row of 3 times the channels, and a product that starts one row later gives
    the next frame. So nothing is copied, the largest of the 3 is taken while the products are in the caches, and bias
    and ReLU are applied to the pooled third. The input needs a row of zeros before and after it; results have them.
    """

    def first(self, wave: np.ndarray, layer: Layer, pads: tuple[int, int], relu: bool) -> np.ndarray:
        # The bias is the weight of a constant input, so that a chunk's ReLU is the only further pass over it.
        frames = np.pad(wave, ((0, 0), pads)).reshape(len(wave), -1, layer.width)
        frames = np.pad(frames, ((0, 0), (0, 0), (0, 1)), constant_values=1)
        weight = np.concatenate([layer.weight[:, 0].T, layer.bias[None]])
        out = _with_margins(*frames.shape[:2], len(layer.bias))
        for rows, result in zip(frames, out, strict=True):
            for first in range(0, len(result), CHUNK_ROWS):
                chunk = result[first : first + CHUNK_ROWS]
                np.matmul(rows[first : first + CHUNK_ROWS], weight, out=chunk)
                if relu:
                    np.maximum(chunk, 0, out=chunk)
        return out

    def conv(self, x: Any, layer: Layer, relu: bool) -> Any:
        x = self.value(x)
        poolable = relu and layer.stride == 1 and layer.width == 3 and layer.padding == (1, 1)
        return Pending(x, layer) if poolable else super().conv(x, layer, relu)

    def value(self, x: Any) -> np.ndarray:
        return super().conv(x.x, x.layer, True) if isinstance(x, Pending) else x

    def join(self, x: Any, shortcut: np.ndarray, squeeze: Squeeze | None, pool: int) -> np.ndarray:
        return super().join(self.value(x), self.value(shortcut), squeeze, pool)

    def pool_excite(self, x: Any, squeeze: Squeeze | None, pool: int) -> np.ndarray:
        if not isinstance(x, Pending) or pool != 3:
            return super().pool_excite(self.value(x), squeeze, pool)
        out = self.pooled(x.x, x.layer)
        if squeeze is not None:
            out *= _factors(out, squeeze)
        return out

    def pooled(self, x: np.ndarray, layer: Layer) -> np.ndarray:
        """The largest of every 3 frames of the convolution with bias and ReLU."""
        batch, steps, channels = x.shape
        weight = self.taps(layer).reshape(3 * channels, -1)
        out = _with_margins(batch, steps // 3, weight.shape[1])
        products = np.empty((2, min(CHUNK_ROWS, steps // 3), weight.shape[1]), np.float32)
        for rows, result in zip(_margined(x), out, strict=True):
            for first in range(0, len(result), CHUNK_ROWS):
                largest = result[first : first + CHUNK_ROWS]
                count = len(largest)
                one, other = products[:, :count]
                for frame in range(3):
                    start = 3 * first + frame
                    source = rows[start : start + 3 * count].reshape(count, 3 * channels)
                    np.matmul(source, weight, out=other if frame else one)
                    if frame:
                        np.maximum(one, other, out=one if frame == 1 else largest)
                _add_bias_relu(largest, layer, True)
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


def _factors(x: np.ndarray, squeeze: Squeeze) -> np.ndarray:
    """The excitation's factors, [batch, 1, features], of x [batch, time, features]."""
    hidden = np.maximum(_dense(x.mean(1), squeeze.ex0), 0)
    return _sigmoid(_dense(hidden, squeeze.ex1))[:, None]


def _add_bias_relu(y: np.ndarray, layer: Layer, relu: bool) -> np.ndarray:
    y += layer.bias
    return np.maximum(y, 0, out=y) if relu else y


def _dense(x: np.ndarray, layer: Layer) -> np.ndarray:
    return x @ layer.weight.T + layer.bias


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(np.float32(0), -x))
