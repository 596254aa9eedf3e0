"""Reads back what an interrupted run has written."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import IO

from samplecnn import parsing
from samplecnn.errors import SampleCNNError
from samplecnn.system.csv_cells import csv_rows
from samplecnn.tagging.writers import CsvWriter, Selection

FILE_NAME_ERRORS = "surrogateescape"  # error handler: bytes of file names that are not UTF-8 are kept
_LINE_RULE = parsing.fields(
    {"path": parsing.file_name(), "error": parsing.file_name(), "tags": parsing.table_of(parsing.number(0, 1))},
    optional=["error", "tags"],
)


@dataclass
class Done:
    """What an interrupted run has written: the error of every file ("" if none), and the size in bytes."""

    errors: dict[str, str] = field(default_factory=dict)
    size: int = 0


def read_done_lines(file: IO[bytes], selection: Selection, classes: tuple[str, ...]) -> Done | None:
    """The complete lines of a JSON lines file; None if it was written with other options or by another model."""
    done = Done()
    for line in file:
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            parsing.check(record, _LINE_RULE, "", "")
        except (ValueError, RecursionError, SampleCNNError):
            return None
        path, error, tags = record["path"], record.get("error", ""), record.get("tags", {})
        valid = set(tags) <= set(classes) if selection.is_partial else set(tags) == set(classes)
        if not error and not (
            valid
            and ("over_time" in record) == selection.over_time
            and ("events" in record) == (selection.events is not None)
        ):
            return None
        done.errors[path] = error
        done.size += len(line)
    return done


def read_done_csv(
    file: IO[bytes], kind: type[CsvWriter], selection: Selection, classes: tuple[str, ...]
) -> Done | None:
    """The rows of a CSV file without those of its last recording, which may be incomplete; None as above."""
    done, read, before = Done(), 0, 0
    last: str | None = None

    def lines() -> Iterator[str]:
        nonlocal read
        for line in file:
            if not line.endswith(b"\n"):
                return
            read += len(line)
            yield line.decode(errors=FILE_NAME_ERRORS)

    header = kind.header(selection, classes)
    error_column = header.index("error")
    rows = csv_rows(lines())
    for number in count():
        try:
            row = next(rows)
        except (StopIteration, csv.Error):  # the rest is written again
            break
        if number == 0:
            if row != header:
                return None
        elif len(row) != len(header):
            break
        else:
            if row[0] != last:
                last, done.size = row[0], before
            done.errors[row[0]] = row[error_column]
        before = read
    if last is None:
        return Done()
    del done.errors[last]
    return done
