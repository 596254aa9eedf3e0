"""From the values of a trained network to its graph: batch norms go into the convolutions before them, in float64.

Nothing here needs PyTorch.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.models.config import EPSILON, ModelConfig
from samplecnn.models.graph import Graph, Layer, Spectrogram, Squeeze, Stage
from samplecnn.models.layer_specs import ConvSpec, DenseSpec, ExcitationSpec, LogMelSpec, StageSpec
from samplecnn.models.spec import network_spec
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN


def fold(model: "SampleCNN") -> Graph:
    """The graph of a model in evaluation mode, with the values that it has now.

    Raises:
        UsageError: a model without a task, which has no probabilities.
    """
    if model.task is None:
        raise UsageError("the model has no task; create it as SampleCNN(config, task)")
    values = {name: value.detach().float().cpu().numpy() for name, value in model.state_dict().items()}
    return fold_values(values, model.config, model.task)


def fold_values(values: Mapping[str, np.ndarray], config: ModelConfig, task: Task) -> Graph:
    """The graph of values by their names in `SampleCNN.state_dict`.

    Raises:
        SampleCNNError: a value is missing, has another shape, or has no place in such a network.
    """
    spec, folding = network_spec(config), _Folding(values)
    net = Graph(
        config=config,
        task=task,
        first=folding.conv(spec.first) if isinstance(spec.first, ConvSpec) else folding.spectrogram(spec.first),
        stem=None if spec.stem is None else folding.stage(spec.stem),
        stages=tuple(folding.stage(block) for block in spec.blocks),
        tail=None if spec.tail is None else folding.stage(spec.tail),
        head=folding.dense(spec.hidden),
        logit=folding.dense(spec.logit),
    )
    if folding.unused:
        raise SampleCNNError(f"this network has no {sorted(folding.unused)[0]}")
    return net


class _Folding:
    """Takes values by the names of a specification, and checks their shapes; `unused` are those not taken so far."""

    def __init__(self, values: Mapping[str, np.ndarray]) -> None:
        self.values = values
        self.unused = set(values)

    def stage(self, spec: StageSpec) -> Stage:
        squeeze = None if spec.excitation is None else self.squeeze(spec.excitation)
        shortcut = None if spec.shortcut is None else self.conv(spec.shortcut)
        return Stage(spec, tuple(self.conv(conv) for conv in spec.convs), squeeze, shortcut)

    def conv(self, spec: ConvSpec) -> Layer:
        layer = self.layer(spec.name, (spec.features, spec.channels, spec.width))
        return replace(self.normed(layer, spec.norm), stride=spec.stride)

    def spectrogram(self, spec: LogMelSpec) -> Spectrogram:
        parts = self.norm(spec.norm, (spec.features,))
        ones, zeros = np.ones(spec.features, np.float32), np.zeros(spec.features, np.float32)
        return Spectrogram(spec.logmel, *with_norm(ones, zeros, *parts))

    def dense(self, spec: DenseSpec) -> Layer:
        layer = self.layer(spec.name, (spec.outputs, spec.inputs))
        return layer if spec.norm is None else self.normed(layer, spec.norm)

    def squeeze(self, spec: ExcitationSpec) -> Squeeze:
        ex0 = self.layer(f"{spec.name}.ex0", (spec.hidden, spec.features))
        return Squeeze(ex0, self.layer(f"{spec.name}.ex1", (spec.features, spec.hidden)))

    def layer(self, name: str, shape: tuple[int, ...]) -> Layer:
        return Layer(name, self.value(f"{name}.weight", shape), self.value(f"{name}.bias", shape[:1]))

    def normed(self, layer: Layer, norm: str) -> Layer:
        """A layer and the batch norm behind it as one layer."""
        return Layer(layer.name, *with_norm(layer.weight, layer.bias, *self.norm(norm, layer.bias.shape)))

    def norm(self, name: str, shape: tuple[int, ...]) -> list[np.ndarray]:
        """Weight, bias, mean and variance of a batch norm."""
        return [self.value(f"{name}.{part}", shape) for part in ("weight", "bias", "running_mean", "running_var")]

    def value(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A copy, which further training does not change."""
        if name not in self.values:
            raise SampleCNNError(f"{name} is missing")
        value = self.values[name]
        if value.shape != shape:
            raise SampleCNNError(f"{name} is {list(value.shape)} where {list(shape)} is expected")
        self.unused.discard(name)
        return np.array(value, np.float32, order="C")


def with_norm(
    weight: np.ndarray, bias: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, var: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a convolution or a dense layer with the batch norm behind it folded in; float32."""
    scale = gamma.astype(np.float64) / np.sqrt(var.astype(np.float64) + EPSILON)
    shift = (bias.astype(np.float64) - mean) * scale + beta
    scaled = np.empty(weight.shape, np.float32)
    factors = scale.reshape(-1, *[1] * (weight.ndim - 1))
    np.multiply(weight, factors, out=scaled, dtype=np.float64, casting="same_kind")  # without arrays in float64
    return scaled, shift.astype(np.float32)
