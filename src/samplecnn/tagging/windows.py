"""The windows of a whole recording, in batches, as a model wants them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from samplecnn.audio import fit, from_int16, is_silent, to_int16
from samplecnn.evaluation.inference import standardise
from samplecnn.task import Task

TAIL = 0.1  # share of a window; what is left at the end and is shorter gets no window of its own


class Windows(NamedTuple):
    """Some windows of a recording, in order.

    `segments`: float32 [windows, window], standardised; `starts`: first sample of each, int64 [windows]; `end`: samples
    of the recording read so far; `silent`: no sample of these differs from zero.
    """

    segments: np.ndarray
    starts: np.ndarray
    end: int
    silent: bool


def windows(pieces: Iterable[np.ndarray], task: Task, most: int) -> Iterator[Windows]:
    """Cuts a recording into windows without overlap, start to end, whatever its length.

    The last window ends where the recording ends and so overlaps the one before it, unless next to nothing (`TAIL`) is
    left over. A recording shorter than one window is filled up as the task says. The samples are rounded to 16 bits, as
    they are for training, so that a file's tags equal what the test says of it.

    Args:
        pieces: the recording, float32 [samples] each, mono at the task's rate, at least one sample in all.
        most: windows in a batch; memory holds about that many.
    """
    window = task.window
    kept = np.zeros(0, dtype=np.float32)  # not yet in a window
    before = kept  # the last window given
    start = 0
    for piece in pieces:
        kept = np.concatenate((kept, from_int16(to_int16(piece))))
        while len(kept) >= window:
            count = min(len(kept) // window, most)
            batch, kept = kept[: count * window].reshape(count, window), kept[count * window :]
            starts = start + window * np.arange(count)
            start += count * window
            before = batch[-1]
            yield Windows(standardise(batch, task), starts, start, is_silent(batch))
    end = start + len(kept)
    if start == 0:
        batch = fit(kept, window, task.padding)[None]
        yield Windows(standardise(batch, task), np.zeros(1, dtype=np.int64), end, is_silent(batch))
    elif len(kept) >= TAIL * window:
        batch = np.concatenate((before[len(kept) :], kept))[None]
        yield Windows(standardise(batch, task), np.array([end - window]), end, is_silent(kept))
    elif len(kept):
        yield Windows(np.zeros((0, window), np.float32), np.zeros(0, np.int64), end, is_silent(kept))
