"""PyTorch's engine on a core with matrix tiles: a convolution and what follows it are one pass (`chains`, `tiled`).

So a convolution waits until it is known what follows; `Pending` is one that waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from samplecnn.inference.torch_engine import Compiled, first_values, frames
from samplecnn.kernels.amx_block import SIDE, has_tiles
from samplecnn.kernels.threads import rows
from samplecnn.models.graph import Graph, Layer, Operations, Squeeze

if TYPE_CHECKING:
    from samplecnn.inference.amx_blocks import Block

LONG = 400  # steps of a sample from which it is worth a turn of its own


@dataclass(frozen=True, eq=False)
class First:
    """The first convolution with its ReLU, of threes of samples, float32 [batch, time, 3]."""

    frames: Tensor
    layer: Layer


@dataclass(frozen=True, eq=False)
class Chain:
    """Plain blocks, one after the other."""

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
    """A convolution, with a ReLU or without, of x, [batch, time, channels] in meaning."""

    x: Tensor | First | Chain
    layer: Layer
    relu: bool


Value = Tensor | First | Chain | Pending


def fit(net: Graph, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this network's convolutions are something for matrix tiles, and there are any."""
    if dtype != torch.bfloat16 or device.type != "cpu" or net.stem is not None or not has_tiles():
        return False
    stages = (*net.stages, net.tail) if net.tail is not None else net.stages
    layers = [layer for stage in stages for layer in (*stage.convs, stage.shortcut) if layer is not None]
    return all(size % SIDE == 0 for layer in layers for size in layer.weight.shape[:2])


class Tiled(Operations[Value]):
    """A network for which `fit` holds.

    The first plain blocks go sample by sample from one to the next, each in one pass, while what they make is in the
    caches. The others have too little of one sample to fill tiles with: they take the whole batch.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        from samplecnn.inference import amx_blocks  # compiled by numba, which need not be there

        self.plain, self.chains = Compiled(dtype, device), amx_blocks
        self._packed: dict[Layer, np.ndarray] = {}
        self._made: WeakKeyDictionary[First | Chain, Tensor] = WeakKeyDictionary()

    @property
    def stepwise(self) -> Operations[Tensor]:
        return self.plain

    def first(self, wave: Value, layer: Layer, pads: tuple[int, int], relu: bool) -> Value:
        return First(frames(self.value(wave), pads).contiguous(), layer)

    def conv(self, x: Value, layer: Layer, relu: bool) -> Value:
        return Pending(x if isinstance(x, First | Chain) else self.value(x).contiguous(), layer, relu)

    def pool(self, x: Value) -> Value:
        return self.plain.pool(self.value(x))

    def excite(self, x: Value, squeeze: Squeeze) -> Value:
        return self.plain.excite(self.value(x), squeeze)

    def add(self, x: Value, y: Value) -> Value:
        return self.plain.add(self.value(x), self.value(y))

    def head(self, levels: Sequence[Value], head: Layer, logit: Layer, softmax: bool) -> Value:
        return self.plain.head([self.value(level) for level in levels], head, logit, softmax)

    def pool_excite(self, x: Value, squeeze: Squeeze | None) -> Value:
        assert isinstance(x, Pending) and x.relu
        if isinstance(x.x, Chain) and x.x.steps >= LONG:
            return Chain(x.x.x, (*x.x.blocks, (x.layer, squeeze)))
        if isinstance(x.x, First) or (isinstance(x.x, Tensor) and x.x.shape[1] >= LONG):
            return Chain(x.x, ((x.layer, squeeze),))
        source = self.value(x.x)
        out = torch.empty(len(source), source.shape[1] // 3, len(x.layer.bias), dtype=torch.bfloat16)
        self.chains.single(rows(source), len(source), self.block(x.layer, squeeze), rows(out))
        return out

    def join(self, x: Value, shortcut: Value, squeeze: Squeeze | None, pool: bool) -> Value:
        return self.plain.join(self.value(x), self.value(shortcut), squeeze, pool)

    def value(self, x: Value) -> Tensor:
        """bfloat16 [batch, time, features]."""
        if isinstance(x, Pending):
            return self._conv(x)
        if isinstance(x, First | Chain):
            if x not in self._made:
                self._made[x] = self._first(x) if isinstance(x, First) else self._chain(x)
            return self._made[x]
        return x

    def _first(self, x: First) -> Tensor:
        return self.plain.first(x.frames.flatten(1), x.layer, (0, 0), True)

    def _chain(self, x: Chain) -> Tensor:
        source = x.source
        first = first_values(x.x.layer) if isinstance(x.x, First) else None
        out = torch.empty(len(source), x.steps, len(x.blocks[-1][0].bias), dtype=torch.bfloat16)
        blocks = [self.block(*block) for block in x.blocks]
        self.chains.chain(rows(source), len(source), first, blocks, rows(out))
        return out

    def _conv(self, x: Pending) -> Tensor:
        source = self.value(x.x)
        batch, steps, _ = source.shape
        out = torch.empty(batch, steps, len(x.layer.bias), dtype=torch.bfloat16)
        floor = 0.0 if x.relu else -np.inf
        self.chains.convolve(rows(source), batch, self.packed(x.layer), x.layer.bias, floor, rows(out))
        return out

    def packed(self, layer: Layer) -> np.ndarray:
        """A convolution's weight as the kernels want it, made once."""
        if layer not in self._packed:
            self._packed[layer] = self.chains.packed(layer.weight, False)
        return self._packed[layer]

    def block(self, layer: Layer, squeeze: Squeeze | None) -> "Block":
        values = () if squeeze is None else (squeeze.ex0, squeeze.ex1)
        arrays = tuple(array for each in values for array in (each.weight, each.bias))
        return self.chains.Block(self.packed(layer), layer.bias, arrays or None)
