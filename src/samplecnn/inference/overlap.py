"""Overlapping windows of one recording, and what of the network they share.

Two windows that overlap see the same sound, and the first layers say the same of it. So those layers run over a whole
stretch of sound once, and every window takes its part of what comes out. Two things stand in the way:

- A window ends in zeros (`same` padding) where the stretch goes on, so its first and last steps differ. Convolutions
  carry that difference inwards and max-pooling by threes takes it back: behind every block it is one step at either
  end, for a block has at most two 3-wide convolutions. That step is computed for every window from its own end, `EDGE`
  steps of it, as if the window stood alone.
- An excitation looks at a whole window. What lies before the first one is shared, nothing behind it: of `se` the first
  convolution of 128 features and its pooling, of `rese2` the first two. Without excitations several blocks are shared.

Nothing is left out, so the result is that of separate windows up to rounding.
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

TOGETHER = 16  # windows that go through the rest of the network together: more only push each other out of the caches


@dataclass
class _Level:
    """The values of a stretch with `count` windows at some depth, `hop` steps apart and `steps` long.

    `whole` [1, time, features] is of the stretch; `heads` and `tails` [count, EDGE, features] are the first and
    the last steps of every window, with what its padding makes of them.
    """

    whole: Any  # a tensor, or what stands for one (`Operations.value`)
    heads: Tensor
    tails: Tensor
    count: int
    hop: int
    steps: int


def share(engine: Engine, window: int, hop: int) -> "Sharing | None":
    """What runs windows `hop` samples apart with what they share; None where nothing is, and for other engines."""
    if not isinstance(engine, TorchEngine) or not shared_depth(engine.net, window, hop):
        return None
    return Sharing(engine, window, hop)


class Sharing:
    """Runs the overlapping windows of a stretch of sound.

    Args:
        engine: with the network.
        window, hop: samples, such that `shared_depth` is not 0.
    """

    def __init__(self, engine: TorchEngine, window: int, hop: int) -> None:
        self.net, self.device, self.window, self.hop = engine.net, engine.device, window, hop
        self.operations, self.behind = engine.operations.stepwise, engine.operations
        self.depth = shared_depth(engine.net, window, hop)
        assert isinstance(engine.net.first, Layer)
        self.first = engine.net.first

    def __call__(self, stretch: np.ndarray) -> np.ndarray:
        """Probabilities float32 [windows, classes] of a stretch of sound, float32 [samples], standardised."""
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            answers = [self._rest(x) for x in self.shared(stretch)]
            return torch.cat(answers).float().cpu().numpy()

    def shared(self, stretch: np.ndarray) -> Iterator[Tensor]:
        """What every window has behind the last block of which something is shared: [windows, steps, features], a few
        windows at a time.
        """
        level = self._first(torch.from_numpy(stretch).to(self.device))
        stages = self.net.stages[: self.depth]
        last = stages[-1]
        for stage in stages[:-1]:
            level = self._pooled(stage, level)
        if last.squeeze is None or not last.residual:
            level = self._pooled(replace(last, squeeze=None), level)
            for lo in range(0, level.count, TOGETHER):
                x = _windows(level, lo, min(lo + TOGETHER, level.count))
                yield x if last.squeeze is None else self.operations.excite(x, last.squeeze)
            return
        paths, shortcuts = self._paths(last, level)
        for lo in range(0, level.count, TOGETHER):
            path, shortcut = (_windows(each, lo, min(lo + TOGETHER, level.count)) for each in (paths, shortcuts))
            yield self.operations.join(path, shortcut, last.squeeze, last.pool)

    def _rest(self, x: Tensor) -> Tensor:
        """Probabilities of what is behind the shared blocks."""
        return run_from(self.net, self.behind, x, self.depth)  # type: ignore[no-any-return]

    def _first(self, wave: Tensor) -> _Level:
        """The first convolution, over all of the stretch, and over the ends of every window alone."""
        before, behind = self.net.spec.padding(self.window)
        end = self.window + min(behind, 0)
        windows = wave.unfold(0, self.window, self.hop)
        heads = windows[:, : 3 * EDGE - before].contiguous()
        tails = windows[:, end + max(behind, 0) - 3 * EDGE : end].contiguous()
        return _Level(
            whole=self.behind.first(wave[None], self.first, (before, -(len(wave) + before) % 3), True),
            heads=self._conv0(heads, before, 0),
            tails=self._conv0(tails, 0, max(behind, 0)),
            count=len(windows),
            hop=self.hop // 3,
            steps=(self.window + before + behind) // 3,
        )

    def _conv0(self, wave: Tensor, before: int, behind: int) -> Tensor:
        return self.operations.first(wave, self.first, (before, behind), True).contiguous()

    def _path(self, stage: Stage, x: Tensor) -> tuple[Tensor, Tensor]:
        """A block up to its sum or its pooling, and its shortcut; where it has no convolution, x."""
        path = run_path(stage, self.operations, x)
        return path, x if stage.shortcut is None else self.operations.conv(x, stage.shortcut, False)

    def _end(self, stage: Stage, path: Tensor, shortcut: Tensor) -> Tensor:
        if stage.residual:
            return self.operations.join(path, shortcut, stage.squeeze, stage.pool)
        return self.operations.pool_excite(path, stage.squeeze, stage.pool)

    def _pooled(self, stage: Stage, level: _Level) -> _Level:
        """A block without excitation."""
        if stage.residual:
            whole = self._end(stage, *self._path(stage, self.behind.value(level.whole))).contiguous()
        else:  # nobody looks between its operations, so they can be one
            whole = self.behind.pool_excite(run_path(stage, self.behind, level.whole), None, stage.pool)
            whole = self.behind.value(whole).contiguous()
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
        """A residual block up to its sum: its path and its shortcut."""
        levels = self.behind.value(level.whole), level.heads, level.tails
        whole, heads, tails = (self._path(stage, x) for x in levels)
        paths, shortcuts = (replace(level, whole=whole[i].contiguous(), heads=heads[i], tails=tails[i]) for i in (0, 1))
        inner = EDGE - frames_beyond(stage)  # the ends were cut off there, and convolutions have seen it
        paths.heads, paths.tails = paths.heads[:, :inner], paths.tails[:, EDGE - inner :]
        return paths, shortcuts


def _windows(level: _Level, lo: int, hi: int) -> Tensor:
    """The windows `lo` to `hi`, [hi - lo, steps, features], a copy with their own ends."""
    x = _cut(level.whole, lo, hi, level.hop, level.steps)
    x[:, : level.heads.shape[1]] = level.heads[lo:hi]
    x[:, level.steps - level.tails.shape[1] :] = level.tails[lo:hi]
    return x


def _cut(whole: Tensor, lo: int, hi: int, hop: int, steps: int) -> Tensor:
    """[hi - lo, steps, features]: what lies `hop` steps apart in [1, time, features], as a copy."""
    return whole[0, lo * hop : (hi - 1) * hop + steps].unfold(0, steps, hop).transpose(1, 2).contiguous()
