"""Reads single segments from Arrow shards, at their offsets in the files."""

import mmap
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from samplecnn.datasets.base import CLIP_COLUMNS
from samplecnn.errors import SampleCNNError
from samplecnn.parsing import require_file, shown
from samplecnn.shards.arrow import FORMAT, FORMAT_KEY, TASK_KEY, schema, shard_name
from samplecnn.shards.segments import Files, Maps, Segments, Stamps, open_unchanged
from samplecnn.task import Task

CAN_READ_AT = hasattr(os, "preadv") and sys.byteorder == "little"  # else by memory maps, which every system supports


class _Batch(NamedTuple):
    """A record batch without its audio, and the byte offset of the audio in the file."""

    offset: int
    ids: list[str]
    numbers: np.ndarray
    labels: np.ndarray
    columns: dict[str, list[str]]


class ArrowSegments(Segments):
    """The segments of one split, with random access without decoding or reading other data.

    Args:
        folder: folder of the shards (DATA/<name>/arrow).
        split: "train", "val" or "test".
        stamps: stamps of the shards, if they have been opened before.

    Raises:
        SampleCNNError: a shard of the set is missing, damaged, of another format version or of a different task.
    """

    dtype = np.int16

    def __init__(self, folder: str | Path, split: str, stamps: Stamps | None = None) -> None:
        self.folder, self.split = Path(folder), split
        stamps = {} if stamps is None else stamps
        self.paths = _shards_of(self.folder, split)
        task: Task | None = None
        parts: list[_Batch] = []
        shards: list[int] = []
        for shard, path in enumerate(self.paths):
            task, found = _read_shard(path, task, shard, stamps)
            parts += found
            shards += [shard] * len(found)
        assert task is not None  # _shards_of raises if there is no shard
        self.task = task
        self.labels = np.concatenate([np.zeros((0, task.num_classes), np.uint8), *(part.labels for part in parts)])
        self.segment = np.concatenate([np.zeros(0, np.int32), *(part.numbers for part in parts)])
        self.ids = []
        for part in parts:
            for id in part.ids:
                self.ids.append(self.ids[-1] if self.ids and self.ids[-1] == id else id)  # one string per clip
        if len({tuple(part.columns) for part in parts}) > 1:
            raise SampleCNNError(f"{self.folder}: its shards differ in their columns; build again with --force")
        columns = parts[0].columns if parts else {}
        self.groups, self.folds = (
            [text for part in parts for text in part.columns[name]] if name in columns else None
            for name in CLIP_COLUMNS
        )
        rows = np.array([len(part.ids) for part in parts], np.int64)
        self._shard = np.array(shards, np.int64)
        # For each record batch: the row after its last, its first row, and the offset of that in its file.
        self._end = np.cumsum(rows)
        self._start_row = self._end - rows
        self._offset = np.array([part.offset for part in parts], np.int64)
        self._files, self._maps = Files(self.paths, stamps), Maps(self.paths, stamps)

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrowSegments, (self.folder, self.split, self._files.stamps)

    def _read(self, rows: np.ndarray, out: np.ndarray) -> None:
        window = self.task.window
        batches = np.searchsorted(self._end, rows, side="right")
        offsets = self._offset[batches] + (rows - self._start_row[batches]) * 2 * window
        found = zip(out, self._shard[batches].tolist(), offsets.tolist(), strict=True)
        if CAN_READ_AT and out.flags.c_contiguous and out.dtype == np.int16:
            for segment, shard, offset in found:
                self._files.read(shard, offset, segment)
            return
        for segment, shard, offset in found:
            segment[:] = np.frombuffer(self._maps[shard], np.int16, window, offset)
        self._maps.release(out.nbytes)


def _read_shard(path: Path, known: Task | None, number: int, stamps: Stamps) -> tuple[Task, list[_Batch]]:
    """Reads a shard without its audio, and the offset of its audio. `known` is the task of the previous shards."""
    size = require_file(path, "copy it again, or build again with --force")
    try:
        parts: list[_Batch] = []
        rows = 0
        with open_unchanged(path, number, stamps) as file:
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with its last reference
            buffer = pa.py_buffer(whole)
            with pa.ipc.open_file(buffer) as reader:
                task = _check_schema(path, reader.schema, known)
                for number in range(reader.num_record_batches):
                    batch = reader.get_batch(number)
                    rows += batch.num_rows
                    if rows * task.window * 2 > size:
                        raise pa.ArrowInvalid("it has more rows than samples")
                    batch.validate()
                    columns = [name for name in CLIP_COLUMNS if name in batch.schema.names]
                    batch.select(["id", "segment", "labels", *columns]).validate(full=True)
                    if any(column.null_count for column in batch.columns):
                        raise pa.ArrowInvalid("it has null values")
                    offset = batch.column("audio").values.buffers()[1].address - buffer.address
                    if batch.num_rows and not 0 <= offset <= len(whole) - batch.num_rows * task.window * 2:
                        raise pa.ArrowInvalid("the offset of its audio is beyond the file")
                    labels = np.array(batch.column("labels").values).reshape(-1, task.num_classes)
                    texts = {name: batch.column(name).to_pylist() for name in columns}
                    numbers = np.array(batch.column("segment"))
                    parts.append(_Batch(offset, batch.column("id").to_pylist(), numbers, labels, texts))
            _check_rows(task, parts)
            return task, parts
    except SampleCNNError:
        raise
    except (pa.ArrowException, OSError, ValueError, BufferError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SampleCNNError(
            f"{path}: damaged or cut short ({reason}); copy it again, or build again with --force"
        ) from error


def _check_rows(task: Task, parts: list[_Batch]) -> None:
    """Raises ArrowInvalid if labels or segment numbers are invalid."""
    for part in parts:
        if part.labels.size and part.labels.max() > 1:
            raise pa.ArrowInvalid(f"a label is {part.labels.max()}, not 0 or 1")
        if task.kind == "multiclass" and not (part.labels.sum(axis=1, dtype=np.int64) == 1).all():
            raise pa.ArrowInvalid("a segment does not have exactly one class")
    numbers = np.concatenate([np.zeros(0, np.int32), *(part.numbers for part in parts)])
    ids = [id for part in parts for id in part.ids]  # a clip may span two record batches
    rows = np.arange(len(numbers))
    starts = np.maximum.accumulate(np.where(numbers == 0, rows, 0))
    wrong = numbers != rows - starts
    wrong[[row for row in np.flatnonzero(numbers).tolist() if ids[row] != ids[row - 1]]] = True
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise pa.ArrowInvalid(f"row {row} is segment {numbers[row]}, which does not follow the previous row")


def _check_schema(path: Path, found: pa.Schema, known: Task | None) -> Task:
    metadata = found.metadata or {}
    if FORMAT_KEY not in metadata or TASK_KEY not in metadata:
        raise SampleCNNError(f"{path}: not one of samplecnn's Arrow files; move it out of the folder")
    version = metadata[FORMAT_KEY].decode(errors="replace")
    if version != FORMAT:
        raise SampleCNNError(
            f"{path}: format version {shown(version)}, but this samplecnn reads {FORMAT}; build again with --force"
        )
    try:
        task = Task.from_json(metadata[TASK_KEY].decode(errors="replace"))
    except SampleCNNError as error:
        raise SampleCNNError(f"{path}: damaged ({error}); build again with --force") from error
    if known is not None and task != known:
        raise SampleCNNError(f"{path}: built for a different task than the previous shards; build again with --force")
    if not found.equals(schema(task, [name for name in CLIP_COLUMNS if name in found.names])):
        raise SampleCNNError(f"{path}: its columns do not match its task; build again with --force")
    return task


def _shards_of(folder: Path, split: str) -> list[Path]:
    """The files of a split in order. Raises SampleCNNError if one is missing or there are none."""
    found = {path.name: path for path in folder.glob(f"{split}-*-of-*.arrow")}
    totals = {int(match[1]) for name in found if (match := re.fullmatch(rf"{split}-\d{{5}}-of-(\d{{5}})\.arrow", name))}
    if not totals:
        raise SampleCNNError(f"{folder}: no shards of the {split} split; build the data set")
    if len(totals) > 1:
        raise SampleCNNError(
            f"{folder}: shards of {len(totals)} different builds of the {split} split; build again with --force"
        )
    count = totals.pop()
    if count == 0:
        raise SampleCNNError(f"{folder / min(found)}: its name gives 0 shards; build again with --force")
    names = [shard_name(split, number, count) for number in range(1, count + 1)]
    missing = [name for name in names if name not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise SampleCNNError(f"{folder / missing[0]}: missing{more}; copy it again or build again with --force")
    return [found[name] for name in names]
