"""Writers of output formats for tags. All write a recording as soon as it is tagged."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np

from samplecnn.errors import AudioError
from samplecnn.system.csv_cells import csv_row
from samplecnn.system.log import json_text, one_line
from samplecnn.tagging.events import Event, EventRules
from samplecnn.tagging.tags import Tags, ranked

Outcome = Tags | AudioError

DIGITS = 6  # decimals; a float32 probability has no more significant ones
TABLE_TOP = 5  # classes shown in a table by default


@dataclass(frozen=True)
class Selection:
    """Which scores to show: the `top` best, those above `threshold`, both, or all; and whether to include those of
    every segment.

    With `events`, formats that otherwise show scores show the events by these rules. `notes` adds a column to CSV for
    notes on a recording; JSON and tables always show notes.
    """

    top: int | None = None
    threshold: float | None = None
    over_time: bool = False
    notes: bool = False
    events: EventRules | None = None

    @property
    def is_partial(self) -> bool:
        """Whether scores may be omitted."""
        return self.top is not None or self.threshold is not None

    def of(self, scores: np.ndarray, classes: tuple[str, ...]) -> list[tuple[str, float]]:
        """(class, score) pairs, best first."""
        chosen = ranked(scores, classes)
        if self.threshold is not None:
            chosen = [(name, score) for name, score in chosen if score > self.threshold]
        return chosen if self.top is None else chosen[: self.top]

    def events_of(self, tags: Tags) -> list[Event]:
        """The events of a recording: by `events`, else by `threshold` alone; of the recording's `top` classes only."""
        events = tags.events_by(self.events or EventRules(self.threshold))
        if self.top is None:
            return events
        best = {name for name, _ in tags.top(self.top)}
        return [event for event in events if event.label in best]


class Writer:
    """Writes the tags of recordings to a text file; for a recording that could not be used, its error.

    Args:
        file: open for text.
        selection: which scores to show.
        classes: the model's classes, in order.
        about: metadata for readers of the file: names of the model and the task, engine, precision.
        paths: all paths that will be written, if known, for the column width of a table.
        resuming: whether the file already contains what `begin` writes.
    """

    resumable = False  # whether partial output is usable and can be continued
    binary = False  # whether the file must be opened in binary mode
    describes_itself = False  # whether the file contains the metadata; formats without comments cannot

    def __init__(
        self,
        file: IO[str],
        selection: Selection,
        classes: tuple[str, ...],
        about: dict[str, Any] | None = None,
        paths: Sequence[str] = (),
        resuming: bool = False,
    ) -> None:
        self.file, self.selection, self.classes, self.about, self.paths = file, selection, classes, about or {}, paths
        self.begin(resuming)

    def begin(self, resuming: bool) -> None:
        """Writes what comes before the first recording, unless `resuming`."""

    def write(self, path: str, outcome: Outcome) -> None:
        """Writes one recording."""
        raise NotImplementedError

    def has(self, path: str) -> bool:
        """Whether a recording has been written by an interrupted run, whose partial output is kept."""
        return False

    def end(self) -> None:
        """Writes what comes after the last recording."""

    def abandon(self) -> None:
        """Called instead of `end` after an error or interruption."""


def shortened(text: str, longest: int | None) -> str:
    """A text without its middle if it is longer than `longest`; None: no limit.

    Example:
        >>> shortened("recordings/of/a/garden.wav", 13), shortened("garden.wav", 13)
        ('record…en.wav', 'garden.wav')
    """
    if longest is None or len(text) <= longest:
        return text
    kept = max(longest - 1, 2)
    return f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"


class TableWriter(Writer):
    """Aligned text, one line per recording, segment or event: path, then the best classes.

    On a terminal, paths are padded up to half of its width, and one that is wider than the terminal is shortened.
    """

    def begin(self, resuming: bool) -> None:
        self.path_width = max((len(one_line(path)) for path in self.paths), default=0)
        self.longest: int | None = None
        if self.file.isatty():
            self.longest = shutil.get_terminal_size().columns
            self.path_width = min(self.path_width, self.longest // 2)
        self.class_width = max(len(one_line(name)) for name in self.classes)
        if not self.selection.is_partial and self.selection.events is None:
            self.selection = replace(self.selection, top=TABLE_TOP)

    def write(self, path: str, outcome: Outcome) -> None:
        if isinstance(outcome, AudioError):
            self._line(path, f"error: {one_line(reason(path, outcome))}")
        elif self.selection.events is not None:
            events = self.selection.events_of(outcome)
            for event in events:
                times = f"{event.start:9.2f} s {event.end:9.2f} s"
                self._line(path, f"{times}  {event.score:.3f} {one_line(event.label)}")
            if not events:
                self._line(path, "–")
        elif self.selection.over_time:
            for time, scores in zip(outcome.times, outcome.over_time, strict=True):
                self._line(path, f"{time:9.2f} s  {self._cells(scores)}")
        else:
            self._line(path, self._cells(outcome.scores))
        if not isinstance(outcome, AudioError):
            for note in outcome.remarks.notes:
                self._line("", f"note: {note}")
        self.file.flush()

    def _line(self, path: str, text: str) -> None:
        name = shortened(one_line(path), self.longest)
        self.file.write(f"{name:<{self.path_width}}  {text}".rstrip() + "\n")

    def _cells(self, scores: np.ndarray) -> str:
        chosen = self.selection.of(scores, self.classes)
        cells = [f"{score:.3f} {one_line(name):<{self.class_width}}" for name, score in chosen]
        return "  ".join(cells) or "–"


class JsonLinesWriter(Writer):
    """One JSON object per recording, one per line: path, seconds and tags (class to score, best first); or path and
    error. "silent" is true if every sample is zero, so that the tags are meaningless, and absent otherwise. "notes" is
    a list of notes on the recording, absent if empty.

    With `over_time`, also a list of segments, each with start, end and tags; with events, a list of events, each with
    start, end, label and score.
    """

    resumable = True

    def write(self, path: str, outcome: Outcome) -> None:
        self.file.write(json_text(self.record(path, outcome)) + "\n")
        self.file.flush()

    def record(self, path: str, outcome: Outcome) -> dict[str, Any]:
        if isinstance(outcome, AudioError):
            return {"path": path, "error": reason(path, outcome)}
        record = {
            "path": path,
            "seconds": round(outcome.seconds, DIGITS),
            **({"silent": True} if outcome.silent else {}),
            "tags": self._tags(outcome.scores),
        }
        if outcome.notes:
            record["notes"] = outcome.notes
        if self.selection.over_time:
            record["over_time"] = [
                {"start": round(start, DIGITS), "end": round(end, DIGITS), "tags": self._tags(scores)}
                for start, end, scores in zip(*spans(outcome), outcome.over_time, strict=True)
            ]
        if self.selection.events is not None:
            record["events"] = [
                {
                    "start": round(event.start, DIGITS),
                    "end": round(event.end, DIGITS),
                    "label": event.label,
                    "score": round(event.score, DIGITS),
                }
                for event in self.selection.events_of(outcome)
            ]
        return record

    def _tags(self, scores: np.ndarray) -> dict[str, float]:
        return {name: round(score, DIGITS) for name, score in self.selection.of(scores, self.classes)}


class JsonWriter(JsonLinesWriter):
    """One JSON object: the model, the task, the classes, and `files`, a list of objects as in JSON lines."""

    resumable = False
    describes_itself = True

    def begin(self, resuming: bool) -> None:
        head = json_text({**self.about, "classes": list(self.classes)})
        self.file.write(f'{head[:-1]}, "files": [')
        self.first = True

    def write(self, path: str, outcome: Outcome) -> None:
        self.file.write(("\n" if self.first else ",\n") + json_text(self.record(path, outcome)))
        self.first = False

    def end(self) -> None:
        self.file.write("\n]}\n")


class CsvWriter(Writer):
    """Columns path, error, silent, then one per class; one row per recording. A class with the name of another column
    is written as "NAME (class)". "silent" is true or false; the tags of a silent recording are meaningless. Texts that
    a spreadsheet would interpret as formulas are escaped (`system.csv_cells`).

    With `over_time`, one row per segment, with columns start and end (seconds) after the path. The cells of scores that
    are not selected are empty.
    """

    resumable = True

    def begin(self, resuming: bool) -> None:
        if not resuming:
            self._row(self.header(self.selection, self.classes))

    @staticmethod
    def header(selection: Selection, classes: tuple[str, ...]) -> list[str]:
        fixed = ["path", *(("start", "end") if selection.over_time else ()), "error", "silent"]
        fixed += ["note"] if selection.notes else []
        return fixed + column_names(fixed, classes)

    def _row(self, values: Sequence[str]) -> None:
        self.file.write(csv_row(values))

    def write(self, path: str, outcome: Outcome) -> None:
        if isinstance(outcome, AudioError):
            times = ["", ""] if self.selection.over_time else []
            self._row([path, *times, reason(path, outcome), "", *self._notes([]), *("" for _ in self.classes)])
        elif self.selection.over_time:
            silent, notes = flag(outcome.silent), self._notes(outcome.notes)
            for start, end, scores in zip(*spans(outcome), outcome.over_time, strict=True):
                self._row([path, f"{start:.3f}", f"{end:.3f}", "", silent, *notes, *self._cells(scores)])
        else:
            self._row([path, "", flag(outcome.silent), *self._notes(outcome.notes), *self._cells(outcome.scores)])
        self.file.flush()

    def _notes(self, notes: list[str]) -> list[str]:
        return ["; ".join(notes)] if self.selection.notes else []

    def _cells(self, scores: np.ndarray) -> list[str]:
        if not self.selection.is_partial:
            return [f"{score:.{DIGITS}f}" for score in scores]
        chosen = dict(self.selection.of(scores, self.classes))
        return [f"{chosen[name]:.{DIGITS}f}" if name in chosen else "" for name in self.classes]


def column_names(fixed: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Column names of the classes, distinct from the fixed columns."""
    return [f"{name} (class)" if name in fixed else name for name in classes]


def spans(tags: Tags) -> tuple[list[float], list[float]]:
    """Start and end of each segment in seconds, without padding."""
    return tags.times.tolist(), tags.ends.tolist()


def reason(path: str, error: AudioError) -> str:
    """The error message without the file name, which is written next to it."""
    return str(error).removeprefix(f"{path}: ")


def flag(value: bool) -> str:
    return "true" if value else "false"
