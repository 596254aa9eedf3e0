"""A review in progress: events are offered by number, answered, stored and taken back."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.index.review.answers import RELABEL, VERDICTS, Answer, AnswerFile
from samplecnn.index.review.candidates import Order, upcoming
from samplecnn.index.review.state import Review
from samplecnn.system.log import one_line
from samplecnn.tagging.tags import Tags

AHEAD = 3  # events that are offered at once: the page fetches sounds before they are needed
SUGGESTED = 9  # other classes that are offered by a key


@dataclass(frozen=True)
class Span:
    """A stretch of a recording.

    Args:
        rows: files of the index with this content.
        start, end: seconds, with the context.
    """

    rows: list[int]
    start: float
    end: float


class UnknownEvent(UsageError):
    """An event that was never offered."""


class Session:
    """What a reviewer does; safe to use from several threads.

    Args:
        review: the index and its answers; those of `file`.
        file: to which answers are appended.
        names: classes that are offered.
        order: of events.
        context: seconds that are played before and behind an event.
    """

    def __init__(self, review: Review, file: AnswerFile, names: Sequence[str], order: Order, context: float) -> None:
        self.review, self.file, self.names, self.order, self.context = review, file, list(names), order, context
        self._events: list[tuple[str, int]] = []
        self._numbers: dict[tuple[str, int], int] = {}
        self._states: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()

    def overview(self) -> dict[str, Any]:
        """What the page shows around the events; classes without an answer are not counted before they are chosen."""
        review, index = self.review, self.review.index
        with self._lock:
            given = [answer.name for answer in self.file.answers.values()]
            return {
                "index": index.folder.name,
                "model": Path(index.settings.model).name,
                "recordings": len(review.recordings.rows),
                "order": self.order,
                "goal": str(review.goal),
                "all_classes": list(index.classes),
                "classes": [{"class": name, "answers": given.count(name)} for name in self.names],
            }

    def of_class(self, name: str) -> dict[str, Any]:
        """The state of a class and the next events of it.

        Raises:
            UsageError: a class that is not offered.
        """
        with self._lock:
            self._require(name)
            review = self.review
            if name not in self._states:
                self._states[name] = review.state(name).to_dict()
            state = self._states[name]
            threshold = state["threshold"]
            limit = self._default(name) if threshold is None else threshold["threshold"]
            done = {position for position, _ in review.of_class(name)}
            positions = upcoming(review.peaks(name), done, self.order, limit, AHEAD)
            return {"state": state, "events": [self._described(name, position) for position in positions]}

    def answer(self, event: int, verdict: str, label: str | None = None) -> dict[str, Any]:
        """Stores an answer, and gives what `of_class` gives.

        Raises:
            UsageError: no such event, verdict or class.
        """
        with self._lock:
            name, position = self._event(event)
            classes = self.review.index.classes
            if verdict not in VERDICTS:
                raise UsageError(f"an answer is {', '.join(VERDICTS[:-1])} or {VERDICTS[-1]}")
            if (verdict == RELABEL) != (label is not None) or (label is not None and label not in classes):
                raise UsageError("relabel, and nothing else, needs another class of the model")
            if label == name:
                raise UsageError(f"the event was offered as {name}; accept it instead")
            peaks, review = self.review.peaks(name), self.review
            recording = int(peaks.recording[position])
            self.file.add(
                Answer(
                    name,
                    verdict,
                    review.recordings.hashes[recording],
                    round(float(peaks.start[position]), 6),
                    round(float(peaks.end[position]), 6),
                    label,
                    review.index.paths[review.recordings.rows[recording][0]],
                    round(float(peaks.score[position]), 6),
                    self.order,
                    datetime.now(UTC).isoformat(timespec="seconds"),
                )
            )
            self._states.pop(name, None)
            return self.of_class(name)

    def undo(self) -> dict[str, Any]:
        """Takes the last answer back; its event is offered again, first.

        Raises:
            UsageError: there is none.
        """
        with self._lock:
            last = next(reversed(self.file.answers.values()), None)
            if last is None:
                raise UsageError("there is no answer to undo")
            self.file.undo()
            self._states.pop(last.name, None)
            name = last.name if last.name in self.names else self.names[0]
            found = self.of_class(name)
            position = self.review.position(last) if last.name == name else None
            if position is not None:
                again = self._described(name, position)
                rest = [event for event in found["events"] if event["event"] != again["event"]]
                found["events"] = [again, *rest][:AHEAD]
            return {**found, "undone": {"class": last.name, "answer": last.verdict, "label": last.label}}

    def span(self, event: int) -> Span:
        """Where an event is heard."""
        with self._lock:
            name, position = self._event(event)
            peaks = self.review.peaks(name)
            rows = self.review.recordings.rows[int(peaks.recording[position])]
            start, end = float(peaks.start[position]), float(peaks.end[position])
            length = float(self.review.index.table["seconds"][rows[0]].as_py())
            return Span(rows, max(start - self.context, 0.0), min(end + self.context, length))

    def _require(self, name: str) -> None:
        if name not in self.names:
            raise UsageError("no such class here")

    def _default(self, name: str) -> float:
        return self.review.index.task.class_thresholds[self.review.index.classes.index(name)]

    def _event(self, number: int) -> tuple[str, int]:
        if not 0 <= number < len(self._events):
            raise UnknownEvent(f"event {number} has not been offered; reload the page")
        return self._events[number]

    def _described(self, name: str, position: int) -> dict[str, Any]:
        key = name, position
        if key not in self._numbers:
            self._numbers[key] = len(self._events)
            self._events.append(key)
        number, index, peaks = self._numbers[key], self.review.index, self.review.peaks(name)
        span, start = self.span(number), float(peaks.start[position])
        path = Path(index.paths[span.rows[0]])
        return {
            "event": number,
            "class": name,
            "score": round(float(peaks.score[position]), 4),
            "start": start,
            "end": float(peaks.end[position]),
            "from": span.start,
            "to": span.end,
            "file": one_line(path.name),
            "folder": one_line(path.parent.name),
            "suggestions": self._others(span.rows[0], name, start),
        }

    def _others(self, row: int, name: str, start: float) -> list[dict[str, Any]]:
        """The other classes with the highest scores in the same window."""
        index = self.review.index
        tags = index.outcome(row)
        assert isinstance(tags, Tags)
        window = int(np.abs(tags.starts / index.task.sample_rate - start).argmin())
        scores = tags.over_time[window]
        best = [number for number in np.argsort(-scores, kind="stable") if index.classes[number] != name][:SUGGESTED]
        return [{"class": index.classes[number], "score": round(float(scores[number]), 4)} for number in best]
