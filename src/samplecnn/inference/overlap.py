"""Shared computation of the first layers for overlapping windows of a recording.

In the overlap of two windows the first layers compute the same values. So these layers run once over a buffer with
several windows, and each window takes its part of the result. There are two obstacles:

- A window is zero-padded at its ends (`same` padding), although the recording continues, so its first and last steps
  differ. Convolutions spread that difference inwards and pooling with size 3 limits it again: after each block it is
  one step at either end, as a block has at most two convolutions of width 3. That step is computed for each window
  separately, from the `EDGE` steps at its ends.
- An excitation depends on a whole window. Layers before the first excitation are shared, layers after it are not: with
  `se` the first convolution with 128 features and its pooling, with `rese2` the first two convolutions. Without
  excitations several blocks are shared.

The result equals that of separate windows up to rounding.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samplecnn.inference.base import Engine
from samplecnn.inference.overlap_plan import EDGE, frames_beyond, shared_depth
from samplecnn.inference.torch_engine import TorchEngine
from samplecnn.models.graph import Layer, Stage, run_from, run_path

BATCH_WINDOWS = 16  # windows per batch in the layers that are not shared: larger batches exceed the caches


@dataclass
class _Level:
    """Values of a buffer with `count` windows at some depth, `hop` steps apart and `steps` long.

    `whole` [1, time, features] are those of the buffer; `heads` and `tails` [count, EDGE, features] are the first and
    the last steps of each window, with the effect of its padding.
    """

    whole: Any  # a tensor, or a deferred one (`Operations.value`)
    heads: Tensor
    tails: Tensor
    count: int
    hop: int
    steps: int


def share(engine: Engine, window: int, hop: int) -> "Sharing | None":
    """A Sharing runner for windows `hop` samples apart; None if no layer can be shared, or for other engines."""
    if not isinstance(engine, TorchEngine) or not shared_depth(engine.net, window, hop):
        return None
    return Sharing(engine, window, hop)


class Sharing:
    """Runs the overlapping windows of a buffer.

    Args:
        engine: the engine, with the network.
        window, hop: in samples, such that `shared_depth` is not 0.
    """

    def __init__(self, engine: TorchEngine, window: int, hop: int) -> None:
        self.net, self.device, self.window, self.hop = engine.net, engine.device, window, hop
        self.operations, self.fused = engine.operations.stepwise, engine.operations
        self.depth = shared_depth(engine.net, window, hop)
        assert isinstance(engine.net.first, Layer)
        self.first = engine.net.first

    def __call__(self, buffer: np.ndarray) -> np.ndarray:
        """Probabilities float32 [windows, classes] of a buffer, float32 [samples], standardised."""
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            outputs = [self._rest(x) for x in self.shared(buffer)]
            return torch.cat(outputs).float().cpu().numpy()

    def shared(self, buffer: np.ndarray) -> Iterator[Tensor]:
        """Values of the windows after the last block with shared layers, [windows, steps, features], in batches."""
        level = self._first(torch.from_numpy(buffer).to(self.device))
        stages = self.net.stages[: self.depth]
        last = stages[-1]
        for stage in stages[:-1]:
            level = self._pooled(stage, level)
        if last.squeeze is None or not last.residual:
            level = self._pooled(replace(last, squeeze=None), level)
            for lo in range(0, level.count, BATCH_WINDOWS):
                x = _windows(level, lo, min(lo + BATCH_WINDOWS, level.count))
                yield x if last.squeeze is None else self.operations.excite(x, last.squeeze)
            return
        paths, shortcuts = self._paths(last, level)
        for lo in range(0, level.count, BATCH_WINDOWS):
            path, shortcut = (_windows(each, lo, min(lo + BATCH_WINDOWS, level.count)) for each in (paths, shortcuts))
            yield self.operations.join(path, shortcut, last.squeeze, last.pool)

    def _rest(self, x: Tensor) -> Tensor:
        """Runs the layers after the shared blocks and returns the probabilities."""
        return run_from(self.net, self.fused, x, self.depth)  # type: ignore[no-any-return]

    def _first(self, wave: Tensor) -> _Level:
        """The first convolution, over the whole buffer, and over the ends of each window separately."""
        before, after = self.net.spec.padding(self.window)
        end = self.window + min(after, 0)
        windows = wave.unfold(0, self.window, self.hop)
        heads = windows[:, : 3 * EDGE - before].contiguous()
        tails = windows[:, end + max(after, 0) - 3 * EDGE : end].contiguous()
        return _Level(
            whole=self.fused.first(wave[None], self.first, (before, -(len(wave) + before) % 3), True),
            heads=self._conv0(heads, before, 0),
            tails=self._conv0(tails, 0, max(after, 0)),
            count=len(windows),
            hop=self.hop // 3,
            steps=(self.window + before + after) // 3,
        )

    def _conv0(self, wave: Tensor, before: int, after: int) -> Tensor:
        return self.operations.first(wave, self.first, (before, after), True).contiguous()

    def _path(self, stage: Stage, x: Tensor) -> tuple[Tensor, Tensor]:
        """A block up to its sum or its pooling, and its shortcut, which is x if it has no convolution."""
        path = run_path(stage, self.operations, x)
        return path, x if stage.shortcut is None else self.operations.conv(x, stage.shortcut, False)

    def _end(self, stage: Stage, path: Tensor, shortcut: Tensor) -> Tensor:
        if stage.residual:
            return self.operations.join(path, shortcut, stage.squeeze, stage.pool)
        return self.operations.pool_excite(path, stage.squeeze, stage.pool)

    def _pooled(self, stage: Stage, level: _Level) -> _Level:
        """A block without excitation."""
        if stage.residual:
            whole = self._end(stage, *self._path(stage, self.fused.value(level.whole))).contiguous()
        else:  # no intermediate values are needed, so the operations can be fused
            whole = self.fused.pool_excite(run_path(stage, self.fused, level.whole), None, stage.pool)
            whole = self.fused.value(whole).contiguous()
        head_path, tail_path = self._path(stage, level.heads), self._path(stage, level.tails)
        over = level.steps % 3
        first, last = slice(0, 3), slice(EDGE - over - 3, EDGE - over)
        head = self._end(stage, *(part[:, first].contiguous() for part in head_path))
        tail = self._end(stage, *(part[:, last].contiguous() for part in tail_path))
        hop, steps = level.hop // 3, level.steps // 3
        heads = _cut(whole, 0, level.count, hop, EDGE)
        tails = _cut(whole[:, steps - EDGE :], 0, level.count, hop, EDGE)
        heads[:, :1], tails[:, -1:] = head, tail
        return _Level(whole, heads, tails, level.count, hop, steps)

    def _paths(self, stage: Stage, level: _Level) -> tuple[_Level, _Level]:
        """The path and the shortcut of a residual block, before their sum."""
        levels = self.fused.value(level.whole), level.heads, level.tails
        whole, heads, tails = (self._path(stage, x) for x in levels)
        paths, shortcuts = (replace(level, whole=whole[i].contiguous(), heads=heads[i], tails=tails[i]) for i in (0, 1))
        inner = EDGE - frames_beyond(stage)  # convolutions have made the values next to the cut invalid
        paths.heads, paths.tails = paths.heads[:, :inner], paths.tails[:, EDGE - inner :]
        return paths, shortcuts


def _windows(level: _Level, lo: int, hi: int) -> Tensor:
    """A copy of the windows `lo` to `hi`, [hi - lo, steps, features], with their separately computed ends."""
    x = _cut(level.whole, lo, hi, level.hop, level.steps)
    x[:, : level.heads.shape[1]] = level.heads[lo:hi]
    x[:, level.steps - level.tails.shape[1] :] = level.tails[lo:hi]
    return x


def _cut(whole: Tensor, lo: int, hi: int, hop: int, steps: int) -> Tensor:
    """A copy of the parts `hop` steps apart of [1, time, features], as [hi - lo, steps, features]."""
    return whole[0, lo * hop : (hi - 1) * hop + steps].unfold(0, steps, hop).transpose(1, 2).contiguous()
