"""Writes the Parquet and NumPy files of an index as streams: a group of rows is in memory at a time."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from samplecnn.index.entry import Entry
from samplecnn.index.packing import record_type
from samplecnn.index.parts import FIXED, RECORDINGS, escaped, files_schema, part_file, raw_path, windows_schema
from samplecnn.index.settings import IndexSettings
from samplecnn.system.files import written_aside

GROUP_CELLS = 1 << 18  # scores in a row group, about: what is read for the windows of one file
FILE_ROWS = 2048  # files in a row group
BATCH_BYTES = 1 << 20  # of recordings in memory


class GroupWriter:
    """Collects rows and writes them to a Parquet file in groups of one size."""

    def __init__(self, writer: parquet.ParquetWriter, rows: int) -> None:
        self.writer, self.rows = writer, rows
        self.tables: list[pa.Table] = []
        self.waiting = 0

    def add(self, table: pa.Table) -> None:
        self.tables.append(table)
        self.waiting += len(table)
        if self.waiting >= self.rows:
            whole = pa.concat_tables(self.tables)
            ready = len(whole) // self.rows * self.rows
            self.writer.write_table(whole.slice(0, ready), row_group_size=self.rows)
            self.tables, self.waiting = [whole.slice(ready)], len(whole) - ready

    def flush(self) -> None:
        if self.waiting:
            self.writer.write_table(pa.concat_tables(self.tables), row_group_size=self.rows)


@contextmanager
def files_writer(path: Path, schema: pa.Schema) -> Iterator[GroupWriter]:
    """Writes rows of files; the file is there when the block has succeeded."""
    with _parquet(path, schema, FILE_ROWS) as writer:
        yield writer


@contextmanager
def _parquet(path: Path, schema: pa.Schema, rows: int) -> Iterator[GroupWriter]:
    # Bytes of the same significance together: those that rounding has made zero compress to nothing.
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    others = [field.name for field in schema if field.name not in floats]
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": others, "use_byte_stream_split": floats}
    with written_aside(path) as aside, parquet.ParquetWriter(aside, schema, **options) as file:
        writer = GroupWriter(file, rows)
        yield writer
        writer.flush()


class WindowsWriter:
    """Writes the windows of a part: their scores and, as many, their embeddings.

    Attributes:
        count: windows that were written.
    """

    def __init__(self, scores: GroupWriter, embeddings: IO[bytes], size: int) -> None:
        self.scores, self.embeddings, self.kind = scores, embeddings, record_type(size)
        self.count = 0
        self.write_header()

    def add(self, table: pa.Table, embeddings: np.ndarray) -> None:
        self.scores.add(table)
        self.embeddings.write(embeddings.tobytes())
        self.count += len(embeddings)

    def write_header(self) -> None:
        """NumPy pads its header so that the length of the first axis fits in later."""
        self.embeddings.seek(0)
        about = {"descr": np.lib.format.dtype_to_descr(self.kind), "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self.embeddings, about)  # type: ignore[arg-type]


@contextmanager
def windows_writer(folder: Path, number: int, settings: IndexSettings) -> Iterator[WindowsWriter]:
    """Writes the windows of part `number`, complete or not at all."""
    rows = max(GROUP_CELLS // settings.task.num_classes, 64)
    with (
        written_aside(part_file(folder, "embeddings", number)) as aside,
        _parquet(part_file(folder, "windows", number), windows_schema(settings), rows) as scores,
        aside.open("wb") as file,
    ):
        writer = WindowsWriter(scores, file, settings.embedding_size)
        yield writer
        writer.write_header()


def write_part(folder: Path, number: int, entries: Iterable[Entry], settings: IndexSettings) -> None:
    """Writes recordings as part `number`, complete or not at all; without windows if there are none."""
    schema = files_schema(settings, number + 1)
    with files_writer(part_file(folder, "files", number), schema) as files, ExitStack() as stack:  # files: last
        windows: WindowsWriter | None = None
        ordinal = number * RECORDINGS  # of the next recording
        for batch in _batches(entries):
            used = [entry for entry in batch if entry.error is None]
            row = 0
            if used:
                if windows is None:
                    windows = stack.enter_context(windows_writer(folder, number, settings))
                row = windows.count
                embeddings = np.concatenate([entry.embeddings for entry in used if entry.embeddings is not None])
                windows.add(_windows(used, ordinal, settings), embeddings)
            files.add(_files(batch, number, ordinal, row, schema, settings))
            ordinal += len(used)


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.bytes
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _files(
    entries: list[Entry], number: int, ordinal: int, row: int, schema: pa.Schema, settings: IndexSettings
) -> pa.Table:
    """The files of recordings, of which the first usable one has the number `ordinal` and windows from `row` on."""
    columns: dict[str, list[Any]] = {name: [] for name, _ in FIXED}
    for entry in entries:
        failed = entry.error is not None
        known = {
            "path": escaped(entry.path),
            "raw_path": raw_path(entry.path),
            "seconds": None if failed else entry.samples / settings.task.sample_rate,
            "error": None if entry.error is None else escaped(entry.error),
            "missing": escaped(entry.missing),
            "deleted": False,
            "recording": None if failed else ordinal,
            "part": None if failed else number,
            "row": 0 if failed else row,
        }
        if not failed:
            ordinal, row = ordinal + 1, row + entry.windows
        for name, values in columns.items():
            values.append(known[name] if name in known else getattr(entry, name))
    nothing = np.full(settings.task.num_classes, np.nan, np.float32)
    scores = np.stack([nothing if entry.scores is None else entry.scores for entry in entries])
    absent = np.array([entry.scores is None for entry in entries])
    arrays = [pa.array(columns[name], kind) for name, kind in FIXED]
    arrays += [pa.array(np.ascontiguousarray(column), pa.float32(), mask=absent) for column in scores.T]
    return pa.Table.from_arrays(arrays, schema=schema)


def _windows(entries: list[Entry], ordinal: int, settings: IndexSettings) -> pa.Table:
    """The windows of recordings, of which the first one has the number `ordinal`."""
    task = settings.task
    recording = np.repeat(ordinal + np.arange(len(entries)), [entry.windows for entry in entries])
    starts = np.concatenate([entry.starts for entry in entries if entry.starts is not None])
    ends = np.concatenate(
        [np.minimum(entry.starts + task.window, entry.samples) for entry in entries if entry.starts is not None]
    )
    scores = np.concatenate([entry.over_time for entry in entries if entry.over_time is not None])
    columns = [recording, starts / task.sample_rate, ends / task.sample_rate, *np.ascontiguousarray(scores.T)]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=windows_schema(settings))
