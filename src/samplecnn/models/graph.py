"""A trained network folded for inference (`folding`), and the operations that an engine must implement to run it.

Batch norms are constants in inference and are folded into the convolutions before them, in float64. `run` states which
operation follows which; an engine implements the operations (`Operations`), on arrays or as nodes of a graph. The
structure comes from the network's specification (`spec`); nothing here needs PyTorch.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from samplecnn.models.config import ModelConfig
from samplecnn.models.layer_specs import StageSpec
from samplecnn.models.logmel import LogMel
from samplecnn.models.receptive_field import same_padding
from samplecnn.models.spec import NetworkSpec, network_spec
from samplecnn.task import Task

if TYPE_CHECKING:
    pass

V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution [features, channels, width] or a dense layer [features, channels], and its bias; float32.

    Args:
        name: of its module.
        weight, bias: batch norm folded in.
        stride: of a convolution, in frames.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    stride: int = 1

    @property
    def width(self) -> int:
        """Frames that a convolution sees."""
        return int(self.weight.shape[2])

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and after the frames of a convolution; on the waveform it is `NetworkSpec.padding`."""
        return same_padding(self.width, self.stride)


@dataclass(frozen=True, eq=False)
class Spectrogram:
    """Log-mel frames and the batch norm behind them: every band's value times `scale` plus `shift`, float32 [bands]."""

    logmel: LogMel
    scale: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True, eq=False)
class Squeeze:
    """The two dense layers of an excitation: after the mean, with ReLU, and before the sigmoid."""

    ex0: Layer
    ex1: Layer


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage with its weights.

    Args:
        spec: its structure.
        convs: of the path, first to last.
        squeeze: of its excitation, if it has one.
        shortcut: the shortcut's convolution; None in a residual stage is the input itself.
    """

    spec: StageSpec
    convs: tuple[Layer, ...]
    squeeze: Squeeze | None = None
    shortcut: Layer | None = None

    @property
    def residual(self) -> bool:
        return self.spec.residual

    @property
    def pool(self) -> int:
        return self.spec.pool


@dataclass(frozen=True, eq=False)
class Graph:
    """A network for inference: `first` on the waveform, then stages, of which the head sees the last `levels`.

    `embedding`: what is computed next to the probabilities, "hidden" or the number of a block (`models.embedding`).
    """

    config: ModelConfig
    task: Task
    first: Layer | Spectrogram
    stem: Stage | None
    stages: tuple[Stage, ...]
    tail: Stage | None
    head: Layer
    logit: Layer
    embedding: int | str | None = None

    @property
    def spec(self) -> NetworkSpec:
        return network_spec(self.config)

    @property
    def classes(self) -> int:
        return len(self.logit.bias)

    @property
    def levels(self) -> int:
        return self.spec.levels

    @property
    def softmax(self) -> bool:
        return self.task.kind == "multiclass"


class Operations(ABC, Generic[V]):
    """The operations of a network. Values mean [batch, time, features]; their memory layout is the engine's choice."""

    @abstractmethod
    def first(self, wave: V, layer: Layer, pads: tuple[int, int], relu: bool) -> V:
        """The convolution on [batch, samples] whose stride is its width; `pads`: zeros before and after, 0 or more."""

    @abstractmethod
    def spectrogram(self, wave: V, first: Spectrogram, pads: tuple[int, int]) -> V:
        """Log-mel frames of [batch, samples], standardised; `pads`: zeros before and after."""

    @abstractmethod
    def conv(self, x: V, layer: Layer, relu: bool) -> V:
        """A convolution with the layer's stride and padding."""

    @abstractmethod
    def pool(self, x: V, size: int) -> V:
        """The largest of every `size` frames; frames left over at the end are dropped."""

    @abstractmethod
    def excite(self, x: V, squeeze: Squeeze) -> V:
        """x scaled by the factors that its mean over time gives."""

    @abstractmethod
    def add(self, x: V, y: V) -> V:
        """ReLU of the sum."""

    @abstractmethod
    def hidden(self, levels: Sequence[V], head: Layer) -> V:
        """The maximum over time of every level, concatenated; a dense layer with ReLU: [batch, features]."""

    @abstractmethod
    def classify(self, hidden: V, logit: Layer, softmax: bool) -> V:
        """The last dense layer; probabilities [batch, classes]."""

    @abstractmethod
    def average(self, x: V) -> V:
        """The mean over time, float32 [batch, features]."""

    @abstractmethod
    def columns(self, x: V, y: V) -> V:
        """[batch, n] and [batch, m] side by side."""

    @property
    def stepwise(self) -> "Operations[Any]":
        """The same operations with every intermediate value computed at once, for those that need it."""
        return self

    def value(self, x: V) -> Any:
        """The value itself, where an operation is deferred until it is known what follows."""
        return x

    def pool_excite(self, x: V, squeeze: Squeeze | None, pool: int) -> V:
        """The end of a plain stage."""
        x = self.pool(x, pool) if pool > 1 else x
        return x if squeeze is None else self.excite(x, squeeze)

    def join(self, x: V, shortcut: V, squeeze: Squeeze | None, pool: int) -> V:
        """The end of a residual stage."""
        x = self.add(x if squeeze is None else self.excite(x, squeeze), shortcut)
        return self.pool(x, pool) if pool > 1 else x


def run(net: Graph, operations: Operations[V], wave: V, samples: int) -> V:
    """Probabilities [batch, classes] of a waveform [batch, samples], all of whose samples the first layer uses.

    With `net.embedding`, its columns follow those of the probabilities.
    """
    pads = net.spec.padding(samples)
    if isinstance(net.first, Spectrogram):
        return run_from(net, operations, operations.spectrogram(wave, net.first, pads), 0)
    x = operations.first(wave, net.first, pads, True)
    if net.stem is not None:
        assert net.stem.shortcut is not None
        shortcut = operations.first(wave, net.stem.shortcut, pads, False)
        x = operations.join(run_path(net.stem, operations, x), shortcut, net.stem.squeeze, net.stem.pool)
    return run_from(net, operations, x, 0)


def run_from(net: Graph, operations: Operations[V], x: V, start: int) -> V:
    """The same of the input of stage `start`; the head sees nothing of what lies before."""
    levels = [x]
    for number, stage in enumerate(net.stages[start:], start):
        x = run_stage(stage, operations, x)
        x = operations.value(x) if number == net.embedding else x  # else a deferred one would be computed twice
        levels.append(x)
    block = levels[net.embedding + 1 - start] if isinstance(net.embedding, int) else None
    if net.tail is not None:
        levels[-1] = run_stage(net.tail, operations, levels[-1])
    hidden = operations.hidden(levels[-net.levels :], net.head)
    probabilities = operations.classify(hidden, net.logit, net.softmax)
    if net.embedding is None:
        return probabilities
    return operations.columns(probabilities, hidden if block is None else operations.average(block))


def run_stage(stage: Stage, operations: Operations[V], x: V) -> V:
    """A block, or a tail."""
    path = run_path(stage, operations, x)
    if stage.residual:
        shortcut = x if stage.shortcut is None else operations.conv(x, stage.shortcut, False)
        return operations.join(path, shortcut, stage.squeeze, stage.pool)
    return operations.pool_excite(path, stage.squeeze, stage.pool)


def run_path(stage: Stage, operations: Operations[V], x: V) -> V:
    """The convolutions of a stage's path."""
    for spec, layer in zip(stage.spec.convs, stage.convs, strict=True):
        x = operations.conv(x, layer, relu=spec.relu)
    return x
