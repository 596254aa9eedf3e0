"""A folded network as JSON with places in one array of float32 weights, as `net.js` reads it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from samplecnn.models.graph import Graph, Layer, Spectrogram, Stage
from samplecnn.models.logmel import filters, hann


@dataclass
class Weights:
    """Arrays one after the other; `place` is where the next one begins, in values."""

    parts: list[np.ndarray] = field(default_factory=list)
    place: int = 0

    def add(self, values: np.ndarray) -> int:
        """Adds an array and returns its place."""
        at = self.place
        self.parts.append(np.ascontiguousarray(values, np.float32).reshape(-1))
        self.place += values.size
        return at

    def joined(self) -> np.ndarray:
        """All arrays, float32 [values]."""
        return np.concatenate(self.parts)


def described(net: Graph) -> tuple[dict[str, Any], np.ndarray]:
    """The layers of a network, and its weights, float32 [values].

    Weights of convolutions are [width, channels, features], of dense layers [outputs, inputs].
    """
    weights = Weights()

    def conv(layer: Layer, relu: bool = True, waveform: bool = False) -> dict[str, Any]:
        features, channels, width = layer.weight.shape
        before, after = (0, 0) if waveform else layer.padding  # the waveform is padded once, by `pads`
        return {
            "weight": weights.add(layer.weight.transpose(2, 1, 0)),
            "bias": weights.add(layer.bias),
            "width": width,
            "channels": channels,
            "features": features,
            "stride": width if waveform else layer.stride,
            "before": before,
            "after": after,
            "relu": relu,
        }

    def dense(layer: Layer) -> dict[str, Any]:
        outputs, inputs = layer.weight.shape
        return {
            "weight": weights.add(layer.weight),
            "bias": weights.add(layer.bias),
            "inputs": inputs,
            "outputs": outputs,
        }

    def stage(given: Stage | None) -> dict[str, Any] | None:
        if given is None:
            return None
        squeeze = given.squeeze
        waveform = given.spec.shortcut_from_waveform
        return {
            "convs": [conv(layer, spec.relu) for layer, spec in zip(given.convs, given.spec.convs, strict=True)],
            "squeeze": None if squeeze is None else {"ex0": dense(squeeze.ex0), "ex1": dense(squeeze.ex1)},
            "shortcut": None if given.shortcut is None else conv(given.shortcut, False, waveform),
            "residual": given.residual,
            "pool": given.pool,
        }

    def spectrogram(given: Spectrogram) -> dict[str, Any]:
        logmel = given.logmel
        return {
            "frame": logmel.frame,
            "hop": logmel.hop,
            "bands": logmel.bands,
            "hann": weights.add(hann(logmel.frame)),
            "filters": weights.add(filters(logmel)),
            "scale": weights.add(given.scale),
            "shift": weights.add(given.shift),
        }

    first = net.first
    layers = {
        "pads": list(net.spec.padding(net.task.window)),
        "first": spectrogram(first) if isinstance(first, Spectrogram) else conv(first, waveform=True),
        "stem": stage(net.stem),
        "stages": [stage(each) for each in net.stages],
        "tail": stage(net.tail),
        "levels": net.levels,
        "head": dense(net.head),
        "logit": dense(net.logit),
        "softmax": net.softmax,
    }
    return layers, weights.joined()
