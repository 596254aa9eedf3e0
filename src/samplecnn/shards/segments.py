"""Format-independent access to the segments of one split."""

import io
import mmap
import os
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.audio import from_int16
from samplecnn.errors import SampleCNNError
from samplecnn.shards.identity import BuildRecord, Stamp, changed_while_in_use, check_unchanged, stamp_of
from samplecnn.task import Task

MAX_OPEN_FILES = 128  # shards that are mapped or open at a time
# Bytes read from the maps before their pages are released; due to large pages, memory use is a multiple of it.
RESIDENT_BYTES = 16 << 20


@cache
def open_shards() -> int:
    """Number of shards that one split keeps open: an eighth of the process's limit, at most MAX_OPEN_FILES.

    Training has three splits open, which take 96 of 256 files, the default limit on macOS.
    """
    try:
        import resource
    except ImportError:  # Windows
        return MAX_OPEN_FILES
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_OPEN_FILES if soft == resource.RLIM_INFINITY else max(1, min(MAX_OPEN_FILES, soft // 8))


class Segments(ABC):
    """The segments of one split, with random access.

    Attributes:
        folder: folder of the shards.
        split: "train", "val" or "test".
        paths: paths of the shards, in order.
        dtype: dtype of the stored samples: int16 with scale 32768, or float32 with scale 1.
        task: the task that the shards were built for.
        labels: uint8 [n, classes].
        segment: int32 [n], the number of the segment in its clip, from 0.
        ids: list of n clip ids; the segments of a clip are consecutive.
        groups, folds: group and fold of each segment's clip, lists of n texts as in `datasets.base.Clip`; None if the
            data set has none, or the format does not store them.
        skipped: one line for each damaged record that was skipped.
        record: identity of the shards, if opened by `open_split`.
        notes: other notes for the user.

    Thread-safe. Unpickling opens the files again, so it can be sent to worker processes.
    """

    folder: Path
    split: str
    paths: list[Path]
    dtype: type[np.int16] | type[np.float32]
    task: Task
    labels: np.ndarray
    segment: np.ndarray
    ids: list[str]
    groups: list[str] | None = None
    folds: list[str] | None = None
    skipped: Sequence[str] = ()
    record: BuildRecord | None = None
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.segment)

    @cached_property
    def clip_starts(self) -> np.ndarray:
        """Index of each clip's first segment, int64 [clips]."""
        return np.flatnonzero(self.segment == 0)

    @property
    def num_clips(self) -> int:
        return len(self.clip_starts)

    @property
    def bytes(self) -> int:
        """Size of the files on disk."""
        return sum(path.stat().st_size for path in self.paths)

    def warnings(self, shown: int = 5) -> list[str]:
        """Notes, then a warning about skipped records that lists the first `shown`."""
        if not self.skipped:
            return [*self.notes]
        more = [f"  and {len(self.skipped) - shown:,} more"] if len(self.skipped) > shown else []
        records = "record" if len(self.skipped) == 1 else "records"
        head = (
            f"warning: {len(self.skipped):,} damaged {records} in the {self.split} split skipped "
            f"({len(self):,} segments remain):"
        )
        return [*self.notes, head, *(f"  {line}" for line in self.skipped[:shown]), *more]

    @abstractmethod
    def _read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Copies the segments `rows`, all in range, to `out`."""

    def gather(self, indices: Sequence[int] | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The audio of the segments `indices`, in that order, in the stored dtype.

        Args:
            indices: integers [batch], from 0 to n - 1.
            out: [batch, window] of `dtype` to fill instead of a new array.

        Returns:
            int16 or float32 [batch, window].

        Raises:
            SampleCNNError: a damaged record.
        """
        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        if out is None:
            out = np.empty((len(rows), self.task.window), self.dtype)
        if len(rows) == 0:
            return out
        if rows.min() < 0 or rows.max() >= len(self):
            raise IndexError(f"segments 0 to {len(self) - 1} exist, not {rows.min()} to {rows.max()}")
        self._read(rows, out)
        return out

    def waveforms(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The audio of the segments `indices` as float32 [batch, window] in [-1, 1]."""
        audio = self.gather(indices)
        return from_int16(audio) if audio.dtype == np.int16 else audio


Stamps = dict[int, Stamp]  # stamps of opened files, by their number
Decompress = Callable[[Any, Path], AbstractContextManager[Any]]  # an open file and its path -> its content as a file


def open_unchanged(path: Path, number: int, stamps: Stamps) -> io.FileIO:
    """Opens file `number` of a set, which must be the same file each time.

    Raises:
        SampleCNNError: the file has been replaced or removed.
    """
    try:
        file = io.FileIO(path)
    except FileNotFoundError as error:
        raise changed_while_in_use(path) from error
    status = os.fstat(file.fileno())
    try:
        check_unchanged(path, stamps.setdefault(number, stamp_of(status)), status)
    except SampleCNNError:
        file.close()
        raise
    return file


class Maps:
    """Memory maps of a set of files, opened on demand; beyond the limit, the least recently used is closed."""

    def __init__(
        self, paths: Sequence[Path], stamps: Stamps | None = None, decompress: Decompress | None = None
    ) -> None:
        self.paths = paths
        self.stamps = {} if stamps is None else stamps
        self._decompress: Decompress = decompress or (lambda file, path: nullcontext(file))
        self._lock = threading.Lock()
        self._open: OrderedDict[int, mmap.mmap] = OrderedDict()
        self._resident = 0

    def __len__(self) -> int:
        """Number of open files."""
        return len(self._open)

    def __getitem__(self, number: int) -> Any:
        """The content of file `number` as a buffer."""
        with self._lock:
            whole = self._open.get(number)
            if whole is None:
                path = self.paths[number]
                with open_unchanged(path, number, self.stamps) as packed, self._decompress(packed, path) as file:
                    whole = self._open[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                if len(self._open) > open_shards():
                    self._open.popitem(last=False)  # closed with its last reference
            else:
                self._open.move_to_end(number)
            return whole

    def release(self, count: int) -> None:
        """Call after reading `count` bytes. Releases pages from time to time: they stay in the page cache but no longer
        count as this process's memory."""
        with self._lock:
            self._resident += count
            if self._resident < RESIDENT_BYTES or not hasattr(mmap, "MADV_DONTNEED"):
                return
            self._resident = 0
            for whole in self._open.values():
                whole.madvise(mmap.MADV_DONTNEED)


class Files:
    """Files for reading at any offset, opened on demand; beyond the limit, the least recently used is closed.

    The pages of a map count as this process's memory until they are released; with large pages that is up to 2 MB per
    segment. Reading into the caller's array is as fast, without that memory.
    """

    def __init__(self, paths: Sequence[Path], stamps: Stamps | None = None) -> None:
        self.paths = paths
        self.stamps = {} if stamps is None else stamps
        self._lock = threading.Lock()
        self._open: OrderedDict[int, io.FileIO] = OrderedDict()

    def __len__(self) -> int:
        """Number of open files."""
        return len(self._open)

    def read(self, number: int, offset: int, out: np.ndarray) -> None:
        """Fills `out`, which must be contiguous, from file `number` at byte `offset`.

        Raises:
            SampleCNNError: the file is too short.
        """
        with self._lock:
            file = self._open.get(number)
            if file is None:
                file = self._open[number] = open_unchanged(self.paths[number], number, self.stamps)
                if len(self._open) > open_shards():
                    self._open.popitem(last=False)  # closed with its last reference, which a reading thread may hold
            else:
                self._open.move_to_end(number)
        if os.preadv(file.fileno(), [out.data], offset) != out.nbytes:
            raise SampleCNNError(f"{self.paths[number]}: shorter than when it was opened; build again with --force")
