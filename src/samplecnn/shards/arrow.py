"""The shard format, Arrow IPC files, which can be memory-mapped, and its writer. `arrow_segments` reads it.

One row is one segment: `id` of its clip (string), `segment` number in the clip (int32), `labels` (fixed-size list of
uint8, one per class), `audio` (fixed-size list of int16, scale 32768, `window` long). If the data set has them,
`group` and `fold` (strings) of the clip follow. The rows of a clip are consecutive.
The schema's metadata holds the Task as JSON (`samplecnn.task`) and the version of this format (`samplecnn.format`).
A split is the set {split}-00001-of-00152.arrow, {split}-00002-of-00152.arrow, ... of one folder.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from samplecnn.errors import SampleCNNError
from samplecnn.task import Task

FORMAT = "1"
FORMAT_KEY, TASK_KEY = b"samplecnn.format", b"samplecnn.task"
STATISTICS_PADDING = 64  # spaces after the task's JSON, so that mean and std can be set in place
BATCH_BYTES = 4 << 20  # audio per record batch, which is the writer's memory


def shard_name(split: str, number: int, count: int) -> str:
    """The file name of shard `number` (from 1) of `count`."""
    return f"{split}-{number:05d}-of-{count:05d}.arrow"


def schema(task: Task, columns: Sequence[str] = ()) -> pa.Schema:
    """The schema of a shard. `columns`: those of CLIP_COLUMNS that it has, in that order."""
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
    """Writes one shard, with constant memory of a few megabytes. Use as a context manager.

    Args:
        path: path of the file.
        task: task of the data set.
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
        # Of one batch: a batch is complete when it has `rows_per_batch`, and a part adds no more than that.
        self.audio = np.empty((2 * self.rows_per_batch - 1, task.window), np.int16)
        self.writer = pa.ipc.new_file(str(path), self.schema)

    def add(self, id: str, labels: Sequence[int], segments: np.ndarray, **columns: str) -> None:
        """Adds a clip: its class indices, its segments, int16 [n, window], and the values of the additional columns."""
        id = _text(id)  # derived from a file name
        row = np.zeros(self.task.num_classes, np.uint8)
        row[list(labels)] = 1
        for start in range(0, len(segments), self.rows_per_batch):
            part = segments[start : start + self.rows_per_batch]
            self.audio[len(self.ids) : len(self.ids) + len(part)] = part
            self.ids += [id] * len(part)
            for name, texts in self.columns.items():
                texts += [_text(columns[name])] * len(part)
            self.numbers.append(np.arange(start, start + len(part), dtype=np.int32))
            self.labels.append(np.broadcast_to(row, (len(part), len(row))))
            if len(self.ids) >= self.rows_per_batch:
                self._flush()

    def _flush(self) -> None:
        if not self.ids:
            return
        columns = [
            pa.array(self.ids, pa.string()),
            pa.array(np.concatenate(self.numbers)),
            _fixed_lists(np.concatenate(self.labels), self.schema.field("labels").type),
            _fixed_lists(self.audio[: len(self.ids)], self.schema.field("audio").type),
            *(pa.array(texts, pa.string()) for texts in self.columns.values()),
        ]
        self.writer.write_batch(pa.record_batch(columns, schema=self.schema))
        self.ids, self.numbers, self.labels = [], [], []
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
    """Escapes bytes that are not UTF-8, which file names may contain."""
    return text.encode("utf-8", "backslashreplace").decode()


def _fixed_lists(rows: np.ndarray, type: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), type=type)


def set_statistics(path: str | Path, task: Task) -> None:
    """Sets mean and std in a shard, in place, by writing its final task.

    Only the task's JSON changes, at the head of the shard and in its footer, in the space reserved for it. It can be
    repeated, also after an interruption, with the same result.
    """
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            footer = reader.schema.metadata[TASK_KEY]
        first_key = footer[: footer.index(b":")]
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise SampleCNNError(f"{path}: damaged, cannot set its task; delete it and build again") from error
    new = task.to_json().encode().ljust(len(footer))
    with Path(path).open("r+b") as file, mmap.mmap(file.fileno(), 0) as whole:
        head_offset = whole.find(first_key)  # after an interruption its value may differ from the footer's
        head = whole[head_offset : head_offset + len(footer)]
        offsets = [head_offset] + ([] if head_offset < 0 else [whole.rfind(footer)])
        if -1 in offsets or len(new) != len(footer) or Task.from_json(head.decode()).name != task.name:
            raise SampleCNNError(f"{path}: damaged, cannot set its task; delete it and build again")
        for offset in offsets:
            whole[offset : offset + len(new)] = new
        whole.flush()
