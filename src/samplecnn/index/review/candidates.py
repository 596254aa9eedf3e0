"""What can be judged for a class: the peaks of its scores, and in which order they are offered.

A peak is a window that no overlapping window outscores. Windows that do not overlap are all peaks; of those that do,
neighbours are nearly the same sound, and one of them is enough.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from samplecnn.index.parts import WINDOW_FIXED, windows_schema
from samplecnn.index.reader import Index

Order = Literal["balanced", "uncertain", "best"]
BINS = 10  # of scores, equally wide
LEAST = 2.0**-17  # probability in a logit, at least: half a step of the scores of an index


class Recordings:
    """The recordings of an index that can be heard: those of files that are there and have no error.

    Args:
        index: of the files.

    Attributes:
        rows: the files with each recording's content, by its number.
        by_hash, by_path: the number of a recording by its content, and by the printable path of a file.
        hashes: the content of a recording by its number.
    """

    def __init__(self, index: Index) -> None:
        self.rows: dict[int, list[int]] = defaultdict(list)
        self.by_hash: dict[str, int] = {}
        self.by_path: dict[str, int] = {}
        self.hashes: dict[int, str] = {}
        numbers, hashes, paths = (index.table[name].to_pylist() for name in ("recording", "sha256", "path"))
        for row in np.flatnonzero(~index.deleted & ~index.failed).tolist():
            self.rows[numbers[row]].append(row)
            self.by_hash[hashes[row]] = self.by_path[paths[row]] = numbers[row]
            self.hashes[numbers[row]] = hashes[row]
        self.parts = sorted(set(index.table["part"].to_numpy(zero_copy_only=False)[[r[0] for r in self.rows.values()]]))


@dataclass(frozen=True, eq=False)
class Peaks:
    """The peaks of a class, by recording and time.

    Args:
        recording: number of the recording, int64 [peaks].
        start, end: seconds, float64 [peaks].
        score: of the class, float32 [peaks].
        seed: of their random order, so that classes do not ask for the same windows.
    """

    recording: np.ndarray
    start: np.ndarray
    end: np.ndarray
    score: np.ndarray
    seed: int = 0

    def __len__(self) -> int:
        return len(self.score)

    @cached_property
    def bin(self) -> np.ndarray:
        """Of the score, int64 [peaks]."""
        return np.minimum((self.score.astype(np.float64) * BINS).astype(np.int64), BINS - 1)

    @cached_property
    def rank(self) -> np.ndarray:
        """A random order, the same at every call, int64 [peaks]."""
        return np.random.default_rng(self.seed).permutation(len(self))

    @cached_property
    def _positions(self) -> dict[tuple[int, int], int]:
        starts = np.rint(self.start * 1000).astype(np.int64).tolist()
        return {pair: position for position, pair in enumerate(zip(self.recording.tolist(), starts, strict=True))}

    def position(self, recording: int, milliseconds: int) -> int | None:
        """Which peak begins there; None where none does."""
        return self._positions.get((recording, milliseconds))


def find_peaks(index: Index, recordings: Recordings, name: str) -> Peaks:
    """The peaks of a class in all recordings of an index.

    Args:
        index: of the recordings.
        recordings: of the index.
        name: of the class.
    """
    number = index.classes.index(name)
    column = windows_schema(index.settings).names[len(WINDOW_FIXED) + number]
    reach = -(-index.task.window // index.settings.hop_samples) - 1  # windows to either side that overlap
    wanted = np.fromiter(recordings.rows, np.int64, len(recordings.rows))
    found: list[tuple[np.ndarray, ...]] = []
    for part in recordings.parts:
        table = index.parts.windows(int(part), ["recording", "start", "end", column])
        recording, start, end, score = (table[key].to_numpy() for key in ("recording", "start", "end", column))
        keep = are_peaks(score, recording, reach) & np.isin(recording, wanted)
        found.append((recording[keep], start[keep], end[keep], score[keep]))
    if not found:
        return Peaks(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, np.float32))
    recording, start, end, score = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return Peaks(recording, start, end, score, number)


def are_peaks(score: np.ndarray, group: np.ndarray, reach: int) -> np.ndarray:
    """Which values nothing within `reach` neighbours of the same group exceeds, bool [n]; of equal ones, the first.

    Example:
        >>> are_peaks(np.array([1, 3, 2, 2, 5, 5]), np.array([0, 0, 0, 1, 1, 1]), 1).tolist()
        [False, True, False, False, True, False]
    """
    keep = np.ones(len(score), bool)
    for distance in range(1, min(reach, len(score) - 1) + 1):
        before, after = score[:-distance], score[distance:]
        same = group[:-distance] == group[distance:]
        keep[:-distance] &= ~same | (before >= after)
        keep[distance:] &= ~same | (after > before)
    return keep


def logit(probability: np.ndarray | float) -> np.ndarray:
    """log(p / (1 - p)) in float64, of scores as an index stores them."""
    clipped = np.clip(np.asarray(probability, np.float64), LEAST, 1 - LEAST)
    return np.log(clipped) - np.log1p(-clipped)


def upcoming(peaks: Peaks, done: Collection[int], order: Order, threshold: float, count: int) -> list[int]:
    """The next peaks to judge.

    Args:
        peaks: of the class.
        done: positions that have an answer.
        order: "balanced": at random from the bin of scores that has the fewest answers; "uncertain": nearest to the
            threshold; "best": highest score.
        threshold: of the class.
        count: how many, if there are as many.
    """
    left = np.ones(len(peaks), bool)
    left[list(done)] = False
    positions = np.flatnonzero(left)
    if order != "balanced":
        score = peaks.score[positions]
        by = -score if order == "best" else np.abs(logit(score) - logit(threshold))
        return [int(each) for each in positions[np.argsort(by, kind="stable")[:count]]]
    answered = np.bincount(peaks.bin[list(done)], minlength=BINS)
    positions = positions[np.argsort(peaks.rank[positions])]
    queues = [positions[peaks.bin[positions] == each][:count].tolist() for each in range(BINS)]
    chosen: list[int] = []
    while len(chosen) < count and any(queues):
        bin = min((each for each in range(BINS) if queues[each]), key=lambda each: (answered[each], -each))
        chosen.append(queues[bin].pop(0))
        answered[bin] += 1
    return chosen
