"""Segments on disk as Arrow IPC files, which can be mapped: each segment is read on its own, at its offset.

One row is one segment: `id` of its clip (string), `segment` number in the clip (int32), `labels` (fixed-size list of
uint8, one per class), `audio` (fixed-size list of int16, scale 32768, `window` long). Where the data set has them,
`group` and `fold` (strings) of the clip follow. A clip's rows follow each other.
The schema's metadata holds the Task as JSON (`samplecnn.task`) and the version of this format (`samplecnn.format`).
A split is the set {split}-00001-of-00152.arrow, {split}-00002-of-00152.arrow, ... of one folder.
"""

import mmap
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from samplecnn.datasets.base import CLIP_COLUMNS
from samplecnn.errors import SampleCNNError
from samplecnn.parsing import require_file
from samplecnn.shards.segments import Files, Maps, Segments, Stamps, open_again
from samplecnn.task import Task

FORMAT = "1"
FORMAT_KEY, TASK_KEY = b"samplecnn.format", b"samplecnn.task"
STATISTICS_PADDING = 64  # spaces after the task's JSON, so that mean and std can be set later without moving a byte
CAN_READ_AT = hasattr(os, "preadv") and sys.byteorder == "little"  # else through maps, which every system has
BATCH_BYTES = 4 << 20  # of audio, in one record batch: what a writer holds in memory


def shard_name(split: str, number: int, count: int) -> str:
    """The file name of shard `number` (from 1) of `count`."""
    return f"{split}-{number:05d}-of-{count:05d}.arrow"


def schema(task: Task, columns: Sequence[str] = ()) -> pa.Schema:
    """Of a shard; `columns` are those of CLIP_COLUMNS that it has, in that order."""
    text = task.to_json()
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("segment", pa.int32(), nullable=False),
            pa.field("labels", pa.list_(pa.uint8(), task.num_classes), nullable=False),
            pa.field("audio", pa.list_(pa.int16(), task.window), nullable=False),
            *(pa.field(name, pa.string(), nullable=False) for name in columns),
        ],
        metadata={FORMAT_KEY: FORMAT, TASK_KEY: text + " " * STATISTICS_PADDING},
    )


class ShardWriter:
    """Writes one shard with a few megabytes of memory, whatever its length. Use as a context manager.

    Args:
        path: of the file.
        task: of the data set.
        columns: those of CLIP_COLUMNS that the data set has.
    """

    def __init__(self, path: str | Path, task: Task, columns: Sequence[str] = ()) -> None:
        self.task = task
        self.schema = schema(task, columns)
        self.columns: dict[str, list[str]] = {name: [] for name in columns}
        self.rows_per_batch = max(1, BATCH_BYTES // (2 * task.window))
        self.ids: list[str] = []
        self.numbers: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.audio: list[np.ndarray] = []
        self.writer = pa.ipc.new_file(str(path), self.schema)

    def add(self, id: str, labels: Sequence[int], segments: np.ndarray, **columns: str) -> None:
        """Adds a clip: indices of its classes, its segments, int16 [n, window], and the text of each further column."""
        id = _text(id)  # made of a file name
        row = np.zeros(self.task.num_classes, np.uint8)
        row[list(labels)] = 1
        for start in range(0, len(segments), self.rows_per_batch):
            part = segments[start : start + self.rows_per_batch]
            self.ids += [id] * len(part)
            for name, texts in self.columns.items():
                texts += [_text(columns[name])] * len(part)
            self.numbers.append(np.arange(start, start + len(part), dtype=np.int32))
            self.labels.append(np.broadcast_to(row, (len(part), len(row))))
            self.audio.append(part)
            if len(self.ids) >= self.rows_per_batch:
                self._flush()

    def _flush(self) -> None:
        if not self.ids:
            return
        columns = [
            pa.array(self.ids, pa.string()),
            pa.array(np.concatenate(self.numbers)),
            _fixed_lists(self.labels, self.schema.field("labels").type),
            _fixed_lists(self.audio, self.schema.field("audio").type),
            *(pa.array(texts, pa.string()) for texts in self.columns.values()),
        ]
        self.writer.write_batch(pa.record_batch(columns, schema=self.schema))
        self.ids, self.numbers, self.labels, self.audio = [], [], [], []
        self.columns = {name: [] for name in self.columns}

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self.writer.close()


def _text(text: str) -> str:
    """Text that can be stored: that of a file system need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _fixed_lists(rows: list[np.ndarray], type: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(rows).ravel()), type=type)


def set_statistics(path: str | Path, task: Task) -> None:
    """Gives a shard that was written without mean and std its final task, in place.

    Only the task's JSON changes, at the head of the shard and in its footer, in the space reserved for it. Repeating
    it, also after an interruption, gives the same bytes.
    """
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            footer = reader.schema.metadata[TASK_KEY]
        first_key = footer[: footer.index(b":")]
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise SampleCNNError(f"{path}: damaged, its task cannot be set; delete it and build again") from error
    new = task.to_json().encode().ljust(len(footer))
    with Path(path).open("r+b") as file, mmap.mmap(file.fileno(), 0) as whole:
        head_at = whole.find(first_key)  # its value may differ from the footer's by now
        head = whole[head_at : head_at + len(footer)]
        places = [head_at] + ([] if head_at < 0 else [whole.rfind(footer)])
        if -1 in places or len(new) != len(footer) or Task.from_json(head.decode()).name != task.name:
            raise SampleCNNError(f"{path}: damaged, its task cannot be set; delete it and build again")
        for place in places:
            whole[place : place + len(new)] = new
        whole.flush()


class _Part(NamedTuple):
    """A record batch without its audio, and the byte offset of the audio in the file."""

    offset: int
    ids: list[str]
    numbers: np.ndarray
    labels: np.ndarray
    columns: dict[str, list[str]]


class ArrowSegments(Segments):
    """The segments of one split: random access without decoding, and without reading anything else.

    Args:
        folder: of the shards (DATA/<name>/arrow).
        split: "train", "val" or "test".
        stamps: of the shards, where they have been opened before.

    Raises:
        SampleCNNError: a shard of the set is missing, damaged, of another format version or of a different task.
    """

    dtype = np.int16

    def __init__(self, folder: str | Path, split: str, stamps: Stamps | None = None) -> None:
        self.folder, self.split = Path(folder), split
        stamps = {} if stamps is None else stamps
        self.paths = _shards_of(self.folder, split)
        task: Task | None = None
        parts: list[_Part] = []
        shards: list[int] = []
        for shard, path in enumerate(self.paths):
            task, found = _read_shard(path, task, shard, stamps)
            parts += found
            shards += [shard] * len(found)
        assert task is not None  # there is a shard, else _shards_of had raised
        self.task = task
        self.labels = np.concatenate([np.zeros((0, task.num_classes), np.uint8), *(part.labels for part in parts)])
        self.segment = np.concatenate([np.zeros(0, np.int32), *(part.numbers for part in parts)])
        self.ids = []
        for part in parts:
            for id in part.ids:
                self.ids.append(self.ids[-1] if self.ids and self.ids[-1] == id else id)  # one string a clip
        if len({tuple(part.columns) for part in parts}) > 1:
            raise SampleCNNError(f"{self.folder}: its shards differ in their columns; build again with --force")
        columns = parts[0].columns if parts else {}
        self.groups, self.folds = (
            [text for part in parts for text in part.columns[name]] if name in columns else None
            for name in CLIP_COLUMNS
        )
        rows = np.array([len(part.ids) for part in parts], np.int64)
        self._shard = np.array(shards, np.int64)
        # Of each record batch: the row after its last, its first row, and where that lies in its file.
        self._end = np.cumsum(rows)
        self._start_row = self._end - rows
        self._offset = np.array([part.offset for part in parts], np.int64)
        self._files, self._maps = Files(self.paths, stamps), Maps(self.paths, stamps)

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrowSegments, (self.folder, self.split, self._files.stamps)

    def _read(self, rows: np.ndarray, out: np.ndarray) -> None:
        window = self.task.window
        batches = np.searchsorted(self._end, rows, side="right")
        places = self._offset[batches] + (rows - self._start_row[batches]) * 2 * window
        found = zip(out, self._shard[batches].tolist(), places.tolist(), strict=True)
        if CAN_READ_AT and out.flags.c_contiguous and out.dtype == np.int16:
            for segment, shard, place in found:
                self._files.read(shard, place, segment)
            return
        for segment, shard, place in found:
            segment[:] = np.frombuffer(self._maps[shard], np.int16, window, place)
        self._maps.release(out.nbytes)


def _read_shard(path: Path, known: Task | None, number: int, stamps: Stamps) -> tuple[Task, list[_Part]]:
    """Everything but the audio of a shard, and where that is. `known` is the task of the shards before it."""
    size = require_file(path, "copy it again, or build again with --force")
    try:
        parts: list[_Part] = []
        rows = 0
        with open_again(path, number, stamps) as file:
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed when nothing refers to it any more
            buffer = pa.py_buffer(whole)
            with pa.ipc.open_file(buffer) as reader:
                task = _check_schema(path, reader.schema, known)
                for number in range(reader.num_record_batches):
                    batch = reader.get_batch(number)
                    rows += batch.num_rows
                    if rows * task.window * 2 > size:
                        raise pa.ArrowInvalid("its record batches have more rows than the file has samples for")
                    batch.validate()
                    columns = [name for name in CLIP_COLUMNS if name in batch.schema.names]
                    batch.select(["id", "segment", "labels", *columns]).validate(full=True)
                    if any(column.null_count for column in batch.columns):
                        raise pa.ArrowInvalid("it has values that are null")
                    offset = batch.column("audio").values.buffers()[1].address - buffer.address
                    if batch.num_rows and not 0 <= offset <= len(whole) - batch.num_rows * task.window * 2:
                        raise pa.ArrowInvalid("its audio lies outside of the file")
                    labels = np.array(batch.column("labels").values).reshape(-1, task.num_classes)
                    texts = {name: batch.column(name).to_pylist() for name in columns}
                    numbers = np.array(batch.column("segment"))
                    parts.append(_Part(offset, batch.column("id").to_pylist(), numbers, labels, texts))
            _check_rows(task, parts)
            return task, parts
    except SampleCNNError:
        raise
    except (pa.ArrowException, OSError, ValueError, BufferError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SampleCNNError(
            f"{path}: damaged or cut short ({reason}); copy it again, or build again with --force"
        ) from error


def _check_rows(task: Task, parts: list[_Part]) -> None:
    """Raises ArrowInvalid where labels or numbers of segments are not what a writer gives."""
    for part in parts:
        if part.labels.size and part.labels.max() > 1:
            raise pa.ArrowInvalid(f"a label is {part.labels.max()}, not 0 or 1")
        if task.kind == "multiclass" and not (part.labels.sum(axis=1, dtype=np.int64) == 1).all():
            raise pa.ArrowInvalid("a segment has not exactly one class")
    numbers = np.concatenate([np.zeros(0, np.int32), *(part.numbers for part in parts)])
    ids = [id for part in parts for id in part.ids]  # a clip's rows can lie in two record batches
    rows = np.arange(len(numbers))
    starts = np.maximum.accumulate(np.where(numbers == 0, rows, 0))
    wrong = numbers != rows - starts
    wrong[[row for row in np.flatnonzero(numbers).tolist() if ids[row] != ids[row - 1]]] = True
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise pa.ArrowInvalid(f"row {row} is segment {numbers[row]}, which does not follow the row before")


def _check_schema(path: Path, found: pa.Schema, known: Task | None) -> Task:
    metadata = found.metadata or {}
    if FORMAT_KEY not in metadata or TASK_KEY not in metadata:
        raise SampleCNNError(f"{path}: an Arrow file, but not one of samplecnn's; move it out of the folder")
    version = metadata[FORMAT_KEY].decode(errors="replace")
    if version != FORMAT:
        raise SampleCNNError(
            f"{path}: format version {version[:40]}, but this samplecnn reads {FORMAT}; build again with --force"
        )
    try:
        task = Task.from_json(metadata[TASK_KEY].decode(errors="replace"))
    except SampleCNNError as error:
        raise SampleCNNError(f"{path}: damaged ({error}); build again with --force") from error
    if known is not None and task != known:
        raise SampleCNNError(f"{path}: built for a different task than the shards before it; build again with --force")
    if not found.equals(schema(task, [name for name in CLIP_COLUMNS if name in found.names])):
        raise SampleCNNError(f"{path}: its columns do not match its task; build again with --force")
    return task


def _shards_of(folder: Path, split: str) -> list[Path]:
    """The files of a split in order. Raises where one is missing or there are none."""
    found = {path.name: path for path in folder.glob(f"{split}-*-of-*.arrow")}
    totals = {int(match[1]) for name in found if (match := re.fullmatch(rf"{split}-\d{{5}}-of-(\d{{5}})\.arrow", name))}
    if not totals:
        raise SampleCNNError(f"{folder}: no shards of the {split} split; build the data set")
    if len(totals) > 1:
        raise SampleCNNError(f"{folder}: shards of {len(totals)} different {split} sets; build again with --force")
    count = totals.pop()
    if count == 0:
        raise SampleCNNError(f"{folder / min(found)}: a shard of none; build again with --force")
    names = [shard_name(split, number, count) for number in range(1, count + 1)]
    missing = [name for name in names if name not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise SampleCNNError(f"{folder / missing[0]}: missing{more}; copy it again or build again with --force")
    return [found[name] for name in names]
