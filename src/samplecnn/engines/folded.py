"""A trained network as what is left of it for inference, and the one description of what it computes.

Batch norms are constants then and go into the convolutions before them, in float64. `run` says what follows what, in
terms of a few operations; an engine is an implementation of those (`Operations`), be it on arrays or on a graph.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from samplecnn.errors import UsageError
from samplecnn.models import SampleCNN
from samplecnn.models.layers import BatchNorm, Excitation, FirstPadding, first_padding
from samplecnn.models.samplecnn import MULTI_LEVELS

V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution [features, channels, width] or a dense layer [features, channels], and its bias; float32."""

    name: str
    weight: Tensor
    bias: Tensor


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
class Folded:
    """A network for inference: `first` on the waveform, stages, the last of which (`levels` of them) the head sees.

    `stem`, where there is one, is a residual stage whose shortcut sees the waveform.
    """

    first: Layer
    padding: FirstPadding
    stem: Stage | None
    stages: tuple[Stage, ...]
    tail: Stage | None
    levels: int
    head: Layer
    logit: Layer
    softmax: bool
    least_samples: int

    @property
    def classes(self) -> int:
        return len(self.logit.bias)


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

    def pool_excite(self, x: V, squeeze: Squeeze | None) -> V:
        """The end of a plain stage."""
        x = self.pool(x)
        return x if squeeze is None else self.excite(x, squeeze)

    def join(self, x: V, shortcut: V, squeeze: Squeeze | None, pool: bool) -> V:
        """The end of a residual stage."""
        x = self.add(x if squeeze is None else self.excite(x, squeeze), shortcut)
        return self.pool(x) if pool else x


def run(net: Folded, operations: Operations[V], wave: V, samples: int) -> V:
    """Probabilities [batch, classes] of a waveform [batch, samples], all of whose samples the first layer uses."""
    pads = first_padding(samples, net.padding)
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


def fold(model: SampleCNN) -> Folded:
    """What a model computes in evaluation mode, from the values that it has now.

    Raises:
        UsageError: a model without a task, which has no probabilities.
    """
    if model.task is None:
        raise UsageError("the model does not know its classes; give it a task: SampleCNN(config, task)")
    stem = None
    if model.stem is not None:
        parts: Any = model.stem
        stem = Stage(
            (_normed("stem.conv", parts.conv, parts.norm),),
            _squeeze("stem", parts.excitation),
            _normed("stem.scut_conv", parts.scut_conv, parts.scut_norm),
            residual=True,
            pool=False,
        )
    return Folded(
        first=_normed("conv0", model.conv0, model.norm0),
        padding=model.config.first_padding,
        stem=stem,
        stages=tuple(_fold_block(f"blocks.{number}", block) for number, block in enumerate(model.blocks)),
        tail=None if model.tail is None else _fold_block("tail", model.tail, pool=False),
        levels=MULTI_LEVELS if model.config.multi else 1,
        head=_normed("final_fc", model.final_fc, model.final_norm),
        logit=Layer("logit", _kept(model.logit.weight), _kept(model.logit.bias)),
        softmax=model.task.kind == "multiclass",
        least_samples=model.least_samples,
    )


def _fold_block(name: str, block: Any, pool: bool = True) -> Stage:
    """A block or a tail: by the names of its parts, which all of them share."""
    residual = hasattr(block, "convs")
    if residual:
        pairs = enumerate(zip(block.convs, block.norms, strict=True))
        convs = [_normed(f"{name}.convs.{i}", conv, norm) for i, (conv, norm) in pairs]
    else:
        convs = [_normed(f"{name}.conv", block.conv, block.norm)]
    shortcut = getattr(block, "scut_conv", None)
    return Stage(
        tuple(convs),
        _squeeze(name, getattr(block, "excitation", None)),
        None if shortcut is None else _normed(f"{name}.scut_conv", shortcut, block.scut_norm),
        residual,
        pool,
    )


def _normed(name: str, layer: nn.Module, norm: BatchNorm) -> Layer:
    """A layer and the batch norm behind it as one layer."""
    return Layer(name, *with_norm(layer, norm))


def with_norm(layer: nn.Module, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution or a dense layer that has taken in the batch norm behind it; float32."""
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()  # type: ignore[operator, union-attr]
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.EPSILON)
    shift = (bias - norm.running_mean.double()) * scale + norm.bias.detach().double()
    return (weight * scale.view(-1, *[1] * (weight.ndim - 1))).float(), shift.float()


def _squeeze(name: str, excitation: Excitation | None) -> Squeeze | None:
    if excitation is None:
        return None
    ex0, ex1 = excitation.ex0, excitation.ex1
    return Squeeze(
        Layer(f"{name}.ex0", _kept(ex0.weight), _kept(ex0.bias)),
        Layer(f"{name}.ex1", _kept(ex1.weight), _kept(ex1.bias)),
    )


def _kept(value: Tensor) -> Tensor:
    """A copy that training on does not change."""
    return value.detach().float().clone()
