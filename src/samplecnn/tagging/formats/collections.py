"""Formats with one file for all recordings and one row per event: long CSV, DCASE, Kaleidoscope."""

import os

from samplecnn.errors import AudioError
from samplecnn.system.csv_cells import csv_row
from samplecnn.system.log import one_line
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.writers import DIGITS, CsvWriter, Outcome, Selection, Writer, flag, reason, spans


class LongCsvWriter(CsvWriter):
    """CSV with one row per class: path, start, end, class, score, error, silent.

    With events, one row per event; with `over_time`, one per window and selected class; else one per selected class of
    the recording. A recording without any, or with an error, has one row with empty class and score.
    """

    @staticmethod
    def header(selection: Selection, classes: tuple[str, ...]) -> list[str]:
        notes = ["note"] if selection.notes else []
        return ["path", "start", "end", "class", "score", "error", "silent", *notes]

    def write(self, path: str, outcome: Outcome) -> None:
        if isinstance(outcome, AudioError):
            self._row([path, "", "", "", "", reason(path, outcome), "", *self._notes([])])
        else:
            end = ["", flag(outcome.silent), *self._notes(outcome.notes)]
            rows = self._scores(outcome) or [(0.0, outcome.seconds, "", None)]
            for start, stop, name, score in rows:
                shown = "" if score is None else f"{score:.{DIGITS}f}"
                self._row([path, f"{start:.3f}", f"{stop:.3f}", name, shown, *end])
        self.file.flush()

    def _scores(self, tags: Tags) -> list[tuple[float, float, str, float | None]]:
        if self.selection.events is not None:
            return [tuple(event) for event in self.selection.events_of(tags)]  # type: ignore[misc]
        timed = [(0.0, tags.seconds, tags.scores)]
        if self.selection.over_time:
            timed = list(zip(*spans(tags), tags.over_time, strict=True))
        return [
            (start, end, name, score)
            for start, end, scores in timed
            for name, score in self.selection.of(scores, self.classes)
        ]


class DcaseWriter(Writer):
    """Events in the format of sed_eval and the DCASE challenges: filename, onset, offset, event_label, tab-separated.

    Recordings without events have no row; failed recordings are reported on stderr only.
    """

    def begin(self, resuming: bool) -> None:
        self.file.write("filename\tonset\toffset\tevent_label\n")

    def write(self, path: str, outcome: Outcome) -> None:
        if isinstance(outcome, AudioError):
            return
        for event in self.selection.events_of(outcome):
            times = f"{event.start:.3f}\t{event.end:.3f}"
            self.file.write(f"{one_line(path)}\t{times}\t{one_line(event.label)}\n")
        self.file.flush()


class KaleidoscopeWriter(Writer):
    """Events in the format of Kaleidoscope. TOP1DIST is a distance, 1 - score: Kaleidoscope sorts it in ascending
    order.
    """

    def begin(self, resuming: bool) -> None:
        folders = [os.path.dirname(os.path.abspath(path)) for path in self.paths]  # noqa: PTH100, PTH120
        self.root = os.path.commonpath(folders) if folders else ""
        self.file.write("INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,TOP1DIST\n")

    def write(self, path: str, outcome: Outcome) -> None:
        if isinstance(outcome, AudioError):
            return
        folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
        inner = os.path.relpath(folder, self.root)
        inner = "" if inner == os.curdir else inner
        for event in self.selection.events_of(outcome):
            times = f"{event.start:.3f}", f"{event.end - event.start:.3f}"
            self.file.write(csv_row([self.root, inner, name, *times, event.label, f"{1 - event.score:.{DIGITS}f}"]))
        self.file.flush()
