"""The table of an index's files: read in one consistent state, and brought up to date."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from samplecnn import parsing
from samplecnn.errors import UsageError
from samplecnn.index.journal import read_journal
from samplecnn.index.parts import (
    FILES,
    FIXED,
    files_schema,
    part_file,
    part_numbers,
    printable_path,
    raw_path,
    remove_leftovers,
    write_files,
    write_part,
)
from samplecnn.index.settings import IndexSettings

ATTEMPTS = 5  # at reading a state that an update replaces meanwhile
DAMAGED = "damaged; update the index again after removing this file, or make a new index"
_ABOUT = parsing.fields({"next": parsing.whole(1, 1 << 31)})


@dataclass(frozen=True)
class Change:
    """A row of the table to be: that of another row (`source`), under this path and with this stamp."""

    source: int
    path: str
    size: int
    mtime_ns: int
    deleted: bool = False
    sha256: str | None = None


def read_files(folder: Path, settings: IndexSettings, columns: Sequence[str] | None = None) -> tuple[pa.Table, int]:
    """The files of an index and the number of the next part.

    Args:
        folder: of the index.
        settings: its settings.
        columns: to read; None: all.

    Raises:
        UsageError: a file of the index is damaged.
    """
    for _ in range(ATTEMPTS):
        numbers = part_numbers(folder, "files")
        following, tables = 1, []
        base = folder / FILES
        try:
            if base.exists():
                table, following = _read(base, settings, columns)
                tables.append(table)
            for number in numbers:
                if number >= following:
                    tables.append(_read(part_file(folder, "files", number), settings, columns)[0])
        except FileNotFoundError:  # an update has just finished
            continue
        if not tables:
            names = [name for name in files_schema(settings, 1).names if columns is None or name in columns]
            return files_schema(settings, 1).empty_table().select(names), following
        return pa.concat_tables(tables), max([following, *(number + 1 for number in numbers)])
    raise UsageError(f"{folder}: an update keeps changing the index; run the command again once it has finished")


def _read(path: Path, settings: IndexSettings, columns: Sequence[str] | None) -> tuple[pa.Table, int]:
    try:
        file = parquet.ParquetFile(path)
        found = file.schema_arrow
        about = parsing.parse_object(
            (found.metadata or {}).get(b"samplecnn", b""), str(path), DAMAGED, _ABOUT, UsageError
        )
        wanted = files_schema(settings, 1)
        if found.remove_metadata() != wanted.remove_metadata():
            raise UsageError(f"{path}: its columns are not those of the index's settings.json; {DAMAGED}")
        return file.read(columns=None if columns is None else list(columns)).replace_schema_metadata(), about["next"]
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise UsageError(f"{path}: {DAMAGED} ({str(error).splitlines()[0] if str(error) else 'unreadable'})") from error


def paths_of(table: pa.Table) -> list[str]:
    """The paths as the system knows them."""
    paths: list[str] = table["path"].to_pylist()
    raw = table["raw_path"]
    if raw.null_count < len(raw):
        for row, value in enumerate(raw.to_pylist()):
            if value is not None:
                paths[row] = value.decode("utf-8", "surrogateescape")
    return paths


def recover(folder: Path, settings: IndexSettings) -> None:
    """Completes what an interrupted update has left: its journal becomes a part, its parts go into files.parquet.

    The caller holds the lock of the index.
    """
    _, following = read_files(folder, settings, ["path"])
    for number in part_numbers(folder, "journal"):
        if number >= following:
            entries = list(
                read_journal(part_file(folder, "journal", number), settings.task.num_classes, settings.embedding_size)
            )
            if entries:
                write_part(folder, number, entries, settings)
    if part_numbers(folder, "files"):
        table, following = read_files(folder, settings)
        rewrite(folder, settings, table, following, {}, [])
    table, following = read_files(folder, settings, ["part"])
    remove_leftovers(folder, following, set(table["part"].drop_null().unique().to_pylist()))


def rewrite(
    folder: Path,
    settings: IndexSettings,
    table: pa.Table,
    following: int,
    changed: dict[int, Change | None],
    added: Sequence[Change],
) -> None:
    """Replaces files.parquet, in the order of paths; of several rows for a path the last one stays.

    Args:
        table: the rows as they are.
        following: number of the next part.
        changed: rows that become others, or None: are left out.
        added: further rows.
    """
    paths = paths_of(table)
    rows: dict[str, Change | int] = {}
    for row, path in enumerate(paths):
        change = changed.get(row, row)
        if change is None:
            continue
        rows[change.path if isinstance(change, Change) else path] = change
    for each in added:
        rows[each.path] = each
    order = sorted(rows, key=os.fsencode)
    source = np.array([_source(rows[path]) for path in order], np.int64)
    result = table.take(pa.array(source))
    changes = [(position, change) for position, path in enumerate(order) if isinstance(change := rows[path], Change)]
    if changes:
        for name, value in (
            ("path", lambda change: printable_path(change.path)),
            ("raw_path", lambda change: raw_path(change.path)),
            ("size", lambda change: change.size),
            ("mtime_ns", lambda change: change.mtime_ns),
            ("deleted", lambda change: change.deleted),
        ):
            values = result[name].to_pylist()
            for position, change in changes:
                values[position] = value(change)
            place = result.schema.get_field_index(name)
            result = result.set_column(place, name, pa.array(values, dict(FIXED)[name]))
        hashes = {position: change.sha256 for position, change in changes if change.sha256 is not None}
        if hashes:
            values = [hashes.get(position, value) for position, value in enumerate(result["sha256"].to_pylist())]
            place = result.schema.get_field_index("sha256")
            result = result.set_column(place, "sha256", pa.array(values, dict(FIXED)["sha256"]))
    write_files(folder / FILES, result.replace_schema_metadata(files_schema(settings, following).metadata))
    for number in part_numbers(folder, "files"):
        if number < following:
            part_file(folder, "files", number).unlink(missing_ok=True)


def _source(row: Change | int) -> int:
    return row.source if isinstance(row, Change) else row


def about_of(folder: Path) -> dict[str, object]:
    """What files.parquet says about itself; empty where there is none."""
    try:
        metadata = parquet.read_schema(folder / FILES).metadata or {}
        return dict(json.loads(metadata[b"samplecnn"]))
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return {}
