"""The operations of a network on NumPy arrays: the shortest description of what a trained network computes."""

from collections.abc import Sequence

import numpy as np

from samplecnn.models.graph import Layer, Operations, Spectrogram, Squeeze


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
        return add_bias_relu(frames @ layer.weight[:, 0].T, layer, relu)

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
        return add_bias_relu(y, layer, relu)

    def _strided(self, x: np.ndarray, layer: Layer, relu: bool) -> np.ndarray:
        steps, stride = x.shape[1] // layer.stride, layer.stride
        padded = np.pad(x, ((0, 0), layer.padding, (0, 0)))
        y = np.zeros((len(x), steps, len(layer.bias)), np.float32)
        for number, tap in enumerate(self.taps(layer)):
            y += padded[:, number : number + (steps - 1) * stride + 1 : stride] @ tap
        return add_bias_relu(y, layer, relu)

    def pool(self, x: np.ndarray, size: int) -> np.ndarray:
        end = x.shape[1] // size * size
        y = np.maximum(x[:, 0:end:size], x[:, 1:end:size])
        for offset in range(2, size):
            np.maximum(y, x[:, offset:end:size], out=y)
        return y

    def excite(self, x: np.ndarray, squeeze: Squeeze) -> np.ndarray:
        return x * factors(x, squeeze)

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


def factors(x: np.ndarray, squeeze: Squeeze) -> np.ndarray:
    """The excitation's factors, [batch, 1, features], of x [batch, time, features]."""
    hidden = np.maximum(_dense(x.mean(1), squeeze.ex0), 0)
    return _sigmoid(_dense(hidden, squeeze.ex1))[:, None]


def add_bias_relu(y: np.ndarray, layer: Layer, relu: bool) -> np.ndarray:
    y += layer.bias
    return np.maximum(y, 0, out=y) if relu else y


def _dense(x: np.ndarray, layer: Layer) -> np.ndarray:
    return x @ layer.weight.T + layer.bias


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(np.float32(0), -x))
