"""What an interrupted run has written, read back from its file."""

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

NAMES = "surrogateescape"  # file names that are not UTF-8 are written byte by byte
_LINE_RULE = parsing.fields(
    {"path": parsing.file_name(), "error": parsing.file_name(), "tags": parsing.table_of(parsing.number(0, 1))},
    optional=["error", "tags"],
)


@dataclass
class Done:
    """What an interrupted run has written: the error of every file in it ("" for none), and its size in bytes."""

    errors: dict[str, str] = field(default_factory=dict)
    size: int = 0


def lines_done(file: IO[bytes], selection: Selection, classes: tuple[str, ...]) -> Done | None:
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
        fits = set(tags) <= set(classes) if selection.some else set(tags) == set(classes)
        if not error and not (
            fits
            and ("over_time" in record) == selection.over_time
            and ("events" in record) == (selection.events is not None)
        ):
            return None
        done.errors[path] = error
        done.size += len(line)
    return done


def csv_done(file: IO[bytes], kind: type[CsvWriter], selection: Selection, classes: tuple[str, ...]) -> Done | None:
    """Without the last file's rows, of which some may be missing."""
    done, read, before = Done(), 0, 0
    last: str | None = None

    def lines() -> Iterator[str]:
        nonlocal read
        for line in file:
            if not line.endswith(b"\n"):
                return
            read += len(line)
            yield line.decode(errors=NAMES)

    wanted = kind.header(selection, classes)
    error_column = wanted.index("error")
    rows = csv_rows(lines())
    for place in count():
        try:
            row = next(rows)
        except (StopIteration, csv.Error):  # what follows is made again
            break
        if place == 0:
            if row != wanted:
                return None
        elif len(row) != len(wanted):
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
