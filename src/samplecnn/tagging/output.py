"""Where tags go: to stdout, or to a file that appears when it is whole and can be gone on with when it is not."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from samplecnn.errors import UsageError
from samplecnn.files import written_aside
from samplecnn.tagging.writers import CsvWriter, Selection, Writer

NAMES = "surrogateescape"  # file names that are not UTF-8 are written byte by byte


@dataclass
class Done:
    """What an interrupted run has left: the error of every file in it ("" where there was none), in so many bytes."""

    errors: dict[str, str] = field(default_factory=dict)
    size: int = 0


def part_of(output: str | Path) -> Path:
    """The file that tags are gathered in until they are whole."""
    return Path(f"{os.fspath(output)}.part")


@contextmanager
def destination(output: str | Path | None, kind: type[Writer], done: Done) -> Iterator[IO[str]]:
    """A text file to write to.

    stdout where `output` is None. Forms that are of use half-written (`Writer.streams`) grow in OUTPUT.part, after what
    is already `done`, and stay there if the work breaks off; all others then leave nothing behind.
    """
    if output is None:
        reconfigure: Any = getattr(sys.stdout, "reconfigure", None)
        if reconfigure:
            reconfigure(errors=NAMES)
        yield sys.stdout
        sys.stdout.flush()
    elif not kind.streams:
        with written_aside(output) as aside, aside.open("w", encoding="utf-8", errors=NAMES, newline="") as file:
            yield file
    else:
        part = part_of(output)
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("r+" if done.size else "w", encoding="utf-8", errors=NAMES, newline="") as file:
            file.truncate(done.size)
            file.seek(0, os.SEEK_END)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)


def read_done(output: str | Path, kind: type[Writer], selection: Selection, classes: tuple[str, ...]) -> Done:
    """What OUTPUT.part holds of an interrupted run; nothing where there is no such file.

    A last entry that was cut off is left out, to be made again.

    Raises:
        UsageError: the form cannot be gone on with, or the file was written with other options or by another model.
    """
    part = part_of(output)
    if not kind.streams:
        raise UsageError("only jsonl and csv files can be resumed; leave --resume out, or choose one of these formats")
    if not part.exists():
        return Done()
    with part.open("rb") as file:
        done = (
            _csv_done(file, selection, classes)
            if issubclass(kind, CsvWriter)
            else _lines_done(file, selection, classes)
        )
    if done is None:
        raise UsageError(f"{part}: written with other options or by another model; delete it, or leave --resume out")
    return done


def _lines_done(file: IO[bytes], selection: Selection, classes: tuple[str, ...]) -> Done | None:
    done = Done()
    for line in file:
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            path, error, tags = record["path"], record.get("error", ""), record.get("tags", {})
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        fits = set(tags) <= set(classes) if selection.some else set(tags) == set(classes)
        if not error and not (fits and ("over_time" in record) == selection.over_time):
            return None
        done.errors[path] = error
        done.size += len(line)
    return done


def _csv_done(file: IO[bytes], selection: Selection, classes: tuple[str, ...]) -> Done | None:
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

    wanted = CsvWriter.header(selection, classes)
    error_column = wanted.index("error")
    for number, row in enumerate(csv.reader(lines())):
        if number == 0:
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
