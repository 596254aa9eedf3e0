"""The first block of the successive windows of a stream, for the NumPy engine, which runs one window at a time.

Where windows overlap, the first convolutions compute the same values, as `overlap` explains. Here the windows come one
by one: each adds the frames of its newest samples to those that the window before it has left. The first and the last
frame, which see the zero padding of a window, are computed for each window.
"""

from dataclasses import replace

import numpy as np

from samplecnn.inference.base import Engine
from samplecnn.inference.numpy_engine import BLAS, NumpyEngine
from samplecnn.inference.overlap_plan import shared_depth
from samplecnn.models.graph import Layer, run_from, run_stage

POOLED = 9  # samples from one frame to the next behind the first convolution and the pooling of the first block


def can_stream(engine: Engine, window: int, hop: int) -> bool:
    """Whether `Streaming` takes an engine: NumPy's, with a plain first block, and a `hop` that its pooling divides."""
    if not isinstance(engine, NumpyEngine) or not engine.net.stages or engine.net.stages[0].residual:
        return False
    return shared_depth(engine.net, window, hop) > 0 and hop <= window // 2


class Streaming:
    """Runs the windows of one stream, in their order.

    Args:
        engine: for which `can_stream` is true.
        window, hop: in samples; a window that follows another one after `hop` samples is computed faster.

    Example:
        >>> from samplecnn.inference import open_engine
        >>> from samplecnn.model_files import load_graph
        >>> engine = open_engine(load_graph("words-tiny"), "numpy", "fp32", device="cpu")
        >>> run, wave = Streaming(engine, 16_000, 1_602), np.zeros(17_602, np.float32)
        >>> scores = run(np.stack((wave[:16_000], wave[1_602:])), np.array([0, 1_602]))
        >>> bool(np.allclose(scores, engine(np.stack((wave[:16_000], wave[1_602:]))), atol=1e-6))
        True
    """

    def __init__(self, engine: NumpyEngine, window: int, hop: int) -> None:
        self.net, self.operations, self.hop = engine.net, engine.operations, hop
        self.stage = engine.net.stages[0]
        before, after = engine.net.spec.padding(window)
        self.before, self.after, self.used = before, max(after, 0), window + min(after, 0)
        self.next = -1  # start of the window that continues the last one
        self.frames: np.ndarray = np.empty((1, 0, 0))  # [1, frames, features] of the last window, before the excitation

    def __call__(self, segments: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Probabilities float32 [windows, classes] of windows float32 [windows, window] that start at these samples."""
        with BLAS.one_thread():
            return np.concatenate([self._window(wave, int(at)) for wave, at in zip(segments, starts, strict=True)])

    def _window(self, wave: np.ndarray, start: int) -> np.ndarray:
        wave = np.ascontiguousarray(wave[: self.used], np.float32)
        if start == self.next:
            self._advance(wave)
        else:
            self.frames = self._first_block(wave, self.before, self.after)
        self.next = start + self.hop
        x = (
            self.frames.copy()
            if self.stage.squeeze is None
            else self.operations.excite(self.frames, self.stage.squeeze)
        )
        return run_from(self.net, self.operations, x, 1)[:, : self.net.classes]

    def _advance(self, wave: np.ndarray) -> None:
        """Moves the frames on by a hop: those at both ends, and what is new before the last one, are computed."""
        frames, new = self.frames, self.hop // POOLED
        count = frames.shape[1]
        kept = count - new - 1  # frames that the last window has, its first one included
        frames[:, 1:kept] = frames[:, 1 + new : kept + new]
        # Parts begin or end with a frame that sees zeros in place of the sound, and is left out.
        tail = self._first_block(wave[POOLED * (kept - 1) - self.before :], 0, self.after)
        frames[:, kept:] = tail[:, 1:]
        frames[:, :1] = self._first_block(wave[: 2 * POOLED - self.before], self.before, 0)[:, :1]

    def _first_block(self, wave: np.ndarray, before: int, after: int) -> np.ndarray:
        """Frames [1, frames, features] behind the pooling of the first block, without its excitation."""
        layer = self.net.first
        assert isinstance(layer, Layer)
        x = self.operations.first(wave[None], layer, (before, after), True)
        return run_stage(replace(self.stage, squeeze=None), self.operations, x)
