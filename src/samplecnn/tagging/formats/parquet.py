"""Tags as Parquet, for example for pandas, Polars and DuckDB."""

import json
from typing import Any

import numpy as np

from samplecnn.errors import AudioError
from samplecnn.tagging.writers import Outcome, Writer, column_names, reason, spans

GROUP_CELLS = 1 << 19  # approximate number of cells of a row group


class ParquetWriter(Writer):
    """The columns of CSV with types: path, error and class names as strings, times as float64, scores as float32.

    One row per event (path, start, end, class, score) with events, per window with `over_time`, else per recording.
    Empty cells of CSV are null. The metadata key "samplecnn" holds the provenance as JSON.
    """

    binary = True
    describes_itself = True

    def begin(self, resuming: bool) -> None:
        import pyarrow
        from pyarrow import parquet

        fixed: list[Any] = [("path", pyarrow.string())]
        timed = self.selection.over_time or self.selection.events is not None
        fixed += [("start", pyarrow.float64()), ("end", pyarrow.float64())] if timed else []
        fixed += [("seconds", pyarrow.float64()), ("error", pyarrow.string()), ("silent", pyarrow.bool_())]
        fixed += [("notes", pyarrow.string())] if self.selection.notes else []
        if self.selection.events is not None:
            scores: list[Any] = [("class", pyarrow.string()), ("score", pyarrow.float32())]
        else:
            names = column_names([name for name, _ in fixed], self.classes)
            scores = [(name, pyarrow.float32()) for name in names]
        about = json.dumps({**self.about, "classes": list(self.classes)})
        self.schema = pyarrow.schema([*fixed, *scores], metadata={"samplecnn": about})
        self.parquet = parquet.ParquetWriter(self.file, self.schema, compression="zstd")
        self.columns: list[list[Any]] = [[] for _ in self.schema]

    def write(self, path: str, outcome: Outcome) -> None:
        for row in self._rows(path, outcome):
            for column, value in zip(self.columns, row, strict=True):
                column.append(value)
        if len(self.columns[0]) * len(self.columns) >= GROUP_CELLS:
            self._flush()

    def _rows(self, path: str, outcome: Outcome) -> list[list[Any]]:
        events = self.selection.events is not None
        timed = self.selection.over_time or events
        name = path.encode("utf-8", "backslashreplace").decode()
        nothing = [None] * (2 if events else len(self.classes))
        if isinstance(outcome, AudioError):
            why = reason(path, outcome).encode("utf-8", "backslashreplace").decode()
            empty = [None] if self.selection.notes else []
            return [[name, *([None, None] if timed else []), None, why, None, *empty, *nothing]]
        notes = ["; ".join(outcome.notes) or None] if self.selection.notes else []
        fixed = [outcome.seconds, None, outcome.silent, *notes]
        if events:
            found = self.selection.events_of(outcome)
            rows = [[name, event.start, event.end, *fixed, event.label, event.score] for event in found]
            return rows or [[name, None, None, *fixed, *nothing]]
        if timed:
            starts, ends = spans(outcome)
            return [
                [name, start, end, *fixed, *self._scores(scores)]
                for start, end, scores in zip(starts, ends, outcome.over_time, strict=True)
            ]
        return [[name, *fixed, *self._scores(outcome.scores)]]

    def _scores(self, scores: np.ndarray) -> list[float | None]:
        if not self.selection.is_partial:
            return scores.tolist()  # type: ignore[no-any-return]
        chosen = dict(self.selection.of(scores, self.classes))
        return [chosen.get(name) for name in self.classes]

    def _flush(self) -> None:
        import pyarrow

        arrays = [pyarrow.array(column, field.type) for column, field in zip(self.columns, self.schema, strict=True)]
        self.parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=self.schema))
        self.columns = [[] for _ in self.schema]

    def end(self) -> None:
        if self.columns[0]:
            self._flush()
        self.parquet.close()

    def abandon(self) -> None:
        self.parquet.is_open = False  # else its destructor would write to a closed file
