"""The files of an index and how they are written.

    settings.json               what made the index (`settings`)
    files.parquet               a row for each file; the current state, up to part NEXT - 1
    files-N.parquet             files of part N >= NEXT, of an update that is running or was interrupted
    windows-N.parquet           a row for each window of part N: recording, start, end, a score for each class
    embeddings-N.npy            the windows' embeddings in the same order, records of `packing.record_type`
    journal-N.bin               recordings that will become part N (`journal`)

Part N is written windows first and complete once files-N.parquet is there. Every file is written aside and renamed, and
files.parquet names the rows of windows that belong to each file, so the folder always shows one consistent state.
Windows that no file refers to are leftovers, which the next update removes.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from samplecnn import __version__
from samplecnn.index.entry import Entry
from samplecnn.index.settings import FORMAT_VERSION, IndexSettings
from samplecnn.system.files import sweep, written_aside
from samplecnn.tagging.writers import column_names

FILES = "files.parquet"
PART = re.compile(r"(files|windows|embeddings|journal)-(\d{6,9})\.(parquet|npy|bin)")
RECORDINGS = 1 << 24  # numbers of recordings that a part can give
PART_BYTES = 16 << 20  # of recordings in memory and in the journal, after which they become a part
GROUP_CELLS = 1 << 18  # scores in a row group, about: what is read for the windows of one file
FIXED = (
    ("path", pa.string()),  # absolute; what is not UTF-8 in it is escaped
    ("raw_path", pa.binary()),  # the bytes of such a path; else null
    ("seconds", pa.float64()),
    ("error", pa.string()),
    ("silent", pa.bool_()),
    ("missing", pa.string()),  # why only a part of a damaged recording was tagged; else ""
    ("cancels", pa.bool_()),
    ("deleted", pa.bool_()),
    ("size", pa.int64()),
    ("mtime_ns", pa.int64()),
    ("sha256", pa.string()),
    ("engine", pa.string()),
    ("recording", pa.int64()),  # number of what was heard: copies of a file share it
    ("windows", pa.int32()),
    ("samples", pa.int64()),
    ("part", pa.int32()),
    ("row", pa.int64()),  # of its first window in the part
)
WINDOW_FIXED = (("recording", pa.int64()), ("start", pa.float64()), ("end", pa.float64()))


def files_schema(settings: IndexSettings, following: int) -> pa.Schema:
    """The columns of files; `following` is the number of the next part."""
    about = {
        "format_version": FORMAT_VERSION,
        "samplecnn": __version__,
        "next": following,
        "classes": list(settings.task.classes),
        **settings.about(),
    }
    return pa.schema([*FIXED, *_class_columns(settings)], metadata={"samplecnn": json.dumps(about).encode()})


def windows_schema(settings: IndexSettings) -> pa.Schema:
    return pa.schema([*WINDOW_FIXED, *_class_columns(settings)])


def _class_columns(settings: IndexSettings) -> list[tuple[str, pa.DataType]]:
    """A column for each class, of the same name in both tables."""
    others = [name for name, _ in (*FIXED, *WINDOW_FIXED)]
    return [(name, pa.float32()) for name in column_names(others, settings.task.classes)]


def part_file(folder: Path, kind: str, number: int) -> Path:
    suffix = {"files": "parquet", "windows": "parquet", "embeddings": "npy", "journal": "bin"}[kind]
    return folder / f"{kind}-{number:06d}.{suffix}"


def part_numbers(folder: Path, kind: str) -> list[int]:
    """The numbers of the parts of a kind ("files", "windows", "embeddings", "journal") that are there, ascending."""
    matches = (PART.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[2]) for match in matches if match and match[1] == kind)


def write_part(folder: Path, number: int, entries: Sequence[Entry], settings: IndexSettings) -> None:
    """Writes recordings as part `number`, complete or not at all."""
    used = [entry for entry in entries if entry.error is None]
    if used:
        tables = [_windows(used, number, settings)]
        embeddings = np.concatenate([entry.embeddings for entry in used if entry.embeddings is not None])
        write_windows(folder, number, tables, embeddings, settings)
    rows = np.cumsum([0, *(entry.windows for entry in used)])
    places = {id(entry): (number * RECORDINGS + ordinal, int(rows[ordinal])) for ordinal, entry in enumerate(used)}
    columns: dict[str, list[Any]] = {name: [] for name, _ in FIXED}
    for entry in entries:
        recording, row = places.get(id(entry), (None, 0))
        failed = entry.error is not None
        known = {
            "path": printable_path(entry.path),
            "raw_path": raw_path(entry.path),
            "seconds": None if failed else entry.samples / settings.task.sample_rate,
            "error": None if entry.error is None else _text(entry.error),
            "missing": _text(entry.missing),
            "deleted": False,
            "recording": recording,
            "part": None if failed else number,
            "row": row,
        }
        for name, values in columns.items():
            values.append(known[name] if name in known else getattr(entry, name))
    schema = files_schema(settings, number + 1)
    nothing = np.full(settings.task.num_classes, np.nan, np.float32)
    scores = np.stack([nothing if entry.scores is None else entry.scores for entry in entries])
    absent = np.array([entry.scores is None for entry in entries])
    arrays = [pa.array(columns[name], kind) for name, kind in FIXED]
    arrays += [pa.array(np.ascontiguousarray(column), pa.float32(), mask=absent) for column in scores.T]
    write_files(part_file(folder, "files", number), pa.Table.from_arrays(arrays, schema=schema))


def write_windows(
    folder: Path, number: int, tables: Sequence[pa.Table], embeddings: np.ndarray, settings: IndexSettings
) -> None:
    """Writes the windows of a part: their scores and, as many, their embeddings."""
    with written_aside(part_file(folder, "embeddings", number)) as aside, aside.open("wb") as file:
        np.save(file, embeddings)
    schema = windows_schema(settings)
    rows = max(GROUP_CELLS // settings.task.num_classes, 64)
    with written_aside(part_file(folder, "windows", number)) as aside:
        parquet.write_table(pa.concat_tables(tables), aside, row_group_size=rows, **_compact(schema))


def write_files(path: Path, table: pa.Table) -> None:
    with written_aside(path) as aside:
        parquet.write_table(table, aside, **_compact(table.schema))


def _compact(schema: pa.Schema) -> dict[str, Any]:
    """Bytes of the same significance together: those that rounding has made zero compress to nothing."""
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    others = [field.name for field in schema if field.name not in floats]
    return {"compression": "zstd", "use_dictionary": others, "use_byte_stream_split": floats}


def _windows(entries: Sequence[Entry], number: int, settings: IndexSettings) -> pa.Table:
    """The windows of recordings, of which the first one has the number `number` * RECORDINGS."""
    task = settings.task
    recording = np.repeat(number * RECORDINGS + np.arange(len(entries)), [entry.windows for entry in entries])
    starts = np.concatenate([entry.starts for entry in entries if entry.starts is not None])
    ends = np.concatenate(
        [np.minimum(entry.starts + task.window, entry.samples) for entry in entries if entry.starts is not None]
    )
    scores = np.concatenate([entry.over_time for entry in entries if entry.over_time is not None])
    columns = [recording, starts / task.sample_rate, ends / task.sample_rate, *np.ascontiguousarray(scores.T)]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=windows_schema(settings))


def printable_path(path: str) -> str:
    """A path as UTF-8 text; bytes of it that are not UTF-8 are escaped."""
    return _text(path)


def raw_path(path: str) -> bytes | None:
    """The bytes of a path that is not UTF-8; None for one that is."""
    return path.encode("utf-8", "surrogateescape") if _text(path) != path else None


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def remove_leftovers(folder: Path, following: int, parts: set[int]) -> None:
    """Removes what no file refers to: half-written files, and windows that are not of one of the `parts`.

    Args:
        folder: of the index.
        following: number of the next part.
        parts: whose windows files refer to.
    """
    sweep(folder)
    for path in list(folder.iterdir()):
        match = PART.fullmatch(path.name)
        if match is None:
            continue
        kind, number = match[1], int(match[2])
        stale = number < following if kind in ("files", "journal") else number not in parts
        if stale:
            path.unlink(missing_ok=True)
