"""A whole recording as windows, standardised and in batches: the input of a model."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from samplecnn.audio import Remarks, fit, is_silent, standardise, to_int16
from samplecnn.errors import UsageError
from samplecnn.task import Task

TAIL = 0.1  # share of a hop; a shorter rest at the end of a recording gets no window


class Windows(NamedTuple):
    """Some consecutive windows of a recording.

    Args:
        segments: float32 [windows, window], standardised; if windows overlap, a view of `stretch`.
        starts: first sample of each window, int64 [windows].
        end: samples of the recording read so far.
        silent: all samples read so far are zero.
        stretch: the audio from the first window's start to the last one's end, float32 [samples], standardised; None
            if windows do not overlap.
        remarks: on the recording, complete when it has ended.
    """

    segments: np.ndarray
    starts: np.ndarray
    end: int
    silent: bool
    stretch: np.ndarray | None = None
    remarks: Remarks | None = None


def hop_samples(hop: float | None, task: Task) -> int:
    """A hop in samples.

    Args:
        hop: seconds from one window to the next; None: the window's length.
        task: of the model.

    Raises:
        UsageError: a hop that is not above 0, or longer than the window.
    """
    if hop is None:
        return task.window
    samples = round(hop * task.sample_rate)
    if not 1 <= samples <= task.window:
        most = task.window / task.sample_rate
        raise UsageError(f"a hop of {hop:g} s: it must be above 0 and at most the window, {most:g} s")
    return samples


def windows(pieces: Iterable[np.ndarray], task: Task, most: int, hop: int | None = None) -> Iterator[Windows]:
    """Cuts a recording of any length into windows.

    The last window ends where the recording ends, so it may overlap the one before it; a rest shorter than `TAIL` gets
    no window. A recording shorter than one window is filled by the task's padding. Samples are rounded to 16 bits as in
    training, so that a file's tags equal its scores in a test.

    Args:
        pieces: the recording, float32 [samples] each, mono at the task's rate, at least one sample in all.
        most: windows in a batch; memory holds about as many.
        hop: samples from one window to the next, at most the window; None: the window, so that none overlap.
    """
    window = task.window
    hop = window if hop is None else hop
    kept = np.zeros(0, dtype=np.int16)  # samples from the start of the next window
    before = kept  # the last window yielded
    start = 0
    silent = True
    for piece in pieces:
        silent = silent and is_silent(piece)
        rounded = to_int16(piece)
        kept = np.concatenate((kept, rounded)) if len(kept) else rounded
        while len(kept) >= window:
            count = min((len(kept) - window) // hop + 1, most)
            stretch, kept = kept[: (count - 1) * hop + window], kept[count * hop :]
            starts = start + hop * np.arange(count)
            start += count * hop
            before = stretch[-window:]
            yield _batch(standardise(stretch, task), starts, int(starts[-1]) + window, silent, window, hop)
    end = start + len(kept)
    left = len(kept) - (window - hop)  # samples after the last window
    if start == 0:
        wave = fit(kept, window, task.padding)
        yield _batch(standardise(wave, task), np.zeros(1, dtype=np.int64), end, silent, window, hop)
    elif left >= TAIL * hop:
        wave = np.concatenate((before[left:hop], kept))
        yield _batch(standardise(wave, task), np.array([end - window]), end, silent, window, hop)
    elif left:
        yield Windows(np.zeros((0, window), np.float32), np.zeros(0, np.int64), end, silent)


def precut_windows(segments: np.ndarray, task: Task, most: int) -> Iterator[Windows]:
    """The windows of a recording that is cut already, such as a record of a TFRecord file.

    Args:
        segments: float32 [windows, window], in order, not standardised.
        most: windows in a batch.
    """
    for first in range(0, len(segments), most):
        part = segments[first : first + most]
        starts = task.window * np.arange(first, first + len(part))
        yield Windows(standardise(part, task), starts, int(starts[-1]) + task.window, is_silent(part))


def _batch(stretch: np.ndarray, starts: np.ndarray, end: int, silent: bool, window: int, hop: int) -> Windows:
    if hop == window:
        return Windows(stretch.reshape(-1, window), starts, end, silent)
    segments = np.lib.stride_tricks.sliding_window_view(stretch, window, writeable=True)[::hop]
    return Windows(segments, starts, end, silent, stretch)
