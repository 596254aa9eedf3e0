"""Operations of the PyTorch engine on a CPU by kernels that fuse a convolution with the next operation.

A convolution is therefore deferred until the next operation is known; `Pending` is a deferred convolution. In bfloat16
a micro-kernel multiplies, in float32 `kernels.winograd_inference`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from samplecnn.inference.torch_operations import Compiled, first_values, frames
from samplecnn.kernels import selection
from samplecnn.kernels.micro_kernel import GROUP
from samplecnn.kernels.operands import Batch
from samplecnn.kernels.threads import rows
from samplecnn.models.config import FIRST_SIZE
from samplecnn.models.graph import Graph, Layer, Operations, Spectrogram, Squeeze
from samplecnn.models.layers import FUSED_POOL, FUSED_WIDTHS

if TYPE_CHECKING:
    from samplecnn.inference.fused_blocks import Block

MIN_CHAIN_STEPS = 400  # time steps of a sample for one thread per sample; shorter samples do not fill blocks of rows


@dataclass(frozen=True, eq=False)
class First:
    """The first convolution with its ReLU, on frames of 3 samples, float32 [batch, time, 3]."""

    frames: Tensor
    layer: Layer


@dataclass(frozen=True, eq=False)
class Chain:
    """Consecutive plain blocks."""

    x: Tensor | First
    blocks: tuple[tuple[Layer, Squeeze | None], ...]

    @property
    def source(self) -> Tensor:
        return self.x.frames if isinstance(self.x, First) else self.x

    @property
    def steps(self) -> int:
        return self.source.shape[1] // 3 ** len(self.blocks)


@dataclass(frozen=True, eq=False)
class Pending:
    """A deferred convolution of x, [batch, time, channels], with or without a ReLU."""

    x: Tensor | First | Chain
    layer: Layer
    relu: bool


Value = Tensor | First | Chain | Pending


def is_supported(net: Graph, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether kernels for this machine are available and support all convolutions of this network."""
    if device.type != "cpu" or net.stem is not None or selection.for_inference(dtype) is None:
        return False
    stages = (*net.stages, net.tail) if net.tail is not None else net.stages
    layers = [layer for stage in stages for layer in (*stage.convs, stage.shortcut) if layer is not None]
    first = net.first
    known = isinstance(first, Spectrogram) or first.width == FIRST_SIZE
    known = known and all(stage.pool in (1, FUSED_POOL) for stage in stages)
    return known and all(
        layer.width in FUSED_WIDTHS and layer.stride == 1 and all(size % GROUP == 0 for size in layer.weight.shape[:2])
        for layer in layers
    )


class Fused(Operations[Value]):
    """Operations for networks for which `is_supported` holds.

    The first plain blocks process samples one at a time, each in one pass, while its values are in the caches. In later
    blocks a sample is too short to fill blocks of rows, so they process the whole batch.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        from samplecnn.inference import fused_blocks  # compiled by numba, which is optional

        self.plain, self.chains, self.unit = Compiled(dtype, device), fused_blocks, selection.for_inference(dtype)
        self.dtype = dtype
        self._packed: dict[Layer, np.ndarray] = {}
        self._computed: WeakKeyDictionary[First | Chain, Tensor] = WeakKeyDictionary()

    @property
    def stepwise(self) -> Operations[Tensor]:
        return self.plain

    def first(self, wave: Value, layer: Layer, pads: tuple[int, int], relu: bool) -> Value:
        return First(frames(self.value(wave), pads).contiguous(), layer)

    def spectrogram(self, wave: Value, first: Spectrogram, pads: tuple[int, int]) -> Value:
        return self.plain.spectrogram(self.value(wave), first, pads)

    def conv(self, x: Value, layer: Layer, relu: bool) -> Value:
        return Pending(x if isinstance(x, First | Chain) else self.value(x).contiguous(), layer, relu)

    def pool(self, x: Value, size: int) -> Value:
        return self.plain.pool(self.value(x), size)

    def excite(self, x: Value, squeeze: Squeeze) -> Value:
        return self.plain.excite(self.value(x), squeeze)

    def add(self, x: Value, y: Value) -> Value:
        return self.plain.add(self.value(x), self.value(y))

    def hidden(self, levels: Sequence[Value], head: Layer) -> Value:
        return self.plain.hidden([self.value(level) for level in levels], head)

    def classify(self, hidden: Value, logit: Layer, softmax: bool) -> Value:
        return self.plain.classify(self.value(hidden), logit, softmax)

    def average(self, x: Value) -> Value:
        return self.plain.average(self.value(x))

    def columns(self, x: Value, y: Value) -> Value:
        return self.plain.columns(self.value(x), self.value(y))

    def pool_excite(self, x: Value, squeeze: Squeeze | None, pool: int) -> Value:
        assert isinstance(x, Pending) and x.relu
        if pool == 1:
            return x if squeeze is None else self.excite(x, squeeze)
        if isinstance(x.x, Chain) and x.x.steps >= MIN_CHAIN_STEPS:
            return Chain(x.x.x, (*x.x.blocks, (x.layer, squeeze)))
        if isinstance(x.x, First) or (isinstance(x.x, Tensor) and x.x.shape[1] >= MIN_CHAIN_STEPS):
            return Chain(x.x, ((x.layer, squeeze),))
        source = self.value(x.x)
        out = torch.empty(len(source), source.shape[1] // 3, len(x.layer.bias), dtype=self.dtype)
        self.chains.single(self.unit, rows(source), len(source), self.block(x.layer, squeeze), rows(out))
        return out

    def join(self, x: Value, shortcut: Value, squeeze: Squeeze | None, pool: int) -> Value:
        return self.plain.join(self.value(x), self.value(shortcut), squeeze, pool)

    def value(self, x: Value) -> Tensor:
        """The computed value, [batch, time, features]."""
        if isinstance(x, Pending):
            return self._conv(x)
        if isinstance(x, First | Chain):
            if x not in self._computed:
                self._computed[x] = self._first(x) if isinstance(x, First) else self._chain(x)
            return self._computed[x]
        return x

    def _first(self, x: First) -> Tensor:
        return self.plain.first(x.frames.flatten(1), x.layer, (0, 0), True)

    def _chain(self, x: Chain) -> Tensor:
        source = x.source
        first = first_values(x.x.layer) if isinstance(x.x, First) else None
        out = torch.empty(len(source), x.steps, len(x.blocks[-1][0].bias), dtype=self.dtype)
        blocks = [self.block(*block) for block in x.blocks]
        self.chains.chain(self.unit, rows(source), len(source), first, blocks, rows(out))
        return out

    def _conv(self, x: Pending) -> Tensor:
        source = self.value(x.x)
        if self.dtype == torch.float32 and x.layer.width == 1:
            return self.plain.conv(source, x.layer, x.relu)
        batch, steps, _ = source.shape
        out = torch.empty(batch, steps, len(x.layer.bias), dtype=self.dtype)
        epilogue = self.chains.BiasFloor(x.layer.bias, np.float32(0 if x.relu else -np.inf))
        self.chains.convolve(self.unit, Batch(rows(source), steps), self.packed(x.layer), epilogue, rows(out))
        return out

    def packed(self, layer: Layer) -> np.ndarray:
        """A convolution's weight in the micro-kernel's layout, packed on first use."""
        if layer not in self._packed:
            self._packed[layer] = self.chains.packed(self.unit, layer.weight, False)
        return self._packed[layer]

    def block(self, layer: Layer, squeeze: Squeeze | None) -> "Block":
        values = () if squeeze is None else (squeeze.ex0, squeeze.ex1)
        arrays = tuple(array for each in values for array in (each.weight, each.bias))
        return self.chains.Block(self.packed(layer), layer.bias, arrays or None)
