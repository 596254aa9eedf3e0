"""NumPy engine for a few recordings: no start-up time, while importing PyTorch takes longer than tagging a song.

fp32 is exact up to rounding, on any CPU. In bf16 the operands of the convolutions are rounded to bfloat16 and summed in
float32, as on CPUs with bfloat16 instructions: slower than fp32, to reproduce the bf16 scores of other engines. The
module is also the shortest description of what a trained network computes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from samplecnn.inference.base import Engine
from samplecnn.models.graph import Graph, Layer, Operations, Spectrogram, Squeeze, run


class NumpyEngine(Engine):
    """NumPy on the CPU."""

    name = "numpy"
    survives_fork = True

    def __init__(self, net: Graph, precision: str) -> None:
        super().__init__(net, precision)
        self.operations = Arrays() if precision == "fp32" else RoundedArrays()

    @classmethod
    def open(cls, net: Graph, precision: str, device: Any = None, few: bool = False) -> "NumpyEngine":
        return cls(net, precision)

    def infer(self, segments: np.ndarray) -> np.ndarray:
        # One segment at a time: larger batches exceed the caches.
        return np.concatenate([run(self.net, self.operations, wave[None], len(wave)) for wave in segments])


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
        hidden = np.maximum(_dense(x.mean(1), squeeze.ex0), 0)
        return x * _sigmoid(_dense(hidden, squeeze.ex1))[:, None]

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


class RoundedArrays(Arrays):
    """`Arrays` with convolution operands rounded to bfloat16, stored as float32."""

    def taps(self, layer: Layer) -> np.ndarray:
        if layer not in self._taps:
            self._taps[layer] = round_to_bfloat16(super().taps(layer))
        return self._taps[layer]

    def conv(self, x: np.ndarray, layer: Layer, relu: bool) -> np.ndarray:
        return super().conv(round_to_bfloat16(x), layer, relu)


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


def _add_bias_relu(y: np.ndarray, layer: Layer, relu: bool) -> np.ndarray:
    y += layer.bias
    return np.maximum(y, 0, out=y) if relu else y


def _dense(x: np.ndarray, layer: Layer) -> np.ndarray:
    return x @ layer.weight.T + layer.bias


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(np.float32(0), -x))
