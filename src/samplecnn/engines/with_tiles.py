"""PyTorch's engine on a core with matrix tiles: a convolution and what follows it are one pass (`tiled`).

So a convolution waits until it is known what follows; `Pending` is one that waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from samplecnn.engines.folded import Folded, Layer, Operations, Squeeze
from samplecnn.engines.with_torch import Compiled, threes
from samplecnn.models.fast.threads import rows, run, spread
from samplecnn.models.fast.tiled_block import SIDE, has_tiles

LONG = 400  # steps of a sample from which it is worth a turn of its own


@dataclass(frozen=True, eq=False)
class First:
    """The first convolution with its ReLU, of threes of samples, float32 [batch, time, 3]."""

    threes: Tensor
    layer: Layer


@dataclass(frozen=True, eq=False)
class Chain:
    """Plain blocks, one after the other, of what a first convolution makes."""

    first: First
    blocks: tuple[tuple[Layer, Squeeze | None], ...]

    @property
    def steps(self) -> int:
        return self.first.threes.shape[1] // 3 ** len(self.blocks)


@dataclass(frozen=True, eq=False)
class Pending:
    """A convolution, with a ReLU or without, of x, [batch, time, channels] in meaning."""

    x: Tensor | First | Chain
    layer: Layer
    relu: bool


Value = Tensor | First | Chain | Pending


def fit(net: Folded, dtype: torch.dtype, device: torch.device) -> bool:
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
        from samplecnn.engines import tiled
        from samplecnn.models.fast.tiles import CONFIG

        self.plain, self.kernels, self.config = Compiled(dtype, device), tiled, CONFIG
        self._ready: dict[Layer, tuple[np.ndarray, np.ndarray]] = {}
        self._made: WeakKeyDictionary[First | Chain, Tensor] = WeakKeyDictionary()

    @property
    def stepwise(self) -> Operations[Tensor]:
        return self.plain

    def first(self, wave: Value, layer: Layer, pads: tuple[int, int], relu: bool) -> Value:
        return First(threes(self.tensor(wave), pads).contiguous(), layer)

    def conv(self, x: Value, layer: Layer, relu: bool) -> Value:
        return Pending(x if isinstance(x, First | Chain) else self.tensor(x).contiguous(), layer, relu)

    def pool(self, x: Value) -> Value:
        return self.plain.pool(self.tensor(x))

    def excite(self, x: Value, squeeze: Squeeze) -> Value:
        return self.plain.excite(self.tensor(x), squeeze)

    def add(self, x: Value, y: Value) -> Value:
        return self.plain.add(self.tensor(x), self.tensor(y))

    def head(self, levels: Sequence[Value], head: Layer, logit: Layer, softmax: bool) -> Value:
        return self.plain.head([self.tensor(level) for level in levels], head, logit, softmax)

    def pool_excite(self, x: Value, squeeze: Squeeze | None) -> Value:
        assert isinstance(x, Pending) and x.relu
        if isinstance(x.x, First):
            return Chain(x.x, ((x.layer, squeeze),))
        if isinstance(x.x, Chain) and x.x.steps >= LONG:
            return Chain(x.x.first, (*x.x.blocks, (x.layer, squeeze)))
        source = self.tensor(x.x)
        batch, steps, _ = source.shape
        out = torch.empty(batch, steps // 3, len(x.layer.bias), dtype=torch.bfloat16)
        given = rows(source), None, steps, *self.values(x.layer), self.values_of(squeeze), rows(out), self.config
        spread(self.kernels.block, batch, steps * out.shape[2], *given)
        return out

    def join(self, x: Value, shortcut: Value, squeeze: Squeeze | None, pool: bool) -> Value:
        return self.plain.join(self.tensor(x), self.tensor(shortcut), squeeze, pool)

    def tensor(self, x: Value) -> Tensor:
        """What was waited for, bfloat16 [batch, time, features]."""
        if isinstance(x, Pending):
            return self._conv(x)
        if isinstance(x, First | Chain):
            if x not in self._made:
                self._made[x] = self._first(x) if isinstance(x, First) else self._chain(x)
            return self._made[x]
        return x

    def _first(self, x: First) -> Tensor:
        return self.plain.first(x.threes.flatten(1), x.layer, (0, 0), True)

    def _chain(self, x: Chain) -> Tensor:
        batch, steps, _ = x.first.threes.shape
        first = np.ascontiguousarray(x.first.layer.weight.squeeze(1).T), x.first.layer.bias
        blocks = [(*self.values(layer), self.values_of(squeeze)) for layer, squeeze in x.blocks]
        out = torch.empty(batch, x.steps, len(x.blocks[-1][0].bias), dtype=torch.bfloat16)

        def work(sample: int) -> None:
            seen, long = rows(x.first.threes[sample]), steps
            for number, (weight, bias, squeeze) in enumerate(blocks):
                last = number == len(blocks) - 1
                made = rows(out[sample]) if last else np.empty((long // 3, len(bias)), np.uint16)
                makes = first if number == 0 else None
                self.kernels.block(0, 1, seen, makes, long, weight, bias, squeeze, made, self.config)
                seen, long = made, long // 3

        run(work, [(sample,) for sample in range(batch)])
        return out

    def _conv(self, x: Pending) -> Tensor:
        source, (weight, bias) = self.tensor(x.x), self.values(x.layer)
        (batch, steps, _), features = source.shape, len(bias)
        out = torch.empty(batch, steps, features, dtype=torch.bfloat16)
        floor = np.float32(0 if x.relu else -np.inf)
        given = rows(source), steps, weight, bias, floor, rows(out), self.config
        spread(self.kernels.convolve, batch, steps * features, *given)
        return out

    def values(self, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias of a convolution as the kernels want them, made once."""
        if layer not in self._ready:
            self._ready[layer] = self.kernels.packed(layer.weight, False), layer.bias
        return self._ready[layer]

    @staticmethod
    def values_of(squeeze: Squeeze | None) -> tuple[np.ndarray, ...] | None:
        if squeeze is None:
            return None
        return squeeze.ex0.weight, squeeze.ex0.bias, squeeze.ex1.weight, squeeze.ex1.bias
