"""The table of an index's files, read in one consistent state: as a whole, or in small groups of rows."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from samplecnn import parsing
from samplecnn.errors import UsageError
from samplecnn.index.file_list import path_text
from samplecnn.index.parts import FILES, files_schema, part_file, part_numbers
from samplecnn.index.settings import IndexSettings

ATTEMPTS = 5  # at reading a state that an update replaces meanwhile
GROUPS = 2  # row groups that `FileRows` keeps in memory
DAMAGED = "damaged; update the index again after removing this file, or make a new index"
_ABOUT = parsing.fields({"next": parsing.whole(1, 1 << 31)})


def read_files(folder: Path, settings: IndexSettings, columns: Sequence[str] | None = None) -> tuple[pa.Table, int]:
    """The files of an index and the number of the next part.

    Args:
        folder: of the index.
        settings: its settings.
        columns: to read; None: all.

    Raises:
        UsageError: a file of the index is damaged.
    """
    files, following = open_files(folder, settings)
    if files:
        return pa.concat_tables([_read(file, path, None, columns) for path, file in files]), following
    names = [name for name in files_schema(settings, 1).names if columns is None or name in columns]
    return files_schema(settings, 1).empty_table().select(names), following


def file_groups(folder: Path, settings: IndexSettings, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Some columns of `read_files` in groups of rows. Errors: as there."""
    for path, file in open_files(folder, settings)[0]:
        for group in range(file.num_row_groups):
            yield _read(file, path, group, columns)


def open_files(folder: Path, settings: IndexSettings) -> tuple[list[tuple[Path, parquet.ParquetFile]], int]:
    """The files of one state, open, and the number of the next part. Errors: as `read_files`."""
    for _ in range(ATTEMPTS):
        numbers = part_numbers(folder, "files")
        following, files = 1, []
        base = folder / FILES
        try:
            if base.exists():
                file, following = _open(base, settings)
                files.append((base, file))
            for number in numbers:
                if number >= following:
                    path = part_file(folder, "files", number)
                    files.append((path, _open(path, settings)[0]))
        except FileNotFoundError:  # an update has just finished
            continue
        return files, max([following, *(number + 1 for number in numbers)])
    raise UsageError(f"{folder}: an update keeps changing the index; run the command again once it has finished")


def _open(path: Path, settings: IndexSettings) -> tuple[parquet.ParquetFile, int]:
    try:
        file = parquet.ParquetFile(path)
        found = file.schema_arrow
        about = parsing.parse_object(
            (found.metadata or {}).get(b"samplecnn", b""), str(path), DAMAGED, _ABOUT, UsageError
        )
        if found.remove_metadata() != files_schema(settings, 1).remove_metadata():
            raise UsageError(f"{path}: its columns are not those of the index's settings.json; {DAMAGED}")
        return file, about["next"]
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise _damaged(path, error) from error


def _read(file: parquet.ParquetFile, path: Path, group: int | None, columns: Sequence[str] | None) -> pa.Table:
    names = None if columns is None else list(columns)
    try:
        # In threads, Arrow keeps several times the memory of a group.
        table = file.read(names) if group is None else file.read_row_group(group, names, use_threads=False)
        return table.replace_schema_metadata()
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path}: {DAMAGED} ({str(error).splitlines()[0] if str(error) else 'unreadable'})")


def path_column(table: pa.Table) -> pa.Array:
    """The paths of files as the system knows them, large_binary [files]."""
    raw, text = table["raw_path"].cast(pa.large_binary()), table["path"].cast(pa.large_string()).cast(pa.large_binary())
    column = compute.coalesce(raw, text)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def paths_of(table: pa.Table) -> list[str]:
    """The paths as text, in which bytes that are not UTF-8 are surrogates."""
    paths: list[str] = table["path"].to_pylist()
    raw = table["raw_path"]
    if raw.null_count < len(raw):
        for row, value in enumerate(raw.to_pylist()):
            if value is not None:
                paths[row] = path_text(value)
    return paths


class FileRows:
    """Rows of the table by number; a few row groups are in memory at a time."""

    def __init__(self, folder: Path, settings: IndexSettings) -> None:
        self.files, self.following = open_files(folder, settings)
        self.schema = files_schema(settings, 1).remove_metadata()
        self.places = [(at, group) for at, (_, file) in enumerate(self.files) for group in range(file.num_row_groups)]
        sizes = [self.files[at][1].metadata.row_group(group).num_rows for at, group in self.places]
        self.starts = np.cumsum([0, *sizes])
        self._group = lru_cache(GROUPS)(self._read_group)

    def _read_group(self, number: int) -> pa.Table:
        at, group = self.places[number]
        path, file = self.files[at]
        return _read(file, path, group, None)

    def close(self) -> None:
        """Closes the files, which some systems require before they are replaced."""
        self._group.cache_clear()
        for _, file in self.files:
            file.close()

    def take(self, rows: np.ndarray) -> pa.Table:
        """Rows in any order, int64 [rows]."""
        if not len(rows):
            return self.schema.empty_table()
        groups = np.searchsorted(self.starts, rows, side="right") - 1
        order = np.argsort(groups, kind="stable")
        tables = []
        for number in np.unique(groups).tolist():
            inside = rows[groups == number] - self.starts[number]
            tables.append(self._group(number).take(pa.array(inside)))
        if len(tables) == 1:
            return tables[0]
        return pa.concat_tables(tables).take(pa.array(np.argsort(order, kind="stable")))


def about_of(folder: Path) -> dict[str, object]:
    """What files.parquet says about itself; empty where there is none."""
    try:
        metadata = parquet.read_schema(folder / FILES).metadata or {}
        return dict(json.loads(metadata[b"samplecnn"]))
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return {}
