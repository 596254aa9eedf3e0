"""Which files are new, changed or gone since the last update: by size and time of modification, then by content."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from samplecnn.errors import UsageError
from samplecnn.index.digests import HASH_BYTES, Digests, key
from samplecnn.index.file_list import FileList, Stamp, path_bytes, rows_of
from samplecnn.index.settings import IndexSettings, full_path
from samplecnn.index.table import file_groups, path_column
from samplecnn.recordings import Scan, is_special, listed
from samplecnn.shards.tfrecord.clips import record_files
from samplecnn.sound_file import STDIN
from samplecnn.system import storage

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

    files: FileList
    roots: list[str]
    unreadable: list[str]
    notes: list[str]


def find(paths: Sequence[str | Path]) -> Found:
    """Searches files and folders as `recordings.Scan` does; a named file is taken whatever its suffix.

    Raises:
        UsageError: a path that an index cannot hold: the standard input, a FIFO, TFRecords.
    """
    scan, roots = Scan(), [full_path(path) for path in paths]
    for path in paths:
        if str(path) == STDIN or is_special(path):
            raise UsageError(f"{path}: an index holds files and folders, which can be read again")
        if record_files(path):
            raise UsageError(f"{path}: an index holds recordings, not TFRecords")

    def files() -> Iterator[tuple[str, Stamp]]:
        for root in roots:
            for name in _recordings(scan, root):
                stamp = stamp_of(name)
                if stamp is not None:
                    yield name, stamp

    found = FileList.of(files(), distinct=len(roots) == 1)
    return Found(found, roots, [full_path(folder) for folder, _ in scan.unreadable], scan.notes())


def _recordings(scan: Scan, root: str) -> Iterable[str]:
    if storage.is_remote(root):
        return scan.remote_recordings(root) if storage.is_folder(root) else [root]
    return scan.recordings(root) if Path(root).is_dir() else [root]


def stamp_of(path: str) -> Stamp | None:
    """The size and time of a file; None where there is none."""
    if storage.is_remote(path):
        found = storage.status(path)
        return None if found is None else Stamp(found.st_size, found.st_mtime_ns)
    try:
        status = os.stat(path)  # noqa: PTH116 - for 100,000 files a Path each takes its time
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Known:
    """The files of an index, by row.

    Args:
        files: their paths and stamps.
        deleted, failed: whether the file was gone at the last update, or has an error; bool [files].
        digests: `digests.key` of the content, S16 [files]; empty where it is not known.
    """

    files: FileList
    deleted: np.ndarray
    failed: np.ndarray
    digests: np.ndarray

    @classmethod
    def read(cls, folder: Path, settings: IndexSettings) -> "Known":
        """What an index knows, read in small groups of rows."""
        paths: list[pa.Array] = []
        columns: list[list[np.ndarray]] = []
        for group in file_groups(folder, settings, COLUMNS):
            paths.append(path_column(group))
            hashes = [key(text) if text else b"" for text in group["sha256"].to_pylist()]
            columns.append([
                *(group[name].to_numpy() for name in ("size", "mtime_ns", "deleted")),
                group["error"].is_valid().to_numpy(),
                np.array(hashes, f"S{HASH_BYTES}"),
            ])  # fmt: skip
        kinds: list[np.dtype] = [np.dtype(kind) for kind in (np.int64, np.int64, bool, bool, f"S{HASH_BYTES}")]
        sizes, times, deleted, failed, digests = (
            np.concatenate([np.zeros(0, kind), *(group[number] for group in columns)])
            for number, kind in enumerate(kinds)
        )
        column = pa.concat_arrays(paths) if paths else pa.array([], pa.large_binary())
        return cls(FileList(column, sizes, times), deleted, failed, digests)

    def has_content(self, row: int, digest: bytes) -> bool:
        return bytes(self.digests[row]).ljust(HASH_BYTES, b"\0") == digest

    def contents(self, without_failed: bool, gone: np.ndarray) -> Digests:
        """A row for each content, preferably one whose file is gone.

        Args:
            without_failed: leaves out files that could not be used.
            gone: whether each row's file is not there, bool [files].
        """
        usable = self.digests != b""
        if without_failed:
            usable &= ~self.failed
        rows = np.concatenate([np.flatnonzero(usable & ~gone)[::-1], np.flatnonzero(usable & gone)])
        return Digests(self.digests[rows], rows)


@dataclass(frozen=True)
class Plan:
    """What an update has to do.

    Args:
        candidates: files that are new or have another size or time, in order.
        rows: the index's row of each candidate, -1 for none, int64 [candidates].
        shared: whether another candidate has the same size, so that one may be a copy of the other, bool [candidates].
        restored: rows of files that had been deleted and are there again, int64.
        gone: rows whose files are not there any more, int64.
        unchanged: number of files that are as they were; `failed` of them cannot be used.
    """

    candidates: FileList
    rows: np.ndarray
    shared: np.ndarray
    restored: np.ndarray
    gone: np.ndarray
    unchanged: int
    failed: int


def plan(known: Known, found: Found, retry: bool) -> Plan:
    """Compares the files that were found with those of the index.

    Args:
        known: the index's.
        found: on the disk.
        retry: files that could not be used are candidates again.
    """
    files = found.files
    rows = rows_of(files.paths, known.files.paths)
    there, row = np.flatnonzero(rows >= 0), rows[rows >= 0]
    same = (known.files.sizes[row] == files.sizes[there]) & (known.files.times[row] == files.times[there])
    if retry:
        same &= ~known.failed[row]
    is_candidate = np.ones(len(files), bool)
    is_candidate[there[same]] = False
    as_before = row[same]
    present = np.zeros(len(known.files), bool)
    present[row] = True
    candidates = files.select(np.flatnonzero(is_candidate))
    _, size, count = np.unique(candidates.sizes, return_inverse=True, return_counts=True)
    unchanged = as_before[~known.deleted[as_before]]
    return Plan(
        candidates,
        rows[is_candidate],
        count[size] > 1,
        as_before[known.deleted[as_before]],
        _gone(known.files.paths, np.flatnonzero(~present), found),
        len(unchanged),
        int(known.failed[unchanged].sum()),
    )


def _gone(paths: pa.Array, missing: np.ndarray, found: Found) -> np.ndarray:
    """Those of the missing rows that were searched for."""
    roots, unreadable = ({path_bytes(path) for path in each} for each in (found.roots, found.unreadable))
    searched = [
        row for row in missing.tolist()
        if is_inside(path := paths[row].as_py(), roots) and not is_inside(path, unreadable)
    ]  # fmt: skip
    return np.array(searched, np.int64)


def is_inside(path: bytes, folders: set[bytes]) -> bool:
    """Whether a path is one of some absolute paths, or lies below one; takes time by the path's depth only."""
    while path not in folders:
        parent = os.path.dirname(path)  # noqa: PTH120 - of bytes
        if parent == path:
            return False
        path = parent
    return True


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
        if not storage.local_or_remote_exists(root):
            raise UsageError(f"{path}: no such file or folder; an update without paths marks what was deleted")
    if new and not len(found.files):
        more = f" ({'; '.join(found.notes)})" if found.notes else ""
        raise UsageError(f"{listed(paths)}: no recording there{more}")
