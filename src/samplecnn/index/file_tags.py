"""Tags of an index in the files themselves, and undoing that. The index then knows the files as they are now."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from samplecnn.errors import AudioError, UsageError
from samplecnn.extras import require
from samplecnn.file_tags import read_changes, undo_changes, write_fields
from samplecnn.file_tags.fields import GENRE, MODEL, MOOD, SCORES, TAGS, Fields
from samplecnn.file_tags.journal import Journal
from samplecnn.index.changes import stamp_of
from samplecnn.index.digests import content_hash
from samplecnn.index.file_list import path_bytes, rows_of
from samplecnn.index.reader import Index
from samplecnn.index.rewrite import TableChanges, recover, rewrite, table_paths
from samplecnn.system.locks import locked

HASH_SHOWN = 16  # digits of the model's hash in the field of the model
CHANGED = "it has changed since the index was updated; run `samplecnn index update` first"


@dataclass
class FileTagsReport:
    """What was written into files.

    Args:
        written: path and fields of each file that is changed, in order; with a dry run, of each that would be.
        unchanged: files that have these fields already.
        failed: path and reason of each file that could not be changed.
        journal: the file that undoes it; None: nothing was written.
    """

    written: list[tuple[str, Fields]] = field(default_factory=list)
    unchanged: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    journal: Path | None = None


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
        journal: gets what was there before; None: a new file in the index's folder.
        dry_run: nothing is written.

    Raises:
        UsageError: no such class, or another process that writes the index.
    """
    require("samplecnn index write-tags", "tags")
    if journal is not None and Path(journal).exists():
        raise UsageError(f"{journal}: exists; name another file for the journal")
    values = {GENRE: _named(index, genre, "--genre"), MOOD: _named(index, mood, "--mood")}
    path = Path(journal) if journal is not None else index.folder / time.strftime("write-tags-%Y%m%d-%H%M%S.jsonl")
    report = FileTagsReport()
    sizes, times = index.table["size"].to_pylist(), index.table["mtime_ns"].to_pylist()
    with _keeping_index(index, dry_run) as keep, Journal(path) as kept:
        try:
            for row in rows:
                name = index.paths[row]
                if index.failed[row]:
                    continue
                try:
                    stamp = stamp_of(name)
                    if stamp is not None and (stamp.size, stamp.mtime_ns) != (sizes[row], times[row]):
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
                    keep(name)
        finally:
            report.journal = path if kept.count else None
    return report


def undo_file_tags(index: Index, journal: str | Path, dry_run: bool = False) -> FileTagsReport:
    """Gives the fields of files the values that they had, as a journal of `write_file_tags` has them.

    Raises:
        UsageError: not a journal, or another process that writes the index.
    """
    require("samplecnn index write-tags", "tags")
    changes = read_changes(journal)
    report = FileTagsReport()
    path = Path(f"{journal}.undone")
    with _keeping_index(index, dry_run) as keep, Journal(path) as kept:
        for change, problem in undo_changes(changes, None if dry_run else kept):
            if problem:
                report.failed.append((change.path, problem))
            else:
                report.written.append((change.path, change.before))
                keep(change.path)
    return report


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
def _keeping_index(index: Index, dry_run: bool) -> Iterator[Callable[[str], None]]:
    """Yields a function for each file that was changed; the index then has their size, time and hash."""
    changed: list[str] = []
    if dry_run:
        yield changed.append
        return
    folder, settings = index.folder, index.settings
    with locked(folder, f"{folder}: another `samplecnn index` is writing it; wait for it"):
        try:
            yield changed.append
        finally:
            if changed:
                recover(folder, settings)
                paths = table_paths(folder, settings)
                rows = rows_of(pa.array(map(path_bytes, changed), pa.large_binary()), paths)
                changes = TableChanges()
                for path, row in dict(zip(changed, rows.tolist(), strict=True)).items():
                    stamp = stamp_of(path)
                    if row >= 0 and stamp is not None:
                        changes.change(row, stamp, sha256=content_hash(path))
                rewrite(folder, settings, changes)
