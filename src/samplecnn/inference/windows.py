"""Cuts whole recordings into batches of standardised windows, the input of a model."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from samplecnn.audio import Remarks, fit, is_silent, standardise, to_int16
from samplecnn.errors import UsageError
from samplecnn.task import Task

MIN_TAIL_FRACTION = 0.1  # share of a hop; a shorter remainder of a recording is dropped


class Windows(NamedTuple):
    """Consecutive windows of a recording.

    Args:
        segments: float32 [windows, window], standardised; if windows overlap, a view of `buffer`.
        starts: first sample of each window, int64 [windows].
        end: samples of the recording read so far.
        silent: whether all samples read so far are zero.
        buffer: the audio from the first window's start to the last one's end, float32 [samples], standardised; None
            if windows do not overlap.
        remarks: remarks on the recording, complete after its last windows.
    """

    segments: np.ndarray
    starts: np.ndarray
    end: int
    silent: bool
    buffer: np.ndarray | None = None
    remarks: Remarks | None = None


def hop_samples(hop: float | None, task: Task) -> int:
    """Converts a hop to samples.

    Args:
        hop: seconds from one window to the next; None: the window's length.
        task: the model's task.

    Raises:
        UsageError: a hop of less than a sample, or longer than the window.
    """
    if hop is None:
        return task.window
    samples = round(hop * task.sample_rate) if 0 < hop <= task.window else 0  # inf and NaN cannot be rounded
    if not 1 <= samples <= task.window:
        longest = task.window / task.sample_rate
        shortest = 1 / task.sample_rate
        raise UsageError(
            f"the hop must be from {shortest:.2g} s, one sample, to {longest:g} s, the window, not {hop:g} s"
        )
    return samples


def windows(pieces: Iterable[np.ndarray], task: Task, max_windows: int, hop: int | None = None) -> Iterator[Windows]:
    """Cuts a recording of any length into windows.

    The last window ends at the end of the recording, so it may overlap the previous one further; a remainder shorter
    than `MIN_TAIL_FRACTION` of a hop is dropped. A recording shorter than one window is extended by the task's padding.
    Samples are rounded to 16 bits as in training, so that a file's tags equal its scores in an evaluation.

    Args:
        pieces: the recording in blocks, each float32 [samples], mono at the task's rate, at least one sample in total.
        max_windows: windows per batch; memory is proportional to it.
        hop: samples from one window to the next, at most the window; None: the window (no overlap).
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
            count = min((len(kept) - window) // hop + 1, max_windows)
            buffer, kept = kept[: (count - 1) * hop + window], kept[count * hop :]
            starts = start + hop * np.arange(count)
            start += count * hop
            before = buffer[-window:]
            yield _batch(standardise(buffer, task), starts, int(starts[-1]) + window, silent, window, hop)
    end = start + len(kept)
    left = len(kept) - (window - hop)  # samples after the last window
    if start == 0:
        wave = fit(kept, window, task.padding)
        yield _batch(standardise(wave, task), np.zeros(1, dtype=np.int64), end, silent, window, hop)
    elif left >= MIN_TAIL_FRACTION * hop:
        wave = np.concatenate((before[left:hop], kept))
        yield _batch(standardise(wave, task), np.array([end - window]), end, silent, window, hop)
    elif left:
        yield Windows(np.zeros((0, window), np.float32), np.zeros(0, np.int64), end, silent)


def precut_windows(segments: np.ndarray, task: Task, max_windows: int) -> Iterator[Windows]:
    """Batches of windows that are already cut, such as those of a TFRecord.

    Args:
        segments: float32 [windows, window], in order, not standardised.
        max_windows: windows per batch.
    """
    for first in range(0, len(segments), max_windows):
        part = segments[first : first + max_windows]
        starts = task.window * np.arange(first, first + len(part))
        yield Windows(standardise(part, task), starts, int(starts[-1]) + task.window, is_silent(part))


def _batch(buffer: np.ndarray, starts: np.ndarray, end: int, silent: bool, window: int, hop: int) -> Windows:
    if hop == window:
        return Windows(buffer.reshape(-1, window), starts, end, silent)
    segments = np.lib.stride_tricks.sliding_window_view(buffer, window, writeable=True)[::hop]
    return Windows(segments, starts, end, silent, buffer)
