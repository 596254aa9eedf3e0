"""Events: intervals in which a class is present, from the scores of windows over time.

Each class is processed separately, in this order: smoothing, threshold with hysteresis, joining across short gaps,
dropping short events, dropping events that follow too soon. The module does not depend on models or files, so it works
for recordings and live sound.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.system.arguments import suggestion

Smoothing = Literal["median", "mean"]
OTHERS = "*"  # key in thresholds by name: all classes without their own
TIME_TOLERANCE = 1e-9  # seconds; rounding of sums of times


class Event(NamedTuple):
    """A class that is present from `start` to `end` (seconds); `score` is its highest (smoothed) score in between."""

    start: float
    end: float
    label: str
    score: float


@dataclass(frozen=True)
class EventRules:
    """Rules that turn scores into events.

    Args:
        threshold: score above which a class is present: one value for all classes, values by class name, or None.
            Classes without their own use that of `OTHERS`, or else the model's.
        smooth: length of the median or mean filter in windows, an odd number; 1: no smoothing. The first and the last
            score are repeated as padding.
        smoothing: "median" or "mean".
        hysteresis: an event extends, forwards and backwards, over adjacent windows above this share of the threshold;
            1: no hysteresis.
        max_gap: events of a class at most this many seconds apart are joined.
        min_seconds: shorter events are dropped, after joining.
        refractory: events that begin less than this many seconds after the previous event of the same class are
            dropped.

    Raises:
        UsageError: a value out of range.
    """

    threshold: float | Mapping[str, float] | None = None
    smooth: int = 1
    smoothing: Smoothing = "median"
    hysteresis: float = 1.0
    max_gap: float = 0.0
    min_seconds: float = 0.0
    refractory: float = 0.0

    def __post_init__(self) -> None:
        given = self.threshold.values() if isinstance(self.threshold, Mapping) else [self.threshold]
        if not all(value is None or 0 <= value <= 1 for value in given):
            raise UsageError("thresholds of events must be between 0 and 1")
        if self.smooth < 1 or self.smooth % 2 == 0:
            raise UsageError(f"smooth needs an odd number of windows, not {self.smooth}")
        if self.smoothing not in get_args(Smoothing):
            raise UsageError(f"smoothing must be {' or '.join(get_args(Smoothing))}, not {self.smoothing!r}")
        if not 0 < self.hysteresis <= 1:
            raise UsageError(f"hysteresis is a share of the threshold above 0 and at most 1, not {self.hysteresis:g}")
        for name in ("max_gap", "min_seconds", "refractory"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be a number of seconds, 0 or more, not {getattr(self, name):g}")

    def thresholds(self, classes: Sequence[str], default: float | Sequence[float]) -> np.ndarray:
        """The threshold of each class, float64 [classes].

        Args:
            classes: names of the model's classes.
            default: the model's threshold, or one for each class.

        Raises:
            UsageError: a threshold for a class that the model does not have.
        """
        thresholds = np.broadcast_to(np.asarray(default, np.float64), len(classes)).copy()
        if isinstance(self.threshold, Mapping):
            if OTHERS in self.threshold and OTHERS not in classes:
                thresholds[:] = self.threshold[OTHERS]
            for name, value in self.threshold.items():
                if name == OTHERS and OTHERS not in classes:
                    continue
                if name not in classes:
                    raise UsageError(
                        f"a threshold for {name!r}, which is not a class of this model{suggestion(name, classes)}"
                    )
                thresholds[list(classes).index(name)] = value
        elif self.threshold is not None:
            thresholds[:] = self.threshold
        return thresholds

    def to_dict(self) -> dict[str, Any]:
        """The rules as plain values for JSON; `EventRules(**values)` is the inverse."""
        threshold = dict(self.threshold) if isinstance(self.threshold, Mapping) else self.threshold
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "threshold": threshold}


def class_thresholds(given: Sequence[str], others: float | None = None) -> dict[str, float]:
    """Parses thresholds from the command line, each "CLASS=VALUE".

    Args:
        given: the texts.
        others: the threshold of all other classes; None: the model's.

    Raises:
        UsageError: a text of another form.

    Example:
        >>> class_thresholds(["dog=0.3", "a=b=0.5"])
        {'dog': 0.3, 'a=b': 0.5}
    """
    thresholds = {} if others is None else {OTHERS: others}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            thresholds[name] = float(value)
        except ValueError:
            raise UsageError(f"{text!r}: expected a threshold as CLASS=VALUE, for example dog=0.4") from None
        if not name:
            raise UsageError(f"{text!r}: expected a threshold as CLASS=VALUE, for example dog=0.4")
    return thresholds


def find_events(
    scores: np.ndarray, bounds: np.ndarray, classes: Sequence[str], thresholds: np.ndarray, rules: EventRules
) -> list[Event]:
    """The events of all classes, sorted by start; events with the same start are in class order.

    Args:
        scores: float [windows, classes].
        bounds: seconds, ascending, float [windows + 1]: the score of window i applies from bounds[i] to bounds[i + 1].
        classes: names of the classes.
        thresholds: float [classes] (`EventRules.thresholds`).
        rules: all fields except `threshold` are used.

    Raises:
        ValueError: shapes that do not match.

    Example:
        >>> scores = np.array([[0.1], [0.9], [0.4], [0.8], [0.1]])
        >>> find_events(scores, np.arange(6.0), ["dog"], np.array([0.5]), EventRules())
        [Event(start=1.0, end=2.0, label='dog', score=0.9), Event(start=3.0, end=4.0, label='dog', score=0.8)]
        >>> find_events(scores, np.arange(6.0), ["dog"], np.array([0.5]), EventRules(hysteresis=0.6))
        [Event(start=1.0, end=4.0, label='dog', score=0.9)]
    """
    windows, count = scores.shape
    if len(bounds) != windows + 1 or len(classes) != count or len(thresholds) != count:
        raise ValueError(
            f"scores {windows} x {count}, {len(bounds)} bounds, {len(classes)} classes: shapes do not match"
        )
    values = smooth_scores(scores, rules.smooth, rules.smoothing)
    events = []
    for index in map(int, np.flatnonzero((values > thresholds).any(axis=0))):
        column, limit = values[:, index], float(thresholds[index])
        spans = [
            (float(bounds[first]), float(bounds[last]), float(column[first:last].max()))
            for first, last in _spans_above(column, limit, limit * rules.hysteresis)
        ]
        events += [Event(start, end, classes[index], score) for start, end, score in _join_and_drop(spans, rules)]
    return sorted(events, key=lambda event: event.start)


def smooth_scores(scores: np.ndarray, width: int, kind: Smoothing) -> np.ndarray:
    """Median or mean filter over `width` windows, float [windows, classes]; the ends are padded by repetition."""
    if width == 1 or len(scores) == 0:
        return scores
    padded = np.pad(scores, ((width // 2, width // 2), (0, 0)), mode="edge")
    neighbours = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)
    return np.median(neighbours, axis=-1) if kind == "median" else neighbours.mean(axis=-1, dtype=np.float64)


def window_bounds(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Bounds of the time that each window's score applies to, float64 [windows + 1]: midway between window centres.

    The first bound is the start of the first window, the last is the end of the last window. For windows that do not
    overlap, the bounds are those of the windows.

    Args:
        starts, ends: start and end of each window in seconds, in order, float [windows].

    Example:
        >>> window_bounds(np.array([0.0, 1.0, 2.0]), np.array([2.0, 3.0, 4.0])).tolist()
        [0.0, 1.5, 2.5, 4.0]
    """
    centres = (np.asarray(starts, np.float64) + ends) / 2
    return np.concatenate((starts[:1], (centres[:-1] + centres[1:]) / 2, ends[-1:])).astype(np.float64)


def _spans_above(values: np.ndarray, high: float, low: float) -> list[tuple[int, int]]:
    """Maximal ranges of windows above `low` that contain a value above `high`."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], values > low, [False]))))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2) if values[first:last].max() > high]


def _join_and_drop(spans: list[tuple[float, float, float]], rules: EventRules) -> list[tuple[float, float, float]]:
    """Joins the spans (start, end, score) of one class across gaps and drops those that are too short or too soon."""
    joined = spans[:1]
    for (start, end, score), (_, before, best) in ((span, joined[-1]) for span in spans[1:]):
        if start - before <= rules.max_gap + TIME_TOLERANCE:
            joined[-1] = (joined[-1][0], end, max(best, score))
        else:
            joined.append((start, end, score))
    kept: list[tuple[float, float, float]] = []
    for span in joined:
        if span[1] - span[0] < rules.min_seconds - TIME_TOLERANCE:
            continue
        if not kept or span[0] - kept[-1][1] >= rules.refractory - TIME_TOLERANCE:
            kept.append(span)
    return kept
