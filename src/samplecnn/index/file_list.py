"""Files of a collection as columns: for a million of them, an object each would take gigabytes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa
from pyarrow import compute

CHUNK = 4096  # files that become columns at a time


class Stamp(NamedTuple):
    """By what a file is known without being read: its size in bytes and its time of modification in nanoseconds."""

    size: int
    mtime_ns: int


def path_bytes(path: str) -> bytes:
    """A path as the system knows it; the index's order is that of these bytes."""
    return path.encode("utf-8", "surrogateescape")


def path_text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


class FileList(Sequence[str]):
    """Paths with sizes and times, in memory that is about 24 bytes a file and the paths' own.

    Args:
        paths: Arrow array of large_binary [files].
        sizes, times: int64 [files].
    """

    def __init__(self, paths: pa.Array, sizes: np.ndarray, times: np.ndarray) -> None:
        self.paths, self.sizes, self.times = paths, sizes, times

    @classmethod
    def of(cls, files: Iterable[tuple[str, Stamp]]) -> "FileList":
        """The files, each path once, in the order of their first appearance."""
        paths: list[pa.Array] = []
        stamps: list[np.ndarray] = []
        files = iter(files)
        while chunk := list(islice(files, CHUNK)):
            paths.append(pa.array([path_bytes(path) for path, _ in chunk], pa.large_binary()))
            stamps.append(np.array([stamp for _, stamp in chunk], np.int64))
        column = pa.concat_arrays(paths) if paths else pa.array([], pa.large_binary())
        sizes, times = np.concatenate([np.zeros((0, 2), np.int64), *stamps]).T.copy()
        distinct = column.unique()
        if len(distinct) == len(column):
            return cls(column, sizes, times)
        first = rows_of(distinct, column)
        return cls(distinct, sizes[first], times[first])

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, key: int) -> str: ...

    @overload
    def __getitem__(self, key: slice) -> list[str]: ...

    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            return [path_text(self.paths[row].as_py()) for row in range(*key.indices(len(self)))]
        return path_text(self.paths[key].as_py())

    def stamp(self, row: int) -> Stamp:
        return Stamp(int(self.sizes[row]), int(self.times[row]))

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def select(self, rows: np.ndarray) -> "FileList":
        """The files of some rows, int64 [rows]."""
        if len(rows) == len(self):
            return self
        return FileList(self.paths.take(pa.array(rows)), self.sizes[rows], self.times[rows])


def rows_of(paths: pa.Array, known: pa.Array) -> np.ndarray:
    """The row of each path in `known`, the first one if there are several; -1 for none. int64 [paths]."""
    return np.asarray(compute.index_in(paths, value_set=known).fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
