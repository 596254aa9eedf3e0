"""Files of a collection as columns: for a million of them, an object each would take gigabytes."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa
from pyarrow import compute


class Stamp(NamedTuple):
    """By what a file is known without being read: its size in bytes and its time of modification in nanoseconds."""

    size: int
    mtime_ns: int


def path_bytes(path: str) -> bytes:
    """A path as the system knows it; the index's order is that of these bytes."""
    return path.encode("utf-8", "surrogateescape")


def path_text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


class PathColumn:
    """Paths that become an Arrow array, without an object for each."""

    def __init__(self) -> None:
        self.content, self.ends = bytearray(), array("q", [0])

    def add(self, path: str) -> None:
        self.content += path_bytes(path)
        self.ends.append(len(self.content))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, row: int) -> str:
        return path_text(bytes(self.content[self.ends[row] : self.ends[row + 1]]))

    def array(self) -> pa.Array:
        """The paths as large_binary [paths]. Nothing can be added afterwards."""
        buffers = [None, pa.py_buffer(self.ends), pa.py_buffer(self.content)]
        return pa.Array.from_buffers(pa.large_binary(), len(self), buffers)


class FileList(Sequence[str]):
    """Paths with sizes and times, in memory that is about 24 bytes a file and the paths' own.

    Args:
        paths: Arrow array of large_binary [files].
        sizes, times: int64 [files].
    """

    def __init__(self, paths: pa.Array, sizes: np.ndarray, times: np.ndarray) -> None:
        self.paths, self.sizes, self.times = paths, sizes, times

    @classmethod
    def of(cls, files: Iterable[tuple[str, Stamp]], distinct: bool = False) -> "FileList":
        """The files, each path once, in the order of their first appearance.

        Args:
            files: paths and stamps.
            distinct: no path appears twice.
        """
        paths, sizes, times = PathColumn(), array("q"), array("q")
        for path, (size, time) in files:
            paths.add(path)
            sizes.append(size)
            times.append(time)
        found = cls(paths.array(), np.frombuffer(sizes, np.int64), np.frombuffer(times, np.int64))
        if distinct:
            return found
        first = np.unique(rows_of(found.paths, found.paths))
        return found.select(first)

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
