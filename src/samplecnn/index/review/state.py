"""The state of a review: for each class how many answers there are, and what follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.evaluation.thresholds import Goal
from samplecnn.index.reader import Index
from samplecnn.index.review.answers import RELABEL, VERDICTS, Answer, Answers
from samplecnn.index.review.candidates import BINS, Peaks, Recordings, find_peaks, logit
from samplecnn.index.review.estimates import Estimate, Judged, calibration, estimate, lacking
from samplecnn.index.review.logistic import sigmoid
from samplecnn.system.arguments import suggestion

SAME_SCORE = 1e-5  # scores of answers have six decimals


@dataclass(frozen=True)
class ClassState:
    """What is known of a class.

    Args:
        name: of the class.
        peaks: that can be judged.
        counts: answers by verdict.
        bins: for each bin of scores: peaks, right and wrong answers.
        estimate: its threshold; None where there are too few answers.
        lacks: what is missing for one; "".
        calibration: scale and shift of the logit; None: too few answers.
        unmatched: answers whose recording is not in the index any more.
    """

    name: str
    peaks: int
    counts: dict[str, int]
    bins: list[tuple[int, int, int]]
    estimate: Estimate | None
    lacks: str
    calibration: tuple[float, float] | None
    unmatched: int

    @property
    def answers(self) -> int:
        return sum(self.counts.values())

    def calibrated(self, score: float) -> float | None:
        """The probability of being right at a score."""
        if self.calibration is None:
            return None
        scale, shift = self.calibration
        return float(sigmoid(scale * logit(score) + shift))

    def to_dict(self) -> dict[str, Any]:
        scale, shift = self.calibration or (None, None)
        return {
            "class": self.name,
            "peaks": self.peaks,
            "answers": self.answers,
            **self.counts,
            "unmatched": self.unmatched,
            "bins": [{"peaks": peaks, "right": right, "wrong": wrong} for peaks, right, wrong in self.bins],
            "threshold": None if self.estimate is None else self.estimate.to_dict(),
            "lacks": self.lacks,
            "calibration": None if self.calibration is None else {"scale": scale, "shift": shift},
        }

    def lines(self, goal: Goal) -> list[str]:
        said = ", ".join(f"{count} {PAST[verdict]}" for verdict, count in self.counts.items() if count)
        lines = [f"{self.name}: {self.answers} answers{f' ({said})' if said else ''} of {self.peaks:,} peaks"]
        if self.unmatched:
            lines.append(f"  {self.unmatched} answers to recordings that are not in the index")
        if self.estimate is None:
            return [*lines, f"  no threshold yet: {self.lacks}"]
        lines.append(f"  {self.estimate.line(goal)}")
        shown = ", ".join(f"{score:g} is {self.calibrated(score):.2f}" for score in (0.25, 0.5, 0.75, 0.9))
        return [*lines, f"  calibrated: a score of {shown}"]


PAST = dict(zip(VERDICTS, ("accepted", "rejected", "relabelled", "skipped"), strict=True))


class Review:
    """An index and the answers about it.

    Args:
        index: that is reviewed.
        answers: that count; may grow.
        goal: for thresholds.
    """

    def __init__(self, index: Index, answers: Answers, goal: Goal) -> None:
        self.index, self.answers, self.goal = index, answers, goal
        self.recordings = Recordings(index)
        self._peaks: dict[str, Peaks] = {}

    def peaks(self, name: str) -> Peaks:
        if name not in self._peaks:
            self._peaks[name] = find_peaks(self.index, self.recordings, name)
        return self._peaks[name]

    def position(self, answer: Answer) -> int | None:
        """The peak that an answer is about; None where the index does not have it."""
        recording, peaks = self.recordings.by_hash.get(answer.sha256), self.peaks(answer.name)
        if recording is not None:
            return peaks.position(recording, answer.key.milliseconds)
        # Written tags change the hash of a file, but not its sound: the same path with the same score.
        recording = self.recordings.by_path.get(answer.path)
        position = None if recording is None else peaks.position(recording, answer.key.milliseconds)
        is_same = position is not None and abs(float(peaks.score[position]) - answer.score) < SAME_SCORE
        return position if is_same else None

    def of_class(self, name: str) -> list[tuple[int, Answer]]:
        """The answers about a class, with the positions of their peaks."""
        pairs = ((self.position(answer), answer) for answer in self.answers.values() if answer.name == name)
        return [(position, answer) for position, answer in pairs if position is not None]

    def judged(self, name: str) -> Judged:
        peaks = self.peaks(name)
        pairs = [(position, answer.right) for position, answer in self.of_class(name) if answer.right is not None]
        at = np.array([position for position, _ in pairs], np.int64)
        right = np.array([right for _, right in pairs], bool)
        return Judged(peaks.score[at].astype(np.float64), right, peaks.bin[at], peaks.recording[at])

    def peaks_by_bin(self, name: str) -> np.ndarray:
        return np.bincount(self.peaks(name).bin, minlength=BINS)

    def state(self, name: str) -> ClassState:
        judged, peaks = self.judged(name), self.peaks_by_bin(name)
        given = [answer for answer in self.answers.values() if answer.name == name]
        counts = {verdict: sum(answer.verdict == verdict for answer in given) for verdict in VERDICTS}
        right, wrong = (np.bincount(judged.bin[judged.right == kind], minlength=BINS) for kind in (True, False))
        return ClassState(
            name,
            int(peaks.sum()),
            counts,
            list(zip(peaks.tolist(), right.tolist(), wrong.tolist(), strict=True)),
            estimate(name, judged, peaks, self.goal),
            lacking(judged.right),
            calibration(judged),
            len(given) - len(self.of_class(name)),
        )

    def reviewed(self, names: Sequence[str] = ()) -> list[str]:
        """Those of some classes that have answers, in the model's order; no names: of all."""
        have = {answer.name for answer in self.answers.values()}
        return [name for name in chosen_classes(self.index, names) if name in have]

    def labels(self) -> list[tuple[int, int, str, bool]]:
        """All that answers say: recording, milliseconds, class, and whether it is there."""
        said = []
        for answer in self.answers.values():
            if answer.right is None or answer.name not in self.index.classes:
                continue
            position = self.position(answer)
            if position is None:
                continue
            recording = int(self.peaks(answer.name).recording[position])
            said.append((recording, answer.key.milliseconds, answer.name, answer.right))
            if answer.verdict == RELABEL and answer.label in self.index.classes:
                said.append((recording, answer.key.milliseconds, str(answer.label), True))
        return said


def chosen_classes(index: Index, names: Sequence[str]) -> list[str]:
    """Classes in the order of the names; no names: all, in the model's order.

    Raises:
        UsageError: a name that is no class.
    """
    for name in names:
        if name not in index.classes:
            raise UsageError(f"{name!r}: no class of {index.folder}{suggestion(name, index.classes)}")
    return list(dict.fromkeys(names)) or list(index.classes)
