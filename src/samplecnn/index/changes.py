"""Which files are new, changed or gone since the last update: by size and time of modification, then by content."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from samplecnn.errors import UsageError
from samplecnn.index.entry import Stamp
from samplecnn.index.settings import full_path
from samplecnn.index.table import Change, paths_of
from samplecnn.recordings import Scan, is_special, listed
from samplecnn.shards.tfrecord.clips import record_files
from samplecnn.sound_file import STDIN

HASH_BYTES = 16  # of a SHA-256 are compared
COLUMNS = ("path", "raw_path", "size", "mtime_ns", "sha256", "error", "deleted")


@dataclass
class Found:
    """The recordings below some roots.

    Args:
        files: absolute path and stamp of each.
        roots: absolute paths that were searched.
        unreadable: folders that could not be searched.
        notes: on what was left out.
    """

    files: dict[str, Stamp]
    roots: list[str]
    unreadable: list[str]
    notes: list[str]


def find(paths: Sequence[str | Path]) -> Found:
    """Searches files and folders as `recordings.Scan` does; a named file is taken whatever its suffix.

    Raises:
        UsageError: a path that an index cannot hold: the standard input, a FIFO, TFRecords.
    """
    scan, files, roots = Scan(), {}, []
    for path in paths:
        if str(path) == STDIN or is_special(path):
            raise UsageError(f"{path}: an index holds files and folders, which can be read again")
        if record_files(path):
            raise UsageError(f"{path}: an index holds recordings, not TFRecords")
        root = full_path(path)
        roots.append(root)
        for name in scan.recordings(root) if Path(root).is_dir() else [root]:
            stamp = stamp_of(name)
            if stamp is not None:
                files[name] = stamp
    return Found(files, roots, [full_path(folder) for folder, _ in scan.unreadable], scan.notes())


def stamp_of(path: str) -> Stamp | None:
    """The size and time of a file; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - for 100,000 files a Path each takes its time
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


@dataclass
class Known:
    """The files of an index as columns, and their rows by path."""

    table: pa.Table
    rows: dict[str, int]
    sizes: np.ndarray
    times: np.ndarray
    deleted: np.ndarray
    failed: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> "Known":
        rows = {path: row for row, path in enumerate(paths_of(table))}
        sizes, times, deleted = (table[name].to_numpy() for name in ("size", "mtime_ns", "deleted"))
        return cls(table, rows, sizes, times, deleted, table["error"].is_valid().to_numpy())

    def sha256(self, row: int) -> str:
        return str(self.table["sha256"][row].as_py())

    def hashes(self, without_failed: bool, gone: set[int]) -> dict[bytes, int]:
        """A row for each content, preferably one whose file is gone.

        Args:
            without_failed: leaves out files that could not be used.
            gone: rows whose files are not there.
        """
        found: dict[bytes, int] = {}
        for row, text in enumerate(self.table["sha256"].to_pylist()):
            if not text or (without_failed and self.failed[row]):
                continue
            if key(text) not in found or row in gone:
                found[key(text)] = row
        return found


def key(sha256: str) -> bytes:
    return bytes.fromhex(sha256)[:HASH_BYTES]


@dataclass
class Plan:
    """What an update has to do.

    Args:
        candidates: files that are new or have another size or time, in order: paths and stamps.
        changed: rows of the table that become others (`table.rewrite`).
        gone: rows whose files are not there any more, by path.
        unchanged: files that are as they were.
        restored: files that had been deleted and are there again.
        failed: files that are as they were and cannot be used.
    """

    candidates: dict[str, Stamp] = field(default_factory=dict)
    changed: dict[int, Change | None] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    unchanged: int = 0
    restored: int = 0
    failed: int = 0

    @property
    def shared_sizes(self) -> set[int]:
        """Sizes of several candidates, which may be copies of one another."""
        counts = Counter(stamp.size for stamp in self.candidates.values())
        return {size for size, count in counts.items() if count > 1}


def plan(known: Known, found: Found, retry: bool) -> Plan:
    """Compares the files that were found with those of the index.

    Args:
        known: the index's.
        found: on the disk.
        retry: files that could not be used are candidates again.
    """
    made = Plan()
    for path, stamp in found.files.items():
        row = known.rows.get(path)
        if row is None or known.sizes[row] != stamp.size or known.times[row] != stamp.mtime_ns:
            made.candidates[path] = stamp
            continue
        if retry and known.failed[row]:
            made.candidates[path] = stamp
        elif known.deleted[row]:
            made.changed[row] = Change(row, path, *stamp)
            made.restored += 1
        else:
            made.unchanged += 1
            made.failed += int(known.failed[row])
    for path, row in known.rows.items():
        if path in found.files or not is_below(path, found.roots) or is_below(path, found.unreadable):
            continue
        made.gone[path] = row
    return made


def is_below(path: str, folders: Sequence[str]) -> bool:
    """Whether a path is one of some paths, or lies below one."""
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)


def content_hash(path: str) -> str:
    """SHA-256 of a file; "" where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def refuse_nothing(found: Found, paths: Sequence[str], new: bool) -> None:
    """Refuses paths that lead nowhere, which are more often a slip than a folder that was deleted as a whole.

    Args:
        found: below the paths.
        paths: as they were given; none: the index's own.
        new: the index is made now, so that without recordings there is nothing to do.

    Raises:
        UsageError: names them.
    """
    for path, root in zip(paths, found.roots, strict=False):
        if not Path(root).exists():
            raise UsageError(f"{path}: no such file or folder; an update without paths marks what was deleted")
    if new and not found.files:
        more = f" ({'; '.join(found.notes)})" if found.notes else ""
        raise UsageError(f"{listed(paths)}: no recording there{more}")
