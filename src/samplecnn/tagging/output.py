"""Output of tags: to stdout, or to a file that is written atomically and resumable if interrupted."""

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
from samplecnn.tagging.done import FILE_NAME_ERRORS, Done, read_done_csv, read_done_lines
from samplecnn.tagging.writers import CsvWriter, Selection, Writer

# Error handler for terminals: bytes of file names are kept, characters missing in the encoding are escaped.
TERMINAL_ERRORS = "samplecnn-names-or-escapes"


def _encoded(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    parts = (
        char.encode("ascii", FILE_NAME_ERRORS if "\udc80" <= char <= "\udcff" else "backslashreplace")
        for char in lacking
    )
    return b"".join(parts), error.end


codecs.register_error(TERMINAL_ERRORS, _encoded)

REMEDY = "delete it, or omit --resume"
SETTINGS = {  # validation rules of the fields of Settings
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
    """Everything that determines the rows of an output; it must be the same when an interrupted run is resumed.

    Args:
        engine, precision: those in use.
        hop: seconds between windows; None: the window.
        model: SHA-256 of the model's file; "" if unknown.
        top, threshold, over_time: see `Selection`; over_time is None in files of earlier versions.
        notes: see `Selection`: whether the decodable part of damaged recordings is tagged.
        events: the event rules as JSON; "" without events.
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
        """Metadata for readers of the output."""
        about = {"engine": self.engine, "precision": self.precision, "hop": self.hop}
        return {key: value for key, value in about.items() if value is not None}

    def resumed_with(self, asked: "Settings") -> tuple[str, str]:
        """Engine and precision to continue an interrupted run with; "auto" resolves to those it used.

        Raises:
            UsageError: another model, or other options.
        """
        engine = self.engine if asked.engine == "auto" else asked.engine
        precision = self.precision if asked.precision == "auto" else asked.precision
        if self.model and asked.model and self.model != asked.model:
            raise UsageError(
                f"the interrupted run used another model (SHA-256 {self.model[:12]}, not {asked.model[:12]}); "
                "pass the same one, or omit --resume"
            )
        known = replace(asked, engine=engine, precision=precision, model=self.model)
        if self.over_time is None:
            known = replace(known, top=None, threshold=None, over_time=None)
        if known != self:
            raise UsageError(f"the interrupted run used {self._options()}; pass the same options, or omit --resume")
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
    """The destination of the tags, locked for this process (`reserve`).

    Args:
        name: as given by the user; None and "-" are the standard output.
        kind: class of the writer.
        keep: whether partial output of a resumable format is kept after an interruption.

    Attributes:
        part: the file that tags are written to until the output is complete; None if they are streamed, to stdout, a
            FIFO or a device.
    """

    def __init__(self, name: str | Path | None, kind: type[Writer], keep: bool = True) -> None:
        self.name, self.kind = STDOUT if name is None else name, kind
        self.keep = keep and kind.resumable
        self.target = target_of(self.name) if is_regular(self.name) else None
        self.part = part_of(self.target) if self.target else None

    @property
    def is_stdout(self) -> bool:
        return str(self.name) == STDOUT

    def settings(self) -> Settings | None:
        """The settings of an interrupted run, read from OUTPUT.part.json; None without that file.

        Raises:
            UsageError: the file is damaged.
        """
        if not self._settings_file.exists():
            return None
        values = parsing.read_object(self._settings_file, REMEDY, _SETTINGS_RULE, UsageError)
        return Settings(**{name: values[name] for name in SETTINGS if name in values})

    def read_done(self, selection: Selection, classes: tuple[str, ...]) -> Done:
        """Reads what an interrupted run has written to OUTPUT.part; an empty `Done` without that file.

        An incomplete last entry is ignored and will be written again.

        Raises:
            UsageError: the format cannot be resumed, or the file was written with other options or by another model.
        """
        if not self.kind.resumable:
            raise UsageError("only jsonl and csv files can be resumed; omit --resume, or use one of these formats")
        if self.part is None:
            raise UsageError(f"--resume requires a regular file as --output, not {self.name}")
        parsing.require_file(self.part, REMEDY, UsageError)
        with self.part.open("rb") as file:
            done = (
                read_done_csv(file, self.kind, selection, classes)
                if issubclass(self.kind, CsvWriter)
                else read_done_lines(file, selection, classes)
            )
        if done is None:
            raise UsageError(
                f"{self.part}: written with other options or by another model; delete it, or omit --resume"
            )
        return done

    @contextmanager
    def open(self, done: Done, settings: Settings | None = None) -> Iterator[IO[Any]]:
        """Opens a text file to write to, or a binary one (`Writer.binary`).

        OUTPUT.part is written, after what is already `done`, and renamed if the block succeeds. After an interruption
        resumable formats (`Writer.resumable`) remain there, with their settings in a file next to it; all others are
        removed.
        """
        if self.is_stdout:
            reconfigure: Any = getattr(sys.stdout, "reconfigure", None)
            if reconfigure:
                reconfigure(errors=TERMINAL_ERRORS)
            text: Any = PlainTerminal(sys.stdout) if sys.stdout.isatty() else sys.stdout
            yield sys.stdout.buffer if self.kind.binary else text
            sys.stdout.flush()
        elif self.part is None or self.target is None:
            with naming(self.name), Path(self.name).open("w" + self._mode, **self._encoding) as file:
                yield file
        else:
            if settings is not None and self.kind.resumable:
                with naming(self.target):
                    write_json(self._settings_file, asdict(settings))
            with naming(self.target), self.part.open("r+" + self._mode, **self._encoding) as file:
                file.truncate(done.size)
                file.seek(0, os.SEEK_END)
                yield file
                file.flush()
                os.fsync(file.fileno())
            self.part.replace(self.target)
            self._settings_file.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes a part that is empty or not to be kept."""
        if self.part is not None and (not self.keep or _is_empty(self.part)):
            self.part.unlink(missing_ok=True)
            self._settings_file.unlink(missing_ok=True)

    @property
    def _mode(self) -> str:
        return "b" if self.kind.binary else ""

    @property
    def _encoding(self) -> dict[str, Any]:
        return {} if self.kind.binary else {"encoding": "utf-8", "errors": FILE_NAME_ERRORS, "newline": ""}

    @property
    def _settings_file(self) -> Path:
        return Path(f"{self.part}.json")


@contextmanager
def reserve(name: str | Path | None, kind: type[Writer], keep: bool = True) -> Iterator[Output]:
    """Locks an output against other processes. Arguments: see `Output`.

    Raises:
        UsageError: another process is writing it, or it is a folder.
    """
    output = Output(name, kind, keep)
    if output.part is None:
        yield output
        return
    output.part.parent.mkdir(parents=True, exist_ok=True)
    with locked(output.part, f"{name}: another `samplecnn tag` is writing it; wait for it, or use another file"):
        try:
            yield output
        finally:
            output.clear()


def part_of(output: str | Path) -> Path:
    """The file that tags are written to until the output is complete."""
    return Path(f"{os.fspath(output)}.part")


def _is_empty(path: Path) -> bool:
    return path.exists() and path.stat().st_size == 0
