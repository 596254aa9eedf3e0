"""Where tags go: to the standard output, or to a file that appears when it is whole and is resumable until then."""

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from samplecnn import parsing
from samplecnn.errors import UsageError
from samplecnn.system.files import STDOUT, is_regular, naming, target_of, write_json
from samplecnn.system.locks import locked
from samplecnn.system.log import PlainTerminal
from samplecnn.tagging.done import NAMES, Done, csv_done, lines_done
from samplecnn.tagging.writers import CsvWriter, Selection, Writer

NAMES_OR_ESCAPES = "samplecnn-names-or-escapes"  # and what the encoding of a terminal lacks is escaped


def _encoded(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    parts = (char.encode("ascii", NAMES if "\udc80" <= char <= "\udcff" else "backslashreplace") for char in lacking)
    return b"".join(parts), error.end


codecs.register_error(NAMES_OR_ESCAPES, _encoded)

REMEDY = "delete it, or leave --resume out"
SETTINGS = {  # a rule for each field of Settings
    "engine": parsing.text(200),
    "precision": parsing.text(200),
    "hop": parsing.or_null(parsing.number(0)),
    "model": parsing.text(200),
    "top": parsing.or_null(parsing.whole(1, 1 << 31)),
    "threshold": parsing.or_null(parsing.number(0, 1)),
    "over_time": parsing.or_null(parsing.flag()),
    "notes": parsing.flag(),
    "events": parsing.text(1 << 20),
}
_SETTINGS_RULE = parsing.fields(SETTINGS, optional=set(SETTINGS) - {"engine", "precision"})


@dataclass(frozen=True)
class Settings:
    """What decides the rows of an output: all of it must be the same where an interrupted run is resumed.

    Args:
        engine, precision: in use.
        hop: seconds between windows; None is the window.
        model: SHA-256 of the model's file; "" where it is not known.
        top, threshold, over_time: as in `Selection`; over_time is None in the notes of earlier versions.
        notes: as in `Selection`: whether damaged recordings are tagged as far as they can be decoded.
        events: the rules of events as JSON; "" without events.
    """

    engine: str
    precision: str
    hop: float | None = None
    model: str = ""
    top: int | None = None
    threshold: float | None = None
    over_time: bool | None = None
    notes: bool = False
    events: str = ""

    def about(self) -> dict[str, Any]:
        """What readers of an output should know."""
        about = {"engine": self.engine, "precision": self.precision, "hop": self.hop}
        return {key: value for key, value in about.items() if value is not None}

    def resumed_with(self, asked: "Settings") -> tuple[str, str]:
        """Engine and precision with which an interrupted run continues; "auto" is what it used.

        Raises:
            UsageError: another model, or other options.
        """
        engine = self.engine if asked.engine == "auto" else asked.engine
        precision = self.precision if asked.precision == "auto" else asked.precision
        if self.model and asked.model and self.model != asked.model:
            raise UsageError(
                f"the interrupted run used another model (SHA-256 {self.model[:12]}, not {asked.model[:12]}); "
                "pass the same one, or leave --resume out"
            )
        known = replace(asked, engine=engine, precision=precision, model=self.model)
        if self.over_time is None:
            known = replace(known, top=None, threshold=None, over_time=None)
        if known != self:
            raise UsageError(
                f"the interrupted run used {self._options()}; pass the same options, or leave --resume out"
            )
        return engine, precision

    def _options(self) -> str:
        options = f"--engine {self.engine} --precision {self.precision}"
        for name, value in (("hop", self.hop), ("top", self.top), ("threshold", self.threshold)):
            options += f" --{name} {value:g}" if value is not None else ""
        absent = [f"--{name}" for name in ("hop", "top", "threshold") if getattr(self, name) is None]
        options += " --over-time" if self.over_time else ""
        options += " --accept-truncated" if self.notes else ""
        options += f" --events with {self.events}" if self.events else ""
        return options + (f" and no {', '.join(absent)}" if absent else "")


class Output:
    """The place of the tags, reserved for this process (`reserved`).

    Args:
        name: as the user gave it; None and "-" are the standard output.
        kind: of writer.
        keep: what is of use half-written is kept if the work breaks off.

    Attributes:
        part: the file that tags are gathered in until they are whole; None where they go out as they come, to the
            standard output or into a FIFO or device.
    """

    def __init__(self, name: str | Path | None, kind: type[Writer], keep: bool = True) -> None:
        self.name, self.kind = STDOUT if name is None else name, kind
        self.keep = keep and kind.streams
        self.target = target_of(self.name) if is_regular(self.name) else None
        self.part = part_of(self.target) if self.target else None

    @property
    def is_stdout(self) -> bool:
        return str(self.name) == STDOUT

    def settings(self) -> Settings | None:
        """What an interrupted run noted in OUTPUT.part.json; None where nothing is noted.

        Raises:
            UsageError: the note is damaged.
        """
        if not self._note.exists():
            return None
        values = parsing.read_object(self._note, REMEDY, _SETTINGS_RULE, UsageError)
        return Settings(**{name: values[name] for name in SETTINGS if name in values})

    def read_done(self, selection: Selection, classes: tuple[str, ...]) -> Done:
        """What OUTPUT.part holds of an interrupted run; nothing where there is no such file.

        A last entry that was cut off is left out, to be made again.

        Raises:
            UsageError: the format cannot be resumed, or the file was written with other options or by another model.
        """
        if not self.kind.streams:
            raise UsageError(
                "only jsonl and csv files can be resumed; leave --resume out, or choose one of these formats"
            )
        if self.part is None:
            raise UsageError(f"--resume requires a regular file as --output, not {self.name}")
        parsing.require_file(self.part, REMEDY, UsageError)
        with self.part.open("rb") as file:
            done = (
                csv_done(file, self.kind, selection, classes)
                if issubclass(self.kind, CsvWriter)
                else lines_done(file, selection, classes)
            )
        if done is None:
            raise UsageError(
                f"{self.part}: written with other options or by another model; delete it, or leave --resume out"
            )
        return done

    @contextmanager
    def opened(self, done: Done, settings: Settings | None = None) -> Iterator[IO[Any]]:
        """A text file to write to, or a binary one (`Writer.binary`).

        A file grows in OUTPUT.part, after what is already `done`, and is renamed when the block ends well. If the work
        breaks off, formats that are of use half-written (`Writer.streams`) stay there, the settings in a file next to
        it; all others leave nothing behind.
        """
        if self.is_stdout:
            reconfigure: Any = getattr(sys.stdout, "reconfigure", None)
            if reconfigure:
                reconfigure(errors=NAMES_OR_ESCAPES)
            text: Any = PlainTerminal(sys.stdout) if sys.stdout.isatty() else sys.stdout
            yield sys.stdout.buffer if self.kind.binary else text
            sys.stdout.flush()
        elif self.part is None or self.target is None:
            with naming(self.name), Path(self.name).open("w" + self._mode, **self._encoding) as file:
                yield file
        else:
            if settings is not None and self.kind.streams:
                write_json(self._note, asdict(settings))
            with naming(self.target), self.part.open("r+" + self._mode, **self._encoding) as file:
                file.truncate(done.size)
                file.seek(0, os.SEEK_END)
                yield file
                file.flush()
                os.fsync(file.fileno())
            self.part.replace(self.target)
            self._note.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes a part that holds nothing of use."""
        if self.part is not None and (not self.keep or _is_empty(self.part)):
            self.part.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    @property
    def _mode(self) -> str:
        return "b" if self.kind.binary else ""

    @property
    def _encoding(self) -> dict[str, Any]:
        return {} if self.kind.binary else {"encoding": "utf-8", "errors": NAMES, "newline": ""}

    @property
    def _note(self) -> Path:
        return Path(f"{self.part}.json")


@contextmanager
def reserved(name: str | Path | None, kind: type[Writer], keep: bool = True) -> Iterator[Output]:
    """Keeps every other process from writing the same output. Arguments: `Output`.

    Raises:
        UsageError: another process is writing it, or it is a folder.
    """
    output = Output(name, kind, keep)
    if output.part is None:
        yield output
        return
    output.part.parent.mkdir(parents=True, exist_ok=True)
    with locked(output.part, f"{name}: another `samplecnn tag` is writing it; wait for it, or name another file"):
        try:
            yield output
        finally:
            output.clear()


def part_of(output: str | Path) -> Path:
    """The file that tags are gathered in until they are whole."""
    return Path(f"{os.fspath(output)}.part")


def _is_empty(path: Path) -> bool:
    return path.exists() and path.stat().st_size == 0
