"""PyTorch's engine on a core with matrix tiles: a convolution and what follows it are one pass (`tiled`).

So a convolution waits until it is known what follows; `Pending` is one that waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samplecnn.engines.folded import Folded, Layer, Operations, Squeeze
from samplecnn.engines.with_torch import Compiled, threes
from samplecnn.models.fast.threads import rows, spread
from samplecnn.models.fast.tiled_block import SIDE, has_tiles


@dataclass(frozen=True, eq=False)
class Pending:
    """A convolution, with a ReLU or without, of x [batch, time, channels]; or with `first`, of what that makes of x."""

    x: Tensor
    layer: Layer
    relu: bool
    first: Layer | None = None


@dataclass(frozen=True, eq=False)
class First:
    """The first convolution with its ReLU, of threes of samples, float32 [batch, time, 3]."""

    threes: Tensor
    layer: Layer


Value = Tensor | First | Pending


def fit(net: Folded, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this network's convolutions are something for matrix tiles, and there are any."""
    if dtype != torch.bfloat16 or device.type != "cpu" or net.stem is not None or not has_tiles():
        return False
    stages = (*net.stages, net.tail) if net.tail is not None else net.stages
    layers = [layer for stage in stages for layer in (*stage.convs, stage.shortcut) if layer is not None]
    return all(size % SIDE == 0 for layer in layers for size in layer.weight.shape[:2])


class Tiled(Operations[Value]):
    """A network for which `fit` holds."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.plain = Compiled(dtype, device)
        self._packed: dict[Layer, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def stepwise(self) -> Operations[Tensor]:
        return self.plain

    def first(self, wave: Value, layer: Layer, pads: tuple[int, int], relu: bool) -> Value:
        return First(threes(self.tensor(wave), pads).contiguous(), layer)

    def conv(self, x: Value, layer: Layer, relu: bool) -> Value:
        if isinstance(x, First):
            return Pending(x.threes, layer, relu, x.layer)
        return Pending(self.tensor(x).contiguous(), layer, relu)

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
        batch, steps, features = len(x.x), x.x.shape[1] // 3, len(x.layer.bias)
        sums = torch.zeros(batch, features)
        out = self._run(x, True, sums)
        if squeeze is not None:
            factors = self.plain.factors(sums / steps, squeeze)
            spread(self.plain.passes.scale, batch, steps * features, steps, rows(out), factors.numpy())
        return out

    def join(self, x: Value, shortcut: Value, squeeze: Squeeze | None, pool: bool) -> Value:
        return self.plain.join(self.tensor(x), self.tensor(shortcut), squeeze, pool)

    def tensor(self, x: Value) -> Tensor:
        """What was waited for, bfloat16 [batch, time, features]."""
        if isinstance(x, First):
            return self.plain.first(x.threes.flatten(1), x.layer, (0, 0), True)
        return self._run(x, False, torch.empty(0, 0)) if isinstance(x, Pending) else x

    def _run(self, x: Pending, pool: bool, sums: Tensor) -> Tensor:
        from samplecnn.engines import tiled
        from samplecnn.models.fast.tiles import CONFIG

        batch, steps = x.x.shape[:2]
        weight, bias = self.packed(x.layer)
        features = len(bias)
        out = torch.empty(batch, steps // 3 if pool else steps, features, dtype=torch.bfloat16)
        taps, shift = (None, None) if x.first is None else first_values(x.first)
        source = rows(x.x), taps, shift, steps, weight, bias, x.relu, pool, rows(out)
        spread(tiled.convolve, batch, steps * features, *source, sums.numpy(), CONFIG)
        return out

    def packed(self, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias as the kernel wants them, made once."""
        if layer not in self._packed:
            from samplecnn.models.fast import tiled

            self._packed[layer] = tiled.packed(layer.weight, False), layer.bias
        return self._packed[layer]


def first_values(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """The first convolution's weight, float32 [3, features], and its bias."""
    return np.ascontiguousarray(layer.weight.squeeze(1).T), layer.bias
