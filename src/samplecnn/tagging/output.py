"""Where tags go: to stdout, or to a file that appears when it is whole and can be gone on with when it is not."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from samplecnn.errors import UsageError
from samplecnn.system.files import write_json, written_aside
from samplecnn.tagging.writers import CsvWriter, Selection, Writer

NAMES = "surrogateescape"  # file names that are not UTF-8 are written byte by byte


@dataclass
class Done:
    """What an interrupted run has left: the error of every file in it ("" where there was none), in so many bytes."""

    errors: dict[str, str] = field(default_factory=dict)
    size: int = 0


@dataclass(frozen=True)
class Settings:
    """What the tags in a file come from: an engine, its precision, and the seconds between windows (None: a window)."""

    engine: str
    precision: str
    hop: float | None = None

    def about(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    def taken_up(self, engine: str, precision: str, hop: float | None) -> tuple[str, str]:
        """Engine and precision with which to go on where these are asked for; "auto" is what it was begun with.

        Raises:
            UsageError: where something else is asked for.
        """
        asked = Settings(
            self.engine if engine == "auto" else engine, self.precision if precision == "auto" else precision, hop
        )
        if asked != self:
            begun = f"--engine {self.engine} --precision {self.precision}"
            begun += f" --hop {self.hop:g}" if self.hop is not None else " and no --hop"
            raise UsageError(f"what is to be resumed was begun with {begun}; go on so, or leave --resume out")
        return asked.engine, asked.precision


def settings_of(output: str | Path) -> Settings | None:
    """What an interrupted run noted beside OUTPUT.part; None where nothing is noted."""
    try:
        return Settings(**json.loads(_noted(output).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _noted(output: str | Path) -> Path:
    return Path(f"{part_of(output)}.json")


def part_of(output: str | Path) -> Path:
    """The file that tags are gathered in until they are whole."""
    return Path(f"{os.fspath(output)}.part")


@contextmanager
def destination(
    output: str | Path | None, kind: type[Writer], done: Done, settings: Settings | None = None
) -> Iterator[IO[str]]:
    """A text file to write to.

    stdout where `output` is None. Forms that are of use half-written (`Writer.streams`) grow in OUTPUT.part, after what
    is already `done`, and stay there if the work breaks off, the settings noted beside it; all others then leave
    nothing behind.
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
        if settings is not None:
            write_json(_noted(output), asdict(settings))
        with part.open("r+" if done.size else "w", encoding="utf-8", errors=NAMES, newline="") as file:
            file.truncate(done.size)
            file.seek(0, os.SEEK_END)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)
        _noted(output).unlink(missing_ok=True)


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
