"""The part of an update that runs the model: files that are new or have changed, unless their content is known."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np

from samplecnn.audio import stream
from samplecnn.index.changes import Known, Plan, content_hash, key, stamp_of
from samplecnn.index.entry import Entry, Stamp
from samplecnn.index.journal import Journal
from samplecnn.index.parts import PART_BYTES, part_file, write_part
from samplecnn.index.report import UpdateReport
from samplecnn.index.settings import IndexSettings
from samplecnn.index.table import Change
from samplecnn.system import log
from samplecnn.system.native_messages import attributed, caught
from samplecnn.system.progress import Progress
from samplecnn.system.read_ahead import map_ahead
from samplecnn.tagging.tag_files import MAX_REREAD_FILES, engine_line
from samplecnn.tagging.tagger import Tagger
from samplecnn.tagging.tags import Tags


@dataclass
class Work:
    """What is to be done with the candidates of a plan, decided one after the other by their content.

    Attributes:
        changed: rows of the table that get another stamp.
        moved: rows whose files are now under another path.
        added: rows for files whose content is that of another row.
        copies: files (path, stamp) whose content is that of a file of this update, and that file's path.
    """

    known: Known
    todo: Plan
    retry: bool
    report: UpdateReport
    changed: dict[int, Change | None] = field(default_factory=dict)
    moved: set[int] = field(default_factory=set)
    added: list[Change] = field(default_factory=list)
    copies: list[tuple[str, Stamp, str]] = field(default_factory=list)
    in_progress: deque[tuple[str, Stamp, str]] = field(default_factory=deque)
    gone: set[int] = field(default_factory=set)  # rows whose files are not there

    def unknown(self, done: Callable[[], None]) -> Iterator[str]:
        """The files that are to be run through the model; `done` is called for each of the others.

        Files are read ahead in a thread for their hashes, so that the decoder finds them in the system's cache.
        """
        self.gone = set(self.todo.gone.values()) | set(np.flatnonzero(self.known.deleted).tolist())
        hashes = self.known.hashes(self.retry, self.gone)
        shared, seen = self.todo.shared_sizes, dict[bytes, str]()
        with closing(map_ahead(_read, self.todo.candidates.items(), 1)) as files:
            for path, stamp, digest in files:
                row = self.known.rows.get(path)
                if digest and self._is_known(path, stamp, digest, row, hashes):
                    done()
                    continue
                if digest and key(digest) in seen:
                    self.copies.append((path, stamp, seen[key(digest)]))
                    self.report.copies += 1
                    done()
                    continue
                if digest and stamp.size in shared:
                    seen[key(digest)] = path
                if row is None or self.known.deleted[row]:
                    self.report.new += 1
                else:
                    self.report.changed += 1
                self.in_progress.append((path, stamp, digest))
                yield path

    def _is_known(self, path: str, stamp: Stamp, digest: str, row: int | None, hashes: dict[bytes, int]) -> bool:
        if row is not None and self.known.sha256(row) == digest and not (self.retry and self.known.failed[row]):
            self.changed[row] = Change(row, path, *stamp)
            self.report.touched += 1
            return True
        source = hashes.get(key(digest))
        if source is None:
            return False
        self.added.append(Change(source, path, *stamp))
        if source in self.gone and source not in self.moved:
            self.moved.add(source)
            self.report.moved += 1
        else:
            self.report.copies += 1
        return True


def _read(candidate: tuple[str, Stamp]) -> tuple[str, Stamp, str]:
    """A file's path, its stamp before it was read, and the hash of its content."""
    path, stamp = candidate
    return path, stamp_of(path) or stamp, content_hash(path)


class Pass:
    """Runs the model on what is unknown and writes it to the journal and to parts. A context manager.

    Args:
        folder: of the index.
        settings: its settings.
        number: of the next part.
        work: decides what is unknown.
    """

    def __init__(self, folder: Path, settings: IndexSettings, number: int, work: Work) -> None:
        self.folder, self.settings, self.number, self.work = folder, settings, number, work
        self.entries: list[Entry] = []
        self.bytes = self.kept = 0
        self.journal: Journal | None = None

    def __enter__(self) -> "Pass":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.seal()
            return
        with suppress(OSError):  # on a full disk the journal holds them until the next update
            self.seal()
        if self.kept:
            log.report(f"{self.kept:,} files are done and kept; continue with the same command")

    def add(self, entry: Entry) -> None:
        if self.journal is None:
            self.journal = Journal(part_file(self.folder, "journal", self.number))
        self.journal.add(entry)
        self.entries.append(entry)
        self.bytes += entry.bytes
        self.kept += 1
        if self.bytes >= PART_BYTES:
            self.seal()

    def seal(self) -> None:
        """Makes a part of what is in the journal."""
        if self.journal is None:
            return
        self.journal.close()
        write_part(self.folder, self.number, self.entries, self.settings)
        self.journal.path.unlink()
        self.journal, self.entries, self.bytes = None, [], 0
        self.number += 1

    def tag(self, opened: Callable[[list[str]], Tagger]) -> None:
        """Runs the model, which `opened` opens for the candidates once there is something for it to do."""
        candidates = self.work.todo.candidates
        with Progress(total=len(candidates), description="index", unit="files") as bar:
            unknown = self.work.unknown(bar.advance)
            with closing(unknown):  # type: ignore[type-var]
                first = next(unknown, None)
                if first is not None:
                    with caught() as messages:
                        tagger = opened(list(candidates))
                        tagger.messages = messages
                        log.note(engine_line(tagger))
                        self._tag(tagger, chain([first], unknown), bar)

    def _tag(self, tagger: Tagger, paths: Iterator[str], bar: Progress) -> None:
        report, seconds = self.work.report.tagged, 0.0
        engine = f"{tagger.engine.name} {tagger.engine.precision}"
        for path, outcome in tagger.tag_files(paths):
            known, stamp, digest = self.work.in_progress.popleft()
            assert known == path
            self.add(Entry.of(known, stamp, digest, engine, outcome))
            report.add(known, outcome)
            seconds += outcome.seconds if isinstance(outcome, Tags) else 0
            failed = f", {len(report.failed):,} failed" if report.failed else ""
            bar.advance(note=f"{seconds / max(bar.elapsed, 1e-9):,.0f}x real time{failed}")

        def decode(name: str) -> None:
            deque(stream(name, tagger.task.sample_rate, None, self.settings.accept_truncated), maxlen=0)

        report.messages = attributed(tagger.messages, decode, MAX_REREAD_FILES)
