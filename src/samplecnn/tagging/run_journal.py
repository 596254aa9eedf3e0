"""Keeps what a run has tagged until all of its outputs are complete, so that an interrupted run is continued.

Outputs such as Parquet cannot be continued, and several outputs end at different recordings. So the journal holds
each recording's tags themselves, float32 as the model gave them; a run that continues writes its outputs from them.

A frame is a header (`FRAME`: lengths of JSON and of raw bytes, CRC-32 of both) and these two. The first one describes
the run; reading stops at the first frame that is cut off or damaged.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from samplecnn import parsing
from samplecnn.errors import CONTINUE, SampleCNNError, UsageError, add_remedy
from samplecnn.system import log, storage
from samplecnn.system.files import naming
from samplecnn.system.locks import is_free, locked
from samplecnn.tagging import outcome_data
from samplecnn.tagging.output import SETTINGS, Settings
from samplecnn.tagging.writers import Outcome
from samplecnn.task import Task

NAME = "unfinished.tags"
FRAME = struct.Struct("<III")
REMEDY = "delete it, and omit --resume"
_RUN = parsing.fields(
    {
        "settings": parsing.fields(SETTINGS),
        "classes": parsing.list_of(parsing.text(10_000)),
        "embedding": parsing.text(200),
    }
)
_ENTRY = parsing.fields(
    {
        "path": parsing.file_name(),
        "size": parsing.whole(0, 1 << 62),
        "mtime_ns": parsing.whole(-(1 << 63), 1 << 63),
        **outcome_data.FIELDS,
    }
)


class RunJournal:
    """The journal of a run; see `open_journal`.

    Args:
        path: of the file, which the caller has locked.
        resume: continues the run that it is of.

    Attributes:
        settings: of the run that is continued; None: a new run.
        same_outputs: whether documents that are there were written by the same options.
        kept: the frames of recordings that are unchanged, by path: offset and lengths.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self.settings: Settings | None = None
        self.same_outputs = False
        self.kept: dict[str, tuple[dict[str, Any], int, int]] = {}
        self._file: IO[bytes] = path.open("r+b")
        self._run: dict[str, Any] = {}
        self._outputs: list[str] = []
        self._begun = False
        self._end = 0
        self._stamps: dict[str, tuple[int, int]] = {}
        if resume:
            self._read()

    def _read(self) -> None:
        for values, raw_at, raw_length in self._frames():
            if not self._run:
                parsing.check(values, _RUN, str(self.path), REMEDY, UsageError)
                self._run = values
                self.settings = Settings(**{name: values["settings"][name] for name in SETTINGS})
            elif "outputs" in values:
                self._outputs.append(str(values["outputs"]))
            else:
                parsing.check(values, _ENTRY, str(self.path), REMEDY, UsageError)
                if _stamp(values["path"]) == (values["size"], values["mtime_ns"]):
                    self.kept[values["path"]] = (values, raw_at, raw_length)
                else:
                    self.kept.pop(values["path"], None)
        if self.settings is None:
            raise UsageError(f"{self.path}: not the journal of an interrupted run; {REMEDY}")

    def _frames(self) -> Iterator[tuple[dict[str, Any], int, int]]:
        size = self.path.stat().st_size
        self._file.seek(0)
        while True:
            head = self._file.read(FRAME.size)
            if len(head) < FRAME.size:
                return
            text_length, raw_length, crc = FRAME.unpack(head)
            at = self._file.tell()
            if at + text_length + raw_length > size:
                return
            text = self._file.read(text_length)
            raw = self._file.read(raw_length)
            if zlib.crc32(raw, zlib.crc32(text)) != crc:
                return
            try:
                values = json.loads(text)
            except (ValueError, RecursionError):
                return
            if not isinstance(values, dict):
                return
            self._end = at + text_length + raw_length
            yield values, at + text_length, raw_length
            self._file.seek(self._end)

    def begin(
        self, settings: Settings, classes: tuple[str, ...], embedding: str, outputs: str, files: list[str]
    ) -> None:
        """Starts or continues the run.

        Args:
            settings: with the engine and precision in use.
            classes: of the model.
            embedding: the layer of embeddings; "" without.
            outputs: everything else that decides what is written.
            files: of the run.

        Raises:
            UsageError: the interrupted run was of other classes or embeddings.
        """
        run = {"settings": asdict(settings), "classes": list(classes), "embedding": embedding}
        if self._run and {**run, "settings": {}} != {**self._run, "settings": {}}:
            layer = self._run["embedding"]
            used = f"--embedding-layer {layer}" if layer else "no --embeddings"
            raise UsageError(f"the interrupted run used {used} and its own model; pass the same, or omit --resume")
        self._begun = True
        self._file.seek(self._end)
        self._file.truncate()
        self.same_outputs = all(each == outputs for each in self._outputs)
        if not self._run:
            self._append(run)
            self._run = run
        if not self._outputs or not self.same_outputs:
            self._append({"outputs": outputs})
        wanted = set(files)
        self.kept = {path: entry for path, entry in self.kept.items() if path in wanted}
        for file in files:
            stamp = None if file in self.kept else _stamp(file)
            if stamp is not None:
                self._stamps[file] = stamp

    @property
    def holds_run(self) -> bool:
        """Whether a run can be continued from it."""
        return bool(self._run)

    @property
    def broken(self) -> bool:
        """Whether a run was begun and could not be written, so that nothing is left to continue."""
        return self._begun and not self._run

    def add(self, path: str, outcome: Outcome) -> None:
        """Keeps the tags of a recording, or its error."""
        stamp = self._stamps.pop(path, None)
        if stamp is None:  # a pipe: it is read again
            return
        values, raw = outcome_data.to_data(outcome)
        self._append({"path": path, "size": stamp[0], "mtime_ns": stamp[1], **values}, raw)

    def outcome(self, path: str, task: Task) -> Outcome:
        """What was kept of a recording.

        Raises:
            SampleCNNError: the journal has been changed meanwhile.
        """
        values, at, length = self.kept[path]
        here = self._file.tell()
        self._file.seek(at)
        raw = self._file.read(length)
        self._file.seek(here)
        try:
            return outcome_data.from_data(values, raw, task)
        except ValueError as error:
            raise SampleCNNError(f"{self.path}: damaged; {REMEDY}") from error

    def _append(self, values: dict[str, Any], raw: bytes = b"") -> None:
        text = json.dumps(values).encode()
        with naming(self.path):
            self._file.write(FRAME.pack(len(text), len(raw), zlib.crc32(raw, zlib.crc32(text))) + text + raw)
            self._file.flush()

    def close(self) -> None:
        with suppress(OSError):  # a full disk again; it was reported when the frame was written
            self._file.close()


@contextmanager
def open_journal(path: Path | None, resume: bool, overwrite: bool) -> Iterator[RunJournal | None]:
    """The journal of a run, locked. It is removed when the block succeeds, and kept for `resume` otherwise.

    Args:
        path: of the file; None: the run is not kept.
        resume: continues the run that it is of.
        overwrite: starts again, where there is one.

    Raises:
        UsageError: there is no run to continue, or one that would be lost.
    """
    if path is None:
        yield None
        return
    there = path.exists()
    if there and not resume and not overwrite and is_free(path) is not False:
        raise UsageError(f"{path}: an interrupted run; continue it with --resume, or delete this file to start again")
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path, f"{path}: another `samplecnn tag` is writing there; wait for it, or use another folder"):
        journal = None
        try:
            journal = RunJournal(path, resume)
            yield journal
            path.unlink()
        except BaseException as error:
            if path.exists() and (path.stat().st_size == 0 or (journal is not None and journal.broken)):
                path.unlink()  # there is nothing to continue
            elif isinstance(error, OSError) and journal is not None and journal.holds_run:
                add_remedy(error, CONTINUE)
            raise
        finally:
            if journal is not None:
                journal.close()


def kept_note(journal: RunJournal, files: int) -> None:
    """Says how much of an interrupted run is kept."""
    kept = len(journal.kept)
    log.note(f"continued: {kept:,} of {files:,} files are kept as they were, {files - kept:,} are left")


def _stamp(path: str) -> tuple[int, int] | None:
    """Size and time of a regular file."""
    if storage.is_remote(path):
        found = storage.status(path)
        return None if found is None else (found.st_size, found.st_mtime_ns)
    try:
        status = os.stat(path)  # noqa: PTH116 - of 100,000 files
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns) if os.path.isfile(path) else None  # noqa: PTH113
