"""Decides, after every window, whether something was heard: the causal counterpart of `tagging.events`.

Classes compete in groups. In a one-label task all classes are one group, so that an utterance gives one event; in a
multi-label task every class is a group of its own. Classes named like _background_ and _unknown_ take part in the
scores but never become events. In a stream background is far more frequent than in training: `background_odds`
corrects the probabilities for that before they are averaged (the prior shift of Saerens et al. 2002).

A group is idle until a class exceeds its threshold. The class that exceeds its own threshold by most becomes the event,
as soon as that margin stops rising, at the latest after `settle` seconds. Then the group rests: until `refractory`
seconds have passed, and the score of the class has fallen below `hysteresis` times its threshold.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.task import BACKGROUND, Task

Kind = Literal["event", "end", "near"]


class Heard(NamedTuple):
    """What a detector has to say after a window.

    Args:
        kind: "event"; "end" of an event, when its class has fallen silent; "near", a class that came close to its
            threshold and did not reach it.
        label: the class.
        score: the highest so far, averaged as by `DetectorRules.smooth`.
        threshold: of the class at that moment.
        time: end of the window after which this was decided, in seconds of the stream.
        start, end: of the sound that the highest score was averaged over, in seconds of the stream. For "end", the time
            from the first window above the threshold to the last one above the lower one.
    """

    kind: Kind
    label: str
    score: float
    threshold: float
    time: float
    start: float
    end: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON, times and scores rounded to 3 and 4 digits."""
        times = {name: round(getattr(self, name), 3) for name in ("time", "start", "end")}
        return {
            "type": self.kind,
            "label": self.label,
            "score": round(self.score, 4),
            "threshold": round(self.threshold, 4),
            **times,
        }


@dataclass(frozen=True)
class DetectorRules:
    """How scores become events.

    Args:
        smooth: windows whose mean is compared with the threshold.
        background_odds: factor on the odds of the class `_background_`, before the mean; 1: the probabilities of the
            model. In a task with several labels it has no effect.
        refractory: seconds after an event in which its group gives no other.
        hysteresis: share of the threshold below which a class has to fall before its group gives another event.
        settle: seconds for which a class above its threshold may wait for a higher score.
        near: share of the threshold above which a class counts as a near miss; 1: none are given.

    Raises:
        UsageError: a value out of range.
    """

    smooth: int = 3
    background_odds: float = 1.0
    refractory: float = 0.5
    hysteresis: float = 0.7
    settle: float = 0.2
    near: float = 0.6

    def __post_init__(self) -> None:
        if self.smooth < 1:
            raise UsageError(f"smooth needs 1 window or more, not {self.smooth}")
        if not 0 < self.background_odds < math.inf:
            raise UsageError(f"background_odds must be a number above 0, not {self.background_odds:g}")
        for name in ("refractory", "settle"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be a number of seconds, 0 or more, not {getattr(self, name):g}")
        for name in ("hysteresis", "near"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(
                    f"{name} is a share of the threshold above 0 and at most 1, not {getattr(self, name):g}"
                )


@dataclass
class _Group:
    """The state of one group of classes that is not idle.

    Attributes:
        tail: an event has been given, and no class has been far from its threshold since: what comes close to it still
            belongs to that event.
        candidate: class above its threshold that may become the event, and None otherwise; with `first`, the time at
            which the first class came above.
        active: class of the last event while its score has not fallen, and since when.
        near: class that came closest to its threshold, with `near_score` and `near_time`.
    """

    tail: bool = False
    candidate: int | None = None
    margin: float = 0.0
    score: float = 0.0
    peak_time: float = 0.0
    first: float = 0.0
    active: int | None = None
    since: float = 0.0
    last: float = 0.0
    rests_until: float = -math.inf
    near: int | None = None
    near_score: float = 0.0
    near_time: float = 0.0


def is_rejection(name: str) -> bool:
    """Whether a class stands for what is none of the others, like _background_ and _unknown_."""
    return len(name) > 2 and name.startswith("_") and name.endswith("_")


class Detector:
    """Turns the scores of windows, as they come, into events.

    Args:
        task: of the model.
        thresholds: score above which each class is heard, float [classes]; may be changed at any time (`thresholds`).
        rules: see there.
        hop: seconds from one window to the next.

    Example:
        >>> task = Task("t", ("yes", "no", "_unknown_"), sample_rate=10, window=10)
        >>> detector = Detector(task, [0.5] * 3, DetectorRules(smooth=1), hop=0.5)
        >>> for time, yes in enumerate([0.1, 0.8, 0.9, 0.1]):
        ...     for heard in detector([yes, 0, 1 - yes], time):
        ...         print(heard.kind, heard.label, heard.score)
        event yes 0.9
        end yes 0.9
    """

    def __init__(self, task: Task, thresholds: Sequence[float] | np.ndarray, rules: DetectorRules, hop: float) -> None:
        self.task, self.rules, self.hop = task, rules, hop
        self.thresholds = np.asarray(thresholds, np.float64)
        if self.thresholds.shape != (task.num_classes,):
            raise ValueError(f"{self.thresholds.size} thresholds for {task.num_classes} classes")
        audible = np.array([not is_rejection(name) for name in task.classes])
        one_group = task.kind == "multiclass"
        self._group_of = np.where(audible, 0 if one_group else np.arange(task.num_classes), -1)
        is_background = one_group and np.array([name == BACKGROUND for name in task.classes])
        self._odds = np.where(is_background, rules.background_odds, 1.0)
        self._recent: deque[np.ndarray] = deque(maxlen=rules.smooth)
        self._groups: dict[int, _Group] = {}
        self.averaged = np.zeros(task.num_classes)  # the latest smoothed scores, for displays

    def __call__(self, scores: Sequence[float] | np.ndarray, time: float) -> list[Heard]:
        """Takes one window.

        Args:
            scores: of all classes, float [classes].
            time: end of the window, in seconds of the stream.

        Returns:
            What was heard, in the order of the groups; nothing for most windows.
        """
        self._recent.append(self._corrected(np.asarray(scores, np.float64)))
        self.averaged = np.mean(self._recent, axis=0)
        return self._decide(self.averaged, time)

    def _corrected(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities, float64 [..., classes], with `background_odds`."""
        if np.all(self._odds == 1):
            return scores
        weighted = scores * self._odds
        return weighted / np.maximum(weighted.sum(-1, keepdims=True), 1e-300)

    def _decide(self, values: np.ndarray, time: float) -> list[Heard]:
        close = values > self.rules.near * self.thresholds
        awake = {int(group) for group in self._group_of[close] if group >= 0} | set(self._groups)
        heard: list[Heard] = []
        for number in sorted(awake):
            group = self._groups.setdefault(number, _Group())
            heard += self._step(group, np.flatnonzero(self._group_of == number), values, time)
            idle = group.candidate is None and group.active is None and group.near is None and not group.tail
            if idle and time >= group.rests_until:
                del self._groups[number]
        return heard

    def replay(self, scores: np.ndarray, times: np.ndarray) -> list[Heard]:
        """What is heard in windows whose scores are known already: as one call for each, and then `finish`.

        Args:
            scores: float [windows, classes].
            times: ends of the windows, float [windows].
        """
        width, scores = self.rules.smooth, self._corrected(np.asarray(scores, np.float64))
        parts = [np.pad(scores, ((shift, 0), (0, 0)))[: len(scores)] for shift in range(width)]
        averaged = np.sum(parts, axis=0)
        averaged /= np.minimum(np.arange(1, len(scores) + 1), width)[:, None]
        close = np.any((averaged > self.rules.near * self.thresholds) & (self._group_of >= 0), axis=1)
        heard: list[Heard] = []
        for step in range(len(scores)):
            if close[step] or self._groups:
                self._recent.extend(scores[max(step + 1 - width, 0) : step + 1])
                heard += self._decide(averaged[step], float(times[step]))
        return heard + (self.finish(float(times[-1])) if len(times) else [])

    def finish(self, time: float) -> list[Heard]:
        """The end of the stream: what is still waiting is decided."""
        heard: list[Heard] = []
        for _, group in sorted(self._groups.items()):
            if group.candidate is not None:
                heard.append(self._fire(group, time))
            if group.active is not None:
                heard.append(self._end(group, time))
        self._groups.clear()
        return heard

    def _step(self, group: _Group, members: np.ndarray, values: np.ndarray, time: float) -> list[Heard]:
        heard = []
        if group.active is not None:
            if values[group.active] > self.rules.hysteresis * self.thresholds[group.active]:
                group.score, group.last = max(group.score, float(values[group.active])), time
                return []
            heard.append(self._end(group, time))
        if time < group.rests_until:
            return heard
        margins = values[members] - self.thresholds[members]
        best = int(members[margins.argmax()])
        margin = float(margins.max())
        if margin > 0:
            if group.candidate is None:
                group.first = time
            rising = group.candidate is None or margin > group.margin
            if rising:
                group.candidate, group.margin = best, margin
                group.score, group.peak_time = float(values[best]), time
            if not rising or time - group.first >= self.rules.settle - 1e-9:
                heard.append(self._fire(group, time))
        elif group.candidate is not None:
            heard.append(self._fire(group, time))
        else:
            heard += self._near_miss(group, members, values, time)
        return heard

    def _fire(self, group: _Group, time: float) -> Heard:
        label = group.candidate
        assert label is not None
        span = self._span(group.peak_time)
        group.active, group.since, group.last = label, group.first, time
        group.rests_until = time + self.rules.refractory
        group.candidate, group.near, group.tail = None, None, True
        return Heard("event", self.task.classes[label], group.score, float(self.thresholds[label]), time, *span)

    def _end(self, group: _Group, time: float) -> Heard:
        label = group.active
        assert label is not None
        group.active = None
        threshold = float(self.thresholds[label])
        return Heard("end", self.task.classes[label], group.score, threshold, time, group.since, group.last)

    def _near_miss(self, group: _Group, members: np.ndarray, values: np.ndarray, time: float) -> list[Heard]:
        shares = values[members] / np.maximum(self.thresholds[members], 1e-9)
        best = int(members[shares.argmax()])
        if shares.max() > self.rules.near:
            if group.tail:
                return []
            if group.near is None or values[best] > group.near_score:
                group.near, group.near_score, group.near_time = best, float(values[best]), time
            return []
        group.tail = False
        if group.near is None:
            return []
        label, score, group.near = group.near, group.near_score, None
        span = self._span(group.near_time)
        return [Heard("near", self.task.classes[label], score, float(self.thresholds[label]), time, *span)]

    def _span(self, time: float) -> tuple[float, float]:
        """The sound that the average at `time` was computed from."""
        length = self.task.window / self.task.sample_rate + (len(self._recent) - 1) * self.hop
        return max(time - length, 0.0), time
