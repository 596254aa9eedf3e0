"""The result of tagging one recording."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from samplecnn.audio import Remarks
from samplecnn.errors import UsageError
from samplecnn.tagging.events import Event, EventRules, Smoothing, find_events, window_bounds
from samplecnn.task import BACKGROUND, UNKNOWN, Task


@dataclass(frozen=True, eq=False)
class Tags:
    """The tags of one recording.

    Args:
        task: the model's task, with classes, kind and thresholds.
        over_time: probabilities, float32 [segments, classes].
        starts: first sample of each segment at the task's rate, int64 [segments].
        samples: length of the recording at the task's rate.
        silent: whether every sample is zero, so that the tags are meaningless.
        remarks: how much of an incomplete recording was kept, and whether the channels cancel in their mean.
        embeddings: embeddings of the segments, float32 [segments, size]; None if the Tagger computes none.
    """

    task: Task
    over_time: np.ndarray
    starts: np.ndarray
    samples: int
    silent: bool = False
    remarks: Remarks = field(default_factory=Remarks)
    embeddings: np.ndarray | None = None

    @property
    def notes(self) -> list[str]:
        """Notes on the recording for the user, usually none."""
        return self.remarks.notes

    @property
    def classes(self) -> tuple[str, ...]:
        return self.task.classes

    @property
    def scores(self) -> np.ndarray:
        """Probabilities of the whole recording, float32 [classes]: the mean over its segments, as in evaluation."""
        return self.over_time.mean(axis=0, dtype=np.float64).astype(np.float32)

    @property
    def embedding_over_time(self) -> np.ndarray:
        """The embedding of each segment, float32 [segments, size].

        Raises:
            UsageError: the Tagger computes none.
        """
        if self.embeddings is None:
            raise UsageError('there are no embeddings; open the Tagger with embedding="hidden" or a block')
        return self.embeddings

    @property
    def embedding(self) -> np.ndarray:
        """The embedding of the whole recording, float32 [size]: the mean over its segments. Raises as above."""
        return self.embedding_over_time.mean(axis=0, dtype=np.float64).astype(np.float32)

    @property
    def times(self) -> np.ndarray:
        """Start of each segment in seconds, float64 [segments]."""
        return self.starts / self.task.sample_rate

    @property
    def ends(self) -> np.ndarray:
        """End of each segment in seconds, float64 [segments], without the padding of a recording shorter than a
        window.
        """
        return np.minimum(self.starts + self.task.window, self.samples) / self.task.sample_rate

    @property
    def seconds(self) -> float:
        """Length of the recording in seconds."""
        return self.samples / self.task.sample_rate

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable classes with their probabilities, best first."""
        if count < 1:
            raise UsageError(f"top must be 1 or more, not {count}")
        return ranked(self.scores, self.classes)[:count]

    def above(self, threshold: float | None = None) -> list[tuple[str, float]]:
        """The classes with a probability above a threshold (None: the task's threshold of each class), best first."""
        limits = dict(zip(self.classes, self.task.class_thresholds, strict=True))
        return [
            (name, score)
            for name, score in ranked(self.scores, self.classes)
            if score > (limits[name] if threshold is None else threshold)
        ]

    def events(
        self,
        threshold: float | Mapping[str, float] | None = None,
        *,
        smooth: int = 1,
        smoothing: Smoothing = "median",
        hysteresis: float = 1.0,
        max_gap: float = 0.0,
        min_seconds: float = 0.0,
        refractory: float = 0.0,
    ) -> list[Event]:
        """The events of all classes, sorted by start. Arguments: see `events.EventRules`.

        Overlapping windows (`Tagger(hop=...)`) locate events more precisely: each score applies to the time around the
        centre of its window (`events.window_bounds`). A silent recording has no events, and neither have the classes
        `_background_` and `_unknown_`, which mean that none of the other classes is present.

        Raises:
            UsageError: a value out of range, or a threshold for an unknown class.

        Example:
            >>> tags = samplecnn.Tagger("log/20261122_101500-sounds-se_multi")("hum.wav")
            >>> (event,) = tags.events(0.5, smooth=5, max_gap=0.3)
            >>> event.label, event.start, event.end
            ('hum', 0.0, 3.0)
        """
        return self.events_by(EventRules(threshold, smooth, smoothing, hysteresis, max_gap, min_seconds, refractory))

    def events_by(self, rules: EventRules) -> list[Event]:
        """`events` with its arguments as `EventRules`."""
        limits = rules.thresholds(self.classes, self.task.class_thresholds)
        if self.silent:
            return []
        found = find_events(self.over_time, window_bounds(self.times, self.ends), self.classes, limits, rules)
        return [event for event in found if event.label not in (BACKGROUND, UNKNOWN)]


def ranked(scores: np.ndarray, classes: tuple[str, ...]) -> list[tuple[str, float]]:
    """(class, score) pairs, best first; equal scores are in class order."""
    return [(classes[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")]
