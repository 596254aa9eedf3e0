"""The part of an update that runs the model: files that are new or have changed, unless their content is known."""

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from samplecnn.audio import stream
from samplecnn.index.changes import Known, Plan, stamp_of
from samplecnn.index.digests import Digests, content_hash, key
from samplecnn.index.entry import Entry
from samplecnn.index.file_list import Stamp, rows_of
from samplecnn.index.journal import Journal
from samplecnn.index.parts import PART_BYTES, part_file
from samplecnn.index.report import UpdateReport
from samplecnn.index.rewrite import TableChanges, seal_journal, table_paths
from samplecnn.index.settings import IndexSettings
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
        changes: of the table, for files whose content the index knows.
        moved: whether the file of each row is now under another path, bool [files].
        copies: files with the content of a file of this update: numbers of both candidates, and size and time.
    """

    known: Known
    todo: Plan
    retry: bool
    report: UpdateReport
    changes: TableChanges = field(default_factory=TableChanges)
    copies: array = field(default_factory=lambda: array("q"))  # type: ignore[type-arg]  # four for each
    in_progress: deque[tuple[str, Stamp, str]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.moved = np.zeros(len(self.known.files), bool)
        self.gone = self.known.deleted.copy()  # whether each row's file is not there
        self.gone[self.todo.gone] = True

    def unknown(self, done: Callable[[], None]) -> Iterator[str]:
        """The files that are to be run through the model; `done` is called for each of the others.

        Files are read ahead in a thread for their hashes, so that the decoder finds them in the system's cache.
        """
        contents, seen = self.known.contents(self.retry, self.gone), Digests()
        candidates = self.todo.candidates
        files = ((path, candidates.stamp(number)) for number, path in enumerate(candidates))
        with closing(map_ahead(_read, files, 1)) as read:
            for number, (path, stamp, digest) in enumerate(read):
                row = int(self.todo.rows[number])
                if digest and self._is_known(path, stamp, key(digest), row, contents):
                    done()
                    continue
                first = seen.get(key(digest)) if digest and self.todo.shared[number] else None
                if first is not None:
                    self.copies.extend((number, first, *stamp))
                    self.report.copies += 1
                    done()
                    continue
                if digest and self.todo.shared[number]:
                    seen.add(key(digest), number)
                if row < 0 or self.known.deleted[row]:
                    self.report.new += 1
                else:
                    self.report.changed += 1
                self.in_progress.append((path, stamp, digest))
                yield path

    def _is_known(self, path: str, stamp: Stamp, digest: bytes, row: int, contents: Digests) -> bool:
        if row >= 0 and self.known.has_content(row, digest) and not (self.retry and self.known.failed[row]):
            self.changes.change(row, stamp)
            self.report.touched += 1
            return True
        source = contents.get(digest)
        if source is None:
            return False
        self.changes.add(source, path, stamp)
        if self.gone[source] and not self.moved[source]:
            self.moved[source] = True
            self.changes.drop(source)
            self.report.moved += 1
        else:
            self.report.copies += 1
        return True

    def finish(self, folder: Path, settings: IndexSettings) -> TableChanges:
        """All changes of the table, once the parts of what was run are written."""
        for row in self.todo.restored.tolist():
            self.changes.change(row, self.known.files.stamp(row))
        for row in self.todo.gone.tolist():
            if not self.moved[row] and not self.known.deleted[row]:
                self.changes.change(row, self.known.files.stamp(row), deleted=True)
                self.report.deleted += 1
        if self.copies:
            copies = np.array(self.copies).reshape(-1, 4)
            paths = table_paths(folder, settings)
            newest = paths.take(pa.array(np.arange(len(paths))[::-1]))  # the last row of a path comes first
            sources = len(paths) - 1 - rows_of(self.todo.candidates.paths.take(pa.array(copies[:, 1])), newest)
            for source, (number, _, *stamp) in zip(sources.tolist(), copies.tolist(), strict=True):
                self.changes.add(source, self.todo.candidates[number], Stamp(*stamp))
        return self.changes


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
        self.kept = 0
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
        self.kept += 1
        if self.journal.size >= PART_BYTES:
            self.seal()

    def seal(self) -> None:
        """Makes a part of what is in the journal."""
        if self.journal is None:
            return
        self.journal.close()
        seal_journal(self.folder, self.number, self.settings)
        self.journal.path.unlink()
        self.journal = None
        self.number += 1

    def tag(self, opened: Callable[[Sequence[str]], Tagger]) -> None:
        """Runs the model, which `opened` opens for the candidates once there is something for it to do."""
        candidates = self.work.todo.candidates
        with Progress(total=len(candidates), description="index", unit="files") as bar:
            unknown = self.work.unknown(bar.advance)
            with closing(unknown):  # type: ignore[type-var]
                first = next(unknown, None)
                if first is not None:
                    with caught() as messages:
                        tagger = opened(candidates)
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
            failed = f", {report.counts['failed']:,} failed" if report.failed else ""
            bar.advance(note=f"{seconds / max(bar.elapsed, 1e-9):,.0f}x real time{failed}")

        def decode(name: str) -> None:
            deque(stream(name, tagger.task.sample_rate, None, self.settings.accept_truncated), maxlen=0)

        report.messages = attributed(tagger.messages, decode, MAX_REREAD_FILES)
