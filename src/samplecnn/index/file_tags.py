"""Tags of an index in the files themselves, and undoing that. The index then knows the files as they are now."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from samplecnn.errors import AudioError, UsageError
from samplecnn.extras import require
from samplecnn.file_tags import read_changes, undo_changes, write_fields
from samplecnn.file_tags.fields import GENRE, MODEL, MOOD, SCORES, TAGS, Fields
from samplecnn.file_tags.journal import Journal
from samplecnn.index.changes import stamp_of
from samplecnn.index.reader import Index
from samplecnn.index.rewrite import recover
from samplecnn.index.written import WrittenFiles
from samplecnn.system import log
from samplecnn.system.locks import locked

HASH_SHOWN = 16  # digits of the model's hash in the field of the model
JOURNALS, UNDONE = "write-tags-{}.jsonl", ".undone"  # names in an index's folder, and what an undone one gets
CHANGED = "it has changed since the index was updated; run `samplecnn index update` first"


@dataclass
class FileTagsReport:
    """What was written into files.

    Args:
        written: path and fields of each file that is changed, in order; with a dry run, of each that would be.
        unchanged: files that have these fields already.
        failed: path and reason of each file that could not be changed.
        journal: the file that undoes it; None: nothing was written.
        earlier: journals of other runs in the index's folder that are not undone, also of killed ones, newest first.
    """

    written: list[tuple[str, Fields]] = field(default_factory=list)
    unchanged: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    journal: Path | None = None
    earlier: list[Path] = field(default_factory=list)


def write_file_tags(
    index: Index,
    rows: Iterable[int],
    *,
    threshold: float | None = None,
    top: int | None = None,
    genre: Sequence[str] = (),
    mood: Sequence[str] = (),
    journal: str | Path | None = None,
    dry_run: bool = False,
) -> FileTagsReport:
    """Writes the tags of files into the files, as fields of their own (`file_tags.fields`).

    Args:
        index: of the files.
        rows: of the files, as `Index.select` gives them.
        threshold: scores above it are tags; None: the model's own for each class.
        top: at most so many tags, the best.
        genre, mood: "CLASS=VALUE", or "CLASS" for the class's name: replaces the genre (mood) of files with this tag.
        journal: gets what was there before, behind what it holds; None: a new file in the index's folder.
        dry_run: nothing is written.

    Raises:
        UsageError: no such class, a journal that is another file, or another process that writes the index.
    """
    require("samplecnn index write-tags", "tags")
    if journal is not None and Path(journal).exists():
        try:
            read_changes(journal)
        except UsageError as error:
            raise UsageError(f"{journal}: exists and is not a journal; name another file for the journal") from error
    values = {GENRE: _named(index, genre, "--genre"), MOOD: _named(index, mood, "--mood")}
    path = Path(journal) if journal is not None else _new_journal(index.folder)
    report = FileTagsReport()
    sizes, times = index.table["size"].to_pylist(), index.table["mtime_ns"].to_pylist()
    with _written_files(index, dry_run) as written, Journal(path) as kept:
        try:
            for row in rows:
                name = index.paths[row]
                if index.failed[row]:
                    continue
                try:
                    stamp = stamp_of(name)
                    known = stamp is None or stamp == (sizes[row], times[row])
                    if stamp is not None and not known and not written.has(name, stamp):
                        raise AudioError(f"{name}: {CHANGED}")
                    fields = _fields(index, row, threshold, top, values)
                    change = write_fields(name, fields, None if dry_run else kept)
                except AudioError as error:
                    report.failed.append((name, str(error).removeprefix(f"{name}: ")))
                    continue
                if change is None:
                    report.unchanged += 1
                else:
                    report.written.append((name, fields))
                if not dry_run and (change is not None or not known):
                    written.add(name)
        except BaseException:
            if kept.count:
                log.report(f"{kept.count:,} files are written; continue with the same command, or use --undo {path}")
            raise
        report.journal = path if kept.count else None
    report.earlier = _not_undone(index.folder, path)
    return report


def undo_file_tags(index: Index, journal: str | Path, dry_run: bool = False) -> FileTagsReport:
    """Gives the fields of files the values that they had, as a journal of `write_file_tags` has them.

    Raises:
        UsageError: not a journal, or another process that writes the index.
    """
    require("samplecnn index write-tags", "tags")
    changes = read_changes(journal)
    report = FileTagsReport()
    path = Path(f"{journal}{UNDONE}")
    with _written_files(index, dry_run) as written, Journal(path) as kept:
        for change, problem in undo_changes(changes, None if dry_run else kept):
            if problem:
                report.failed.append((change.path, problem))
            else:
                report.written.append((change.path, change.before))
                if not dry_run:
                    written.add(change.path)
    return report


def _new_journal(folder: Path) -> Path:
    """A name that no journal has, also if another run began in the same second."""
    moment, number = time.strftime("%Y%m%d-%H%M%S"), 1
    while (path := folder / JOURNALS.format(moment if number == 1 else f"{moment}-{number}")).exists():
        number += 1
    return path


def _not_undone(folder: Path, own: Path) -> list[Path]:
    """Journals in an index's folder, newest first, without those that are undone."""
    found = []
    for path in sorted(folder.glob(JOURNALS.format("*")), key=lambda path: path.stem, reverse=True):
        if path.resolve() == own.resolve() or Path(f"{path}{UNDONE}").exists():
            continue
        with path.open("rb") as file:
            if file.readline().endswith(b"\n"):  # else a crash has cut off its first line, and nothing was changed
                found.append(path)
    return found


def _named(index: Index, given: Sequence[str], option: str) -> dict[str, str]:
    """Values by class."""
    named = {}
    for text in given:
        name, _, value = (text, "", text) if text in index.classes else text.partition("=")
        if name not in index.classes or not value.strip():
            raise UsageError(f"{option} {text}: no class of this index; use CLASS or CLASS=VALUE")
        named[name] = value.strip()
    return named


def _fields(
    index: Index, row: int, threshold: float | None, top: int | None, values: dict[str, dict[str, str]]
) -> Fields:
    limits = index.task.class_thresholds if threshold is None else [threshold] * len(index.classes)
    scores = index.scores[row]
    found = [n for n in scores.argsort(kind="stable")[::-1].tolist() if scores[n] > limits[n]][:top]
    model = Path(index.settings.model).name
    fields: Fields = {
        TAGS: [index.classes[n] for n in found],
        SCORES: ["; ".join(f"{index.classes[n]}={scores[n]:.3f}" for n in found)] if found else [],
        MODEL: [f"{model} {index.settings.model_sha256[:HASH_SHOWN]}".strip()],
    }
    for name, of_class in values.items():
        chosen = list(dict.fromkeys(of_class[label] for label in fields[TAGS] if label in of_class))
        if chosen:  # else what the file has stays
            fields[name] = chosen
    return fields


@contextmanager
def _written_files(index: Index, dry_run: bool) -> Iterator[WrittenFiles]:
    """Yields the list of the files that are changed; after the block the index knows them as they are then."""
    if dry_run:
        yield WrittenFiles(index.folder)
        return
    with locked(index.folder, f"{index.folder}: another `samplecnn index` is writing it; wait for it"):
        written = WrittenFiles(index.folder)
        try:
            yield written
        finally:
            recover(index.folder, index.settings)
            written.apply(index.settings)
