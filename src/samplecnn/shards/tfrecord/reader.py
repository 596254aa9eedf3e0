"""Random access to TFRecords by an index of all segment offsets, built from the records' headers."""

import errno
import mmap
import re
from array import array
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.datasets.mtt import TAGS, TIES
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.parsing import require_file
from samplecnn.shards.segments import Maps, Segments, Stamps
from samplecnn.shards.tfrecord.compressed import decompressed
from samplecnn.shards.tfrecord.frames import Damage, Record, is_intact, records
from samplecnn.shards.tfrecord.label_order import is_numpy_1_25_order, to_mtt_order
from samplecnn.shards.tfrecord.wire import Clip, Parser
from samplecnn.system.progress import Progress
from samplecnn.task import Task

TASK = "task.json"
REMEDY = "copy the file again, or skip damaged records with --skip-corrupt"
BAD_DATA, NOT_FINITE = "the checksum of its data is wrong", "a segment has NaN or infinite samples"
TIED = " and ".join(f"{one!r} with {other!r}" for one, other in TIES)
PROGRESS_BYTES = 1 << 30  # bytes; smaller sets are indexed too fast for a progress bar


@dataclass
class _Index:
    """All offsets, in compact arrays, since data sets may have a million records."""

    # For each record: its file, the offsets of its frame and of the start and end of its data, its number in the file.
    shard: array = field(default_factory=lambda: array("i"))
    offset: array = field(default_factory=lambda: array("q"))
    start: array = field(default_factory=lambda: array("q"))
    end: array = field(default_factory=lambda: array("q"))
    number: array = field(default_factory=lambda: array("q"))
    labels: bytearray = field(default_factory=bytearray)
    count: array = field(default_factory=lambda: array("q"))  # number of segments
    segment_start: array = field(default_factory=lambda: array("q"))  # for each segment of each record

    def add(self, shard: int, record: Record, label: bytes, starts: list[int]) -> None:
        self.shard.append(shard)
        self.offset.append(record.offset)
        self.start.append(record.data.start)
        self.end.append(record.data.end)
        self.number.append(record.number)
        self.labels += label
        self.count.append(len(starts))
        self.segment_start.extend(starts)


class TFRecordSegments(Segments):
    """The segments of one split in TFRecords, written by the original or by samplecnn.

    All checksums are verified: when a record's segment is first read, or with `skip_corrupt` on opening, which reads
    all files.

    Args:
        folder: folder of the files {split}-*.tfrecord; a task.json in it defines the task, else it is that of the
            original's data set with the same number of classes and window.
        split: "train", "val" or "test".
        skip_corrupt: skips damaged records and lists them in `skipped`, instead of failing at the first.
        stamps: stamps of the files, if they have been opened before.

    Attributes:
        skipped: one line per skipped record: file, byte offset, problem.
        notes: other notes for the user: reordered labels.

    `ids` are composed of the file's name and the record's number, since the format has no field for them. Each Example
    counts as a clip, because the format does not record which of them belong together.

    Raises:
        UsageError: the task is unknown.
        SampleCNNError: no file, or a damaged record, with file and byte offset.
    """

    dtype = np.float32

    def __init__(
        self, folder: str | Path, split: str, skip_corrupt: bool = False, stamps: Stamps | None = None
    ) -> None:
        self.folder, self.split, self.skip_corrupt = Path(folder), split, skip_corrupt
        self.skipped: list[str] = []
        self.notes: list[str] = []
        self.paths = self._files()
        self._maps = Maps(self.paths, stamps, decompressed)
        self._index, self._parse, task = _Index(), Parser(), None
        sizes = [require_file(path, REMEDY) for path in self.paths]
        long = sum(sizes) > PROGRESS_BYTES
        with Progress(sum(sizes) // 10**6, f"index {split}", "MB") if long else nullcontext() as bar:
            for shard, size in enumerate(sizes):
                task = self._index_file(shard, size, task)
                self._maps.release(size)
                if bar:
                    bar.advance(size // 10**6)
        if task is None:
            raise SampleCNNError(f"{self.folder}: no undamaged record in the {split} split; copy the files again")
        self.task = task
        index = self._index
        counts = np.array(index.count)
        self._record = np.repeat(np.arange(len(counts)), counts)  # of each segment
        self._start = np.array(index.segment_start)
        self._verified = np.full(len(counts), skip_corrupt)
        self._finite = np.full(len(self._record), skip_corrupt)
        labels = self._reorder(np.frombuffer(index.labels, np.uint8).reshape(-1, task.num_classes))
        self.labels = np.repeat(labels, counts, axis=0)
        self.segment = (np.arange(len(self._record)) - np.repeat(np.cumsum(counts) - counts, counts)).astype(np.int32)
        names = [f"{self.paths[shard].name}#{number}" for shard, number in zip(index.shard, index.number, strict=True)]
        self.ids = [names[record] for record in self._record.tolist()]

    def __reduce__(self) -> tuple[Any, ...]:
        return TFRecordSegments, (self.folder, self.split, self.skip_corrupt, self._maps.stamps)

    def _read(self, rows: np.ndarray, out: np.ndarray) -> None:
        index, window = self._index, self.task.window
        for segment, row in zip(out, rows.tolist(), strict=True):
            record = int(self._record[row])
            shard, offset = index.shard[record], index.offset[record]
            buffer = self._maps[shard]
            if not self._verified[record]:
                if not is_intact(buffer, index.start[record], index.end[record]):
                    raise self._corrupt(shard, offset, BAD_DATA)
                self._verified[record] = True
            segment[:] = np.frombuffer(buffer, "<f4", window, self._start[row])
            if not self._finite[row]:
                if not np.isfinite(segment).all():
                    raise self._corrupt(shard, offset, NOT_FINITE)
                self._finite[row] = True
        self._maps.release(out.nbytes)

    def _reorder(self, labels: np.ndarray) -> np.ndarray:
        """The labels of all records in the order of the task's classes; that of a task.json is never changed."""
        if self.task.classes != TAGS or (self.folder / TASK).exists() or not is_numpy_1_25_order(labels):
            return labels
        self.notes.append(
            f"note: the labels in {self.folder} are in the order of NumPy 1.25 and newer, which swaps {TIED} of the "
            "original's mtt; they are reordered (docs/migrating.md)"
        )
        return to_mtt_order(labels)

    def _files(self) -> list[Path]:
        """The files of the split in order. If they are numbered, none may be missing."""
        paths = sorted(self.folder.glob(f"{self.split}-*.tfrecord"))
        if not paths:
            raise SampleCNNError(f"{self.folder}: no TFRecords of the {self.split} split ({self.split}-*.tfrecord)")
        numbered = [re.fullmatch(r"\w+-(\d{1,9})-(of-)?(\d{1,9})(\.seq)?\.tfrecord", path.name) for path in paths]
        if not all(numbered):
            return paths
        totals = {int(match[3]) for match in numbered if match}
        if len(totals) > 1:
            raise SampleCNNError(
                f"{self.folder}: files of {len(totals)} different {self.split} sets; move one of the sets elsewhere"
            )
        numbers = {int(match[1]) for match in numbered if match}
        first = 0 if 0 in numbers else 1  # the original counts from 1, the authors' code of 2018 from 0
        wanted = range(first, first + totals.pop())  # a range, as a file name may give any length
        missing = len(wanted) - sum(number in wanted for number in numbers)
        if missing:
            named = islice((number for number in wanted if number not in numbers), 5)
            names = ", ".join(f"{number:04d}" for number in named) + (", ..." if missing > 5 else "")
            message = f"{self.folder}: {missing} of the {self.split} files missing, number {names}"
            if not self.skip_corrupt:
                raise SampleCNNError(f"{message}; copy them again, or skip them with --skip-corrupt")
            self.skipped.append(message)
        return paths

    def _index_file(self, shard: int, size: int, task: Task | None) -> Task | None:
        """Adds the undamaged records of a file; returns the task, which is inferred from the first record."""
        if size == 0:
            self._report_damage(shard, 0, "the file is empty, 0 bytes", 0)
            return task
        try:
            buffer = self._maps[shard]
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._report_damage(shard, 0, error.strerror or "", size)
            return task
        except ValueError:  # an empty compressed file cannot be mapped
            self._report_damage(shard, 0, "the file is empty", size)
            return task
        for record in records(buffer):
            if isinstance(record, Damage):
                self._report_damage(shard, *record)
                continue
            try:
                clip = self._parse(buffer, *record.data)
                label = buffer[clip.label.start : clip.label.end]
                known = task or self._task(clip)
                self._check(buffer, record, clip, label, known)
            except ValueError as error:
                self._report_damage(shard, record.offset, str(error), record.data.length)
                continue
            task = known
            self._index.add(shard, record, label, [span.start for span in clip.segments])
        return task

    def _task(self, clip: Clip) -> Task:
        classes, samples = clip.label.length, clip.segments[0].length // 4
        task = task_of(self.folder, classes, samples)
        if task is None:
            raise UsageError(
                f"{self.folder}: {classes} labels and segments of {samples} samples match none of the "
                f"original's data sets; add a {TASK} with the class names (docs/migrating.md shows one)"
            )
        return task

    def _check(self, buffer: mmap.mmap, record: Record, clip: Clip, label: bytes, task: Task) -> None:
        """Raises ValueError if a record does not match the task or, with `skip_corrupt`, is damaged."""
        if clip.segments[0].length != 4 * task.window:
            raise ValueError(
                f"its segment has {clip.segments[0].length} bytes, expected float32 of {task.window} samples "
                f"({4 * task.window} bytes)"
            )
        if len(label) != task.num_classes or label.strip(b"\0\1"):
            raise ValueError(f"its label is not {task.num_classes} zeros and ones ({len(label)} bytes)")
        if self.skip_corrupt:
            if not is_intact(buffer, *record.data):
                raise ValueError(BAD_DATA)
            for start, _ in clip.segments:
                if not np.isfinite(np.frombuffer(buffer, "<f4", task.window, start)).all():
                    raise ValueError(NOT_FINITE)

    def _report_damage(self, shard: int, offset: int, what: str, lost: int) -> None:
        """Lists a damaged record if they are skipped, else raises."""
        error = self._corrupt(shard, offset, what)
        if not self.skip_corrupt:
            raise error
        self.skipped.append(f"{str(error).removesuffix(f'; {REMEDY}')} ({lost:,} bytes skipped)")

    def _corrupt(self, shard: int, offset: int, what: str) -> SampleCNNError:
        return SampleCNNError(f"{self.paths[shard]}: damaged record at byte {offset}: {what}; {REMEDY}")


def task_of(folder: Path, num_classes: int, window: int) -> Task | None:
    """The task of a folder of TFRecords: of its task.json, else of the original's data set with these sizes, else None.

    Raises:
        UsageError: an invalid task.json.
    """
    from samplecnn.datasets import REGISTRY

    path = folder / TASK
    if path.exists():
        return Task.read(path, "docs/migrating.md shows one", UsageError)
    for dataset in REGISTRY.values():
        task = dataset.task()
        if (task.num_classes, task.window) == (num_classes, window):
            return replace(task, padding="stretch")  # the original's padding of short clips
    return None
