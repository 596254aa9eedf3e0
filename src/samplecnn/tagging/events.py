"""Events: when each class is heard, from the scores of windows over time.

Every class is treated alone, in this order: smooth, threshold with hysteresis, join what a short gap separates, drop
what is too short, drop what follows too soon. Nothing here knows of models or files, so recordings and live sound can
use it alike.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from samplecnn.errors import UsageError

Smoothing = Literal["median", "mean"]
OTHERS = "*"  # in thresholds by name: all classes that are not named
ROUNDING = 1e-9  # seconds by which sums of times may be off


class Event(NamedTuple):
    """A class that is heard from `start` to `end` (seconds); `score` is its highest (smoothed) score in between."""

    start: float
    end: float
    label: str
    score: float


@dataclass(frozen=True)
class EventRules:
    """What counts as an event.

    Args:
        threshold: score above which a class is present: one for all classes, or some classes' own, or None. Classes
            without one have that of the name `OTHERS`, or else the model's.
        smooth: windows whose median or mean replaces the score of the one in their middle, an odd number; 1: none. The
            first and the last score are repeated beyond the ends.
        smoothing: "median" or "mean".
        hysteresis: an event extends, forwards and backwards, over all windows above this share of the threshold; 1: no
            further than the threshold.
        max_gap: events of a class that are at most this many seconds apart become one.
        min_seconds: shorter events are dropped, after gaps were joined.
        refractory: events that begin within this many seconds after the end of the one before, of the same class, are
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
        """The threshold of every class, float64 [classes].

        Args:
            classes: of the model.
            default: the model's threshold, or one for each class.

        Raises:
            UsageError: a threshold for a class that the model does not have.
        """
        limits = np.broadcast_to(np.asarray(default, np.float64), len(classes)).copy()
        if isinstance(self.threshold, Mapping):
            if OTHERS in self.threshold and OTHERS not in classes:
                limits[:] = self.threshold[OTHERS]
            for name, value in self.threshold.items():
                if name == OTHERS and OTHERS not in classes:
                    continue
                if name not in classes:
                    raise UsageError(f"a threshold for {name!r}, which is no class of this model")
                limits[list(classes).index(name)] = value
        elif self.threshold is not None:
            limits[:] = self.threshold
        return limits

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; `EventRules(**values)` is the inverse."""
        threshold = dict(self.threshold) if isinstance(self.threshold, Mapping) else self.threshold
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "threshold": threshold}


def class_thresholds(given: Sequence[str], others: float | None = None) -> dict[str, float]:
    """Thresholds as they are written on a command line, "CLASS=VALUE" each.

    Args:
        given: those texts.
        others: the threshold of all other classes; None: the model's.

    Raises:
        UsageError: a text that is not of this form.

    Example:
        >>> class_thresholds(["dog=0.3", "a=b=0.5"])
        {'dog': 0.3, 'a=b': 0.5}
    """
    limits = {} if others is None else {OTHERS: others}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            limits[name] = float(value)
        except ValueError:
            raise UsageError(f"{text!r}: a threshold is written CLASS=VALUE, for example dog=0.4") from None
        if not name:
            raise UsageError(f"{text!r}: a threshold is written CLASS=VALUE, for example dog=0.4")
    return limits


def find_events(
    scores: np.ndarray, bounds: np.ndarray, classes: Sequence[str], thresholds: np.ndarray, rules: EventRules
) -> list[Event]:
    """The events of all classes, by their start; those that start together keep the order of the classes.

    Args:
        scores: float [windows, classes].
        bounds: seconds, ascending, float [windows + 1]: window i speaks for the time from bounds[i] to bounds[i + 1].
        classes: their names.
        thresholds: float [classes] (`EventRules.thresholds`).
        rules: all but the threshold is read.

    Raises:
        ValueError: shapes that do not fit each other.

    Example:
        >>> scores = np.array([[0.1], [0.9], [0.4], [0.8], [0.1]])
        >>> find_events(scores, np.arange(6.0), ["dog"], np.array([0.5]), EventRules())
        [Event(start=1.0, end=2.0, label='dog', score=0.9), Event(start=3.0, end=4.0, label='dog', score=0.8)]
        >>> find_events(scores, np.arange(6.0), ["dog"], np.array([0.5]), EventRules(hysteresis=0.6))
        [Event(start=1.0, end=4.0, label='dog', score=0.9)]
    """
    windows, count = scores.shape
    if len(bounds) != windows + 1 or len(classes) != count or len(thresholds) != count:
        raise ValueError(f"scores {windows} x {count}, {len(bounds)} bounds, {len(classes)} classes: they do not fit")
    values = smoothed(scores, rules.smooth, rules.smoothing)
    events = []
    for index in map(int, np.flatnonzero((values > thresholds).any(axis=0))):
        column, limit = values[:, index], float(thresholds[index])
        spans = [
            (float(bounds[first]), float(bounds[last]), float(column[first:last].max()))
            for first, last in _runs(column, limit, limit * rules.hysteresis)
        ]
        events += [Event(start, end, classes[index], score) for start, end, score in _selected(spans, rules)]
    return sorted(events, key=lambda event: event.start)


def smoothed(scores: np.ndarray, width: int, kind: Smoothing) -> np.ndarray:
    """The median or mean over `width` windows around each, float [windows, classes]; the ends are repeated."""
    if width == 1 or len(scores) == 0:
        return scores
    padded = np.pad(scores, ((width // 2, width // 2), (0, 0)), mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)
    return np.median(around, axis=-1) if kind == "median" else around.mean(axis=-1, dtype=np.float64)


def window_bounds(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The limits of the time that each window speaks for, float64 [windows + 1]: half-way between neighbours' middles.

    The first begins where its window begins, the last ends where its window ends. Windows that do not overlap speak for
    exactly their own time.

    Args:
        starts, ends: of the windows, in order, float [windows].

    Example:
        >>> window_bounds(np.array([0.0, 1.0, 2.0]), np.array([2.0, 3.0, 4.0])).tolist()
        [0.0, 1.5, 2.5, 4.0]
    """
    middles = (np.asarray(starts, np.float64) + ends) / 2
    return np.concatenate((starts[:1], (middles[:-1] + middles[1:]) / 2, ends[-1:])).astype(np.float64)


def _runs(values: np.ndarray, high: float, low: float) -> list[tuple[int, int]]:
    """Ranges of windows above `low`, as long as possible, with one above `high` in each."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], values > low, [False]))))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2) if values[first:last].max() > high]


def _selected(spans: list[tuple[float, float, float]], rules: EventRules) -> list[tuple[float, float, float]]:
    """Spans (start, end, score) of one class with gaps joined, without those that are too short or too soon."""
    joined = spans[:1]
    for (start, end, score), (_, before, best) in ((span, joined[-1]) for span in spans[1:]):
        if start - before <= rules.max_gap + ROUNDING:
            joined[-1] = (joined[-1][0], end, max(best, score))
        else:
            joined.append((start, end, score))
    kept: list[tuple[float, float, float]] = []
    for span in joined:
        if span[1] - span[0] < rules.min_seconds - ROUNDING:
            continue
        if not kept or span[0] - kept[-1][1] >= rules.refractory - ROUNDING:
            kept.append(span)
    return kept
