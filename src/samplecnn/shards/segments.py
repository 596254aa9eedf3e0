"""A format-independent view of the segments of one split."""

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

OPEN_MAPS = 128  # shards that are mapped or open at a time, at most: each holds an open file
# Read through the maps before their pages are released; the system maps a multiple of it.
RESIDENT_BYTES = 16 << 20


@cache
def open_shards() -> int:
    """Shards that one set of files keeps open: an eighth of the files that this process may open, at most OPEN_MAPS.

    A training has three splits open; with a limit of 256 files, the default on macOS, they take 96.
    """
    try:
        import resource
    except ImportError:  # Windows
        return OPEN_MAPS
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return OPEN_MAPS if soft == resource.RLIM_INFINITY else max(1, min(OPEN_MAPS, soft // 8))


class Segments(ABC):
    """The segments of one split, read at random without reading anything else.

    Attributes:
        folder: of the shards.
        split: "train", "val" or "test".
        paths: of the shards, in order.
        dtype: of the stored samples: int16 of scale 32768, or float32 of scale 1.
        task: what the shards were built for.
        labels: uint8 [n, classes].
        segment: int32 [n], the number in its clip, from 0.
        ids: list of n clip ids; a clip's segments follow each other.
        groups, folds: of each segment's clip, lists of n texts as in `datasets.base.Clip`; None where the data set has
            none, or the format no place for them.
        skipped: one line for each damaged record that was skipped.
        record: what the shards were built from, where `open_split` opened them.
        notes: what else a user should know, a line each.

    May be used from several threads. A pickle of it opens the files again, so it can be sent to worker processes.
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
        """int64 [clips]: the index of each clip's first segment."""
        return np.flatnonzero(self.segment == 0)

    @property
    def num_clips(self) -> int:
        return len(self.clip_starts)

    @property
    def bytes(self) -> int:
        """Of the files on disk."""
        return sum(path.stat().st_size for path in self.paths)

    def warnings(self, shown: int = 5) -> list[str]:
        """Notes, then lines that warn of skipped records: a heading, the first `shown`, and how many more."""
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
        """Copies the segments `rows`, all of them in range, to `out`."""

    def gather(self, indices: Sequence[int] | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The audio of the segments `indices`, in that order, as it is stored.

        Args:
            indices: integers [batch], from 0 to n - 1.
            out: [batch, window] of `dtype` to fill instead of a new array.

        Returns:
            int16 or float32 [batch, window].

        Raises:
            SampleCNNError: a record that is damaged.
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
        """The same as float32 [batch, window] in [-1, 1]."""
        audio = self.gather(indices)
        return from_int16(audio) if audio.dtype == np.int16 else audio


Stamps = dict[int, Stamp]  # of files that have been opened, by their number
Unpacked = Callable[[Any, Path], AbstractContextManager[Any]]  # an open file and its path -> its content as a file


def open_again(path: Path, number: int, stamps: Stamps) -> io.FileIO:
    """Opens file `number` of a set; whenever that is repeated, it must be the same file.

    Raises:
        SampleCNNError: another file has its name by now, or none.
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
    """Memory maps of a set of files, opened on demand; the least recently used is closed where there are too many."""

    def __init__(self, paths: Sequence[Path], stamps: Stamps | None = None, unpacked: Unpacked | None = None) -> None:
        self.paths = paths
        self.stamps = {} if stamps is None else stamps
        self._unpacked: Unpacked = unpacked or (lambda file, path: nullcontext(file))
        self._lock = threading.Lock()
        self._open: OrderedDict[int, mmap.mmap] = OrderedDict()
        self._resident = 0

    def __len__(self) -> int:
        """Files that are open."""
        return len(self._open)

    def __getitem__(self, number: int) -> Any:
        """The whole of file `number`, as a buffer."""
        with self._lock:
            whole = self._open.get(number)
            if whole is None:
                path = self.paths[number]
                with open_again(path, number, self.stamps) as packed, self._unpacked(packed, path) as file:
                    whole = self._open[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                if len(self._open) > open_shards():
                    self._open.popitem(last=False)  # closed when nothing refers to it any more
            else:
                self._open.move_to_end(number)
            return whole

    def release(self, count: int) -> None:
        """To be called after reading `count` bytes. Unmaps pages from time to time: they stay in the system's cache,
        but no longer count as this process's memory."""
        with self._lock:
            self._resident += count
            if self._resident < RESIDENT_BYTES or not hasattr(mmap, "MADV_DONTNEED"):
                return
            self._resident = 0
            for whole in self._open.values():
                whole.madvise(mmap.MADV_DONTNEED)


class Files:
    """Files for reading at any offset, opened on demand; the least recently used is closed where there are too many.

    A map's pages count as this process's memory until they are released, and where the system maps large pages that is
    up to 2 MB for each segment. Reading into the caller's array takes no more time and none of that memory.
    """

    def __init__(self, paths: Sequence[Path], stamps: Stamps | None = None) -> None:
        self.paths = paths
        self.stamps = {} if stamps is None else stamps
        self._lock = threading.Lock()
        self._open: OrderedDict[int, io.FileIO] = OrderedDict()

    def __len__(self) -> int:
        """Files that are open."""
        return len(self._open)

    def read(self, number: int, offset: int, out: np.ndarray) -> None:
        """Fills `out`, contiguous, from byte `offset` of file `number` on.

        Raises:
            SampleCNNError: it ends before that.
        """
        with self._lock:
            file = self._open.get(number)
            if file is None:
                file = self._open[number] = open_again(self.paths[number], number, self.stamps)
                if len(self._open) > open_shards():
                    self._open.popitem(last=False)  # closed when the last thread that reads from it is done
            else:
                self._open.move_to_end(number)
        if os.preadv(file.fileno(), [out.data], offset) != out.nbytes:
            raise SampleCNNError(f"{self.paths[number]}: shorter than when it was opened; build again with --force")
