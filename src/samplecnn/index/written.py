"""Files whose tags `index write-tags` has changed, until the table of files knows them as they are now.

A line of JSON for each, added once the file is changed. An interrupted run leaves the list, and the next one, or the
next update, takes it over: these files are not run through the model again.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from samplecnn import parsing
from samplecnn.errors import SampleCNNError
from samplecnn.index.changes import stamp_of
from samplecnn.index.digests import content_hash
from samplecnn.index.file_list import Stamp, path_bytes, rows_of
from samplecnn.index.rewrite import TableChanges, rewrite, table_paths
from samplecnn.index.settings import IndexSettings

NAME = "written.jsonl"
_WHOLE = parsing.whole(-(1 << 62), 1 << 62)
_RULE = parsing.fields({"path": parsing.file_name(), "size": _WHOLE, "mtime_ns": _WHOLE, "sha256": parsing.text(64)})


class WrittenFiles:
    """The list in an index's folder; the caller holds the lock of the index.

    Args:
        folder: of the index.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._entries = {entry["path"]: entry for entry in _read(self.path)}
        self._stamps = {os.path.realpath(path): _stamp(entry) for path, entry in self._entries.items()}
        self._file: IO[str] | None = None

    def has(self, path: str, stamp: Stamp) -> bool:
        """Whether a file, which links may lead to, is as its tags were written."""
        return self._stamps.get(os.path.realpath(path)) == stamp

    def add(self, path: str) -> None:
        """Lists a file of the index as it is now."""
        stamp = stamp_of(path)
        if stamp is None:
            return
        entry = {"path": path, "size": stamp.size, "mtime_ns": stamp.mtime_ns, "sha256": content_hash(path)}
        self._entries[path], self._stamps[os.path.realpath(path)] = entry, stamp
        if self._file is None:
            self._file = self.path.open("a", encoding="ascii")
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def apply(self, settings: IndexSettings) -> None:
        """Brings the table up to date and removes the list. Files that were changed since are as before: changed."""
        if self._file is not None:
            self._file.close()
        entries = [entry for path, entry in self._entries.items() if stamp_of(path) == _stamp(entry)]
        folder, changes = self.path.parent, TableChanges()
        if entries:
            paths = pa.array([path_bytes(entry["path"]) for entry in entries], pa.large_binary())
            rows = rows_of(paths, table_paths(folder, settings))
            for row, entry in zip(rows.tolist(), entries, strict=True):
                if row >= 0:
                    changes.change(row, _stamp(entry), sha256=entry["sha256"])
        if changes:
            rewrite(folder, settings, changes)
        self.path.unlink(missing_ok=True)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a list, up to the first one that is cut off or damaged; none where there is no list."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                entry = parsing.parse_object(line, str(path), "", _RULE)
                os.stat(entry["path"])  # noqa: PTH116 - says whether it can be a path
            except OSError:  # gone, and one day perhaps there again
                pass
            except (SampleCNNError, ValueError):
                return
            yield entry


def _stamp(entry: dict[str, Any]) -> Stamp:
    return Stamp(entry["size"], entry["mtime_ns"])
