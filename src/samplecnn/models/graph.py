"""A trained network as what is left of it for inference, and the one description of what it computes.

Batch norms are constants then and go into the convolutions before them, in float64. `run` says what follows what, in
terms of a few operations; an engine is an implementation of those (`Operations`), be it on arrays or on a graph.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.models.config import EPSILON, MULTI_LEVELS, WIDE, ModelConfig, first_padding
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution [features, channels, width] or a dense layer [features, channels], and its bias; float32."""

    name: str
    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True, eq=False)
class Squeeze:
    """The two dense layers of an excitation: behind the mean, with ReLU, and before the sigmoid."""

    ex0: Layer
    ex1: Layer


@dataclass(frozen=True, eq=False)
class Stage:
    """Convolutions with a ReLU between them; a residual one has no ReLU behind the last, but behind the sum.

    Args:
        convs: one after the other.
        squeeze: scales what comes of them; in a plain stage behind the pooling.
        shortcut: a convolution beside them; None in a residual stage is the input itself.
        residual: whether there is a shortcut at all.
        pool: whether max-pooling by threes follows.
    """

    convs: tuple[Layer, ...]
    squeeze: Squeeze | None = None
    shortcut: Layer | None = None
    residual: bool = False
    pool: bool = True


@dataclass(frozen=True, eq=False)
class Graph:
    """A network for inference: `first` on the waveform, stages, the last of which (`levels` of them) the head sees.

    `stem`, where there is one, is a residual stage whose shortcut sees the waveform.
    """

    config: ModelConfig
    task: Task
    first: Layer
    stem: Stage | None
    stages: tuple[Stage, ...]
    tail: Stage | None
    head: Layer
    logit: Layer

    @property
    def classes(self) -> int:
        return len(self.logit.bias)

    @property
    def levels(self) -> int:
        return MULTI_LEVELS if self.config.multi else 1

    @property
    def softmax(self) -> bool:
        return self.task.kind == "multiclass"


class Operations(ABC, Generic[V]):
    """What a network is made of. Values are [batch, time, features] in meaning; their layout is the engine's."""

    @abstractmethod
    def first(self, wave: V, layer: Layer, pads: tuple[int, int], relu: bool) -> V:
        """The 3-wide convolution in strides of 3 on [batch, samples]; `pads`: zeros in front and behind, 0 or more."""

    @abstractmethod
    def conv(self, x: V, layer: Layer, relu: bool) -> V:
        """A convolution, 1 or 3 wide, that keeps the length."""

    @abstractmethod
    def pool(self, x: V) -> V:
        """The largest of every three steps; what is left over is dropped."""

    @abstractmethod
    def excite(self, x: V, squeeze: Squeeze) -> V:
        """x times what its mean over time gives."""

    @abstractmethod
    def add(self, x: V, y: V) -> V:
        """ReLU of the sum."""

    @abstractmethod
    def head(self, levels: Sequence[V], head: Layer, logit: Layer, softmax: bool) -> V:
        """The largest over time of every level, side by side; two dense layers; probabilities [batch, classes]."""

    @property
    def stepwise(self) -> "Operations[Any]":
        """The same with every value there at once, for those who look between the operations."""
        return self

    def value(self, x: V) -> Any:
        """The value itself, where an operation has put it off until it is known what follows."""
        return x

    def pool_excite(self, x: V, squeeze: Squeeze | None) -> V:
        """The end of a plain stage."""
        x = self.pool(x)
        return x if squeeze is None else self.excite(x, squeeze)

    def join(self, x: V, shortcut: V, squeeze: Squeeze | None, pool: bool) -> V:
        """The end of a residual stage."""
        x = self.add(x if squeeze is None else self.excite(x, squeeze), shortcut)
        return self.pool(x) if pool else x


def run(net: Graph, operations: Operations[V], wave: V, samples: int) -> V:
    """Probabilities [batch, classes] of a waveform [batch, samples], all of whose samples the first layer uses."""
    pads = first_padding(samples, net.config.first_padding)
    x = operations.first(wave, net.first, pads, True)
    if net.stem is not None:
        assert net.stem.shortcut is not None
        shortcut = operations.first(wave, net.stem.shortcut, pads, False)
        x = operations.join(_path(net.stem, operations, x), shortcut, net.stem.squeeze, False)
    levels = []
    for stage in net.stages:
        x = run_stage(stage, operations, x)
        levels.append(x)
    if net.tail is not None:
        levels[-1] = run_stage(net.tail, operations, x)
    return operations.head(levels[-net.levels :], net.head, net.logit, net.softmax)


def run_stage(stage: Stage, operations: Operations[V], x: V) -> V:
    """A block, or a tail."""
    path = _path(stage, operations, x)
    if stage.residual:
        shortcut = x if stage.shortcut is None else operations.conv(x, stage.shortcut, False)
        return operations.join(path, shortcut, stage.squeeze, stage.pool)
    return operations.pool_excite(path, stage.squeeze) if stage.pool else path


def _path(stage: Stage, operations: Operations[V], x: V) -> V:
    for number, layer in enumerate(stage.convs, start=1):
        x = operations.conv(x, layer, relu=not stage.residual or number < len(stage.convs))
    return x


def fold(model: "SampleCNN") -> Graph:
    """What a model computes in evaluation mode, from the values that it has now.

    Raises:
        UsageError: a model without a task, which has no probabilities.
    """
    if model.task is None:
        raise UsageError("the model does not know its classes; give it a task: SampleCNN(config, task)")
    values = {name: value.detach().float().cpu().numpy() for name, value in model.state_dict().items()}
    return fold_values(values, model.config, model.task)


def fold_values(values: Mapping[str, np.ndarray], config: ModelConfig, task: Task) -> Graph:
    """The same of values by their names in `SampleCNN.state_dict`.

    Raises:
        SampleCNNError: they are not those of such a network.
    """
    made = _Folding(values, beside=3 if config.block == WIDE else 1)
    widths = [config.features, *config.widths]
    head = sum(widths[-MULTI_LEVELS:]) if config.multi else widths[-1]
    net = Graph(
        config=config,
        task=task,
        first=made.normed("conv0", "norm0", 1, widths[0], 3),
        stem=made.stem(widths[0]) if config.block == WIDE else None,
        stages=tuple(made.stage(f"blocks.{i}", a, b, 3) for i, (a, b) in enumerate(itertools.pairwise(widths))),
        tail=made.stage("tail", widths[-1], widths[-1], 1) if config.tail else None,
        head=made.normed("final_fc", "final_norm", head, head),
        logit=made.layer("logit", head, task.num_classes),
    )
    for stage in net.stages:
        if (len(stage.convs), stage.squeeze is not None) != (config.kind.convs, config.kind.excites):
            found = f"{stage.convs[-1].name}, {'an' if stage.squeeze else 'no'} excitation"
            raise SampleCNNError(f"{found}: not a block of {config.block}")
    if made.left:
        raise SampleCNNError(f"this network has no {sorted(made.left)[0]}")
    return net


class _Folding:
    """Takes a network's values apart, by the names that all blocks' parts share; `left` are those not used so far.

    Args:
        values: by their names.
        beside: width of the shortcuts' convolutions.
    """

    def __init__(self, values: Mapping[str, np.ndarray], beside: int) -> None:
        self.values = values
        self.beside = beside
        self.left = set(values)

    def stem(self, features: int) -> Stage:
        conv = self.normed("stem.conv", "stem.norm", features, features, 3)
        shortcut = self.normed("stem.scut_conv", "stem.scut_norm", 1, features, 3)
        return Stage((conv,), self._squeeze("stem", features), shortcut, residual=True, pool=False)

    def stage(self, name: str, channels: int, features: int, width: int) -> Stage:
        """A block, whose convolutions are 3 wide, or a tail."""
        convs: list[Layer] = []
        shortcut, residual = None, self._has(f"{name}.convs.0")
        if residual:
            seen = channels
            while self._has(f"{name}.convs.{len(convs)}"):
                number = len(convs)
                convs.append(self.normed(f"{name}.convs.{number}", f"{name}.norms.{number}", seen, features, width))
                seen = features
            if channels != features:
                shortcut = self.normed(f"{name}.scut_conv", f"{name}.scut_norm", channels, features, self.beside)
        else:
            convs = [self.normed(f"{name}.conv", f"{name}.norm", channels, features, width)]
        return Stage(tuple(convs), self._squeeze(name, features), shortcut, residual, pool=width == 3)

    def normed(self, layer: str, norm: str, channels: int, features: int, width: int | None = None) -> Layer:
        """A layer and the batch norm behind it as one layer."""
        plain = self.layer(layer, channels, features, width)
        statistics = [
            self._vector(f"{norm}.{part}", features) for part in ("weight", "bias", "running_mean", "running_var")
        ]
        return Layer(layer, *with_norm(plain.weight, plain.bias, *statistics))

    def layer(self, name: str, channels: int, features: int, width: int | None = None) -> Layer:
        """A convolution; or without a `width` a dense layer."""
        weight = self._value(f"{name}.weight")
        wanted = (features, channels) if width is None else (features, channels, width)
        if weight.shape != wanted:
            raise SampleCNNError(f"{name}.weight is {list(weight.shape)} where {list(wanted)} is expected")
        return Layer(name, weight, self._vector(f"{name}.bias", features))

    def _squeeze(self, name: str, features: int) -> Squeeze | None:
        ex0, ex1 = f"{name}.excitation.ex0", f"{name}.excitation.ex1"
        if not self._has(ex0):
            return None
        hidden = len(self._value(f"{ex0}.weight"))
        return Squeeze(self.layer(ex0, features, hidden), self.layer(ex1, hidden, features))

    def _has(self, layer: str) -> bool:
        return f"{layer}.weight" in self.values

    def _vector(self, name: str, size: int) -> np.ndarray:
        value = self._value(name)
        if value.shape != (size,):
            raise SampleCNNError(f"{name} is {list(value.shape)} where [{size}] is expected")
        return value

    def _value(self, name: str) -> np.ndarray:
        """A copy that training on does not change."""
        if name not in self.values:
            raise SampleCNNError(f"{name} is missing")
        self.left.discard(name)
        return np.array(self.values[name], np.float32, order="C")


def with_norm(
    weight: np.ndarray, bias: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, var: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a convolution or a dense layer that has taken in the batch norm behind it; float32."""
    scale = gamma.astype(np.float64) / np.sqrt(var.astype(np.float64) + EPSILON)
    shift = (bias.astype(np.float64) - mean) * scale + beta
    return (weight * scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32), shift.astype(np.float32)
