"""Brings the table of an index's files up to date, a group of rows at a time."""

from array import array
from collections.abc import Mapping
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import compute

from samplecnn.index.file_list import PathColumn, Stamp
from samplecnn.index.journal import read_journal
from samplecnn.index.part_writer import FILE_ROWS, files_writer, write_part
from samplecnn.index.parts import (
    FILES,
    FIXED,
    escaped,
    files_schema,
    part_file,
    part_numbers,
    raw_path,
    remove_leftovers,
)
from samplecnn.index.settings import IndexSettings
from samplecnn.index.table import FileRows, file_groups, path_column, read_files

KEPT, DROPPED = -1, -2  # what becomes of a row that has no change


class TableChanges:
    """How rows of the table become others, as columns: about 40 bytes a change, and the path of an added row.

    A row is changed in place (`change`), left out (`drop`), or is the source of a further one (`add`).
    """

    def __init__(self) -> None:
        self.sources, self.sizes, self.times = array("q"), array("q"), array("q")
        self.deleted = array("b")
        self.added = array("q")  # number of the path among those of added rows; -1: changed in place
        self.paths = PathColumn()  # of added rows
        self.dropped = array("q")
        self.hashes: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.sources) + len(self.dropped)

    def change(self, row: int, stamp: Stamp, deleted: bool = False, sha256: str | None = None) -> None:
        """The file of a row has another stamp, is deleted or restored, or has other content (`sha256`)."""
        if sha256 is not None:
            self.hashes[len(self.sources)] = sha256
        self._append(row, stamp, deleted, -1)

    def add(self, source: int, path: str, stamp: Stamp) -> None:
        """There is another file with the content of row `source`."""
        self._append(source, stamp, False, len(self.paths))
        self.paths.add(path)

    def drop(self, row: int) -> None:
        self.dropped.append(row)

    def _append(self, row: int, stamp: Stamp, deleted: bool, added: int) -> None:
        self.sources.append(row)
        self.sizes.append(stamp.size)
        self.times.append(stamp.mtime_ns)
        self.deleted.append(deleted)
        self.added.append(added)

    def path(self, number: int) -> str | None:
        """The path of the row that change `number` adds; None for one that changes a row in place."""
        at = self.added[number]
        return None if at < 0 else self.paths[at]


def recover(folder: Path, settings: IndexSettings) -> None:
    """Completes what an interrupted update has left: its journal becomes a part, its parts go into files.parquet.

    The caller holds the lock of the index.
    """
    _, following = read_files(folder, settings, ["part"])
    for number in part_numbers(folder, "journal"):
        if number >= following:
            seal_journal(folder, number, settings)
    if part_numbers(folder, "files"):
        rewrite(folder, settings, TableChanges())
    table, following = read_files(folder, settings, ["part"])
    remove_leftovers(folder, following, set(table["part"].drop_null().unique().to_pylist()))


def seal_journal(folder: Path, number: int, settings: IndexSettings) -> None:
    """Makes a part of the recordings in a journal, if there are any."""
    path = part_file(folder, "journal", number)
    entries = read_journal(path, settings.task.num_classes, settings.embedding_size)
    first = next(entries, None)
    if first is not None:
        write_part(folder, number, chain([first], entries), settings)


def table_paths(folder: Path, settings: IndexSettings) -> pa.Array:
    """The path of every row, large_binary [files]."""
    groups = [path_column(group) for group in file_groups(folder, settings, ["path", "raw_path"])]
    return pa.concat_arrays(groups) if groups else pa.array([], pa.large_binary())


def rewrite(
    folder: Path,
    settings: IndexSettings,
    changes: TableChanges,
    columns: Mapping[str, np.ndarray] | None = None,
    following: int | None = None,
) -> None:
    """Replaces files.parquet, in the order of paths; of several rows for a path the last one stays.

    Args:
        folder: of the index; the caller holds its lock.
        settings: its settings.
        changes: of the rows as they are.
        columns: replace columns of the table, by name, int64 [files]; -1 is null.
        following: number of the next part; None: of the one after those that are there.
    """
    source, change = _order(table_paths(folder, settings), changes)
    old = FileRows(folder, settings)
    following = following or old.following
    with files_writer(folder / FILES, files_schema(settings, following)) as writer:
        for first, end in pairwise([*range(0, len(source), FILE_ROWS), len(source)]):
            rows = old.take(source[first:end])
            for name, column in (columns or {}).items():
                values = column[source[first:end]]
                rows = _with(rows, name, pa.array(values, dict(FIXED)[name], mask=values < 0))
            writer.add(_changed(rows, change[first:end], changes))
        old.close()
    for number in part_numbers(folder, "files"):
        if number < following:
            part_file(folder, "files", number).unlink(missing_ok=True)


def _order(paths: pa.Array, changes: TableChanges) -> tuple[np.ndarray, np.ndarray]:
    """For each row of the new table the number of the old one, and of its change or KEPT; int64 [rows]."""
    change = np.full(len(paths), KEPT)
    change[np.array(changes.dropped, np.int64)] = DROPPED
    is_added = np.array(changes.added, np.int64) >= 0
    sources = np.array(changes.sources, np.int64)
    change[sources[~is_added]] = np.flatnonzero(~is_added)
    change = np.concatenate([change, np.flatnonzero(is_added)])
    source = np.concatenate([np.arange(len(paths)), sources[is_added]])
    paths = pa.concat_arrays([paths, changes.paths.array()])
    kept = change != DROPPED
    if not kept.all():
        paths, change, source = paths.filter(pa.array(kept)), change[kept], source[kept]
    order = compute.array_sort_indices(paths)  # stable: the last one of equal paths is the newest
    paths = paths.take(order)
    last = np.ones(len(paths), bool)
    last[:-1] = compute.not_equal(paths.slice(0, max(len(paths) - 1, 0)), paths.slice(1)).to_numpy(zero_copy_only=False)
    chosen = order.to_numpy()[last]
    return source[chosen], change[chosen]


def _changed(rows: pa.Table, change: np.ndarray, changes: TableChanges) -> pa.Table:
    """Rows with their changes, numbers of `changes` or KEPT."""
    places = np.flatnonzero(change >= 0).tolist()
    if not places:
        return rows
    names = ("path", "raw_path", "size", "mtime_ns", "deleted", "sha256")
    columns = {name: rows[name].to_pylist() for name in names}
    for place in places:
        number = int(change[place])
        path = changes.path(number)
        if path is not None:
            columns["path"][place], columns["raw_path"][place] = escaped(path), raw_path(path)
        columns["size"][place], columns["mtime_ns"][place] = changes.sizes[number], changes.times[number]
        columns["deleted"][place] = bool(changes.deleted[number])
        if number in changes.hashes:
            columns["sha256"][place] = changes.hashes[number]
    for name, values in columns.items():
        rows = _with(rows, name, pa.array(values, dict(FIXED)[name]))
    return rows


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, values)
