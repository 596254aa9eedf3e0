"""An index as it is read: its files as a table, and the tags, windows and embeddings of each, without any sound."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from samplecnn.audio import Remarks
from samplecnn.errors import AudioError, UsageError
from samplecnn.index.changes import is_below
from samplecnn.index.packing import record_type, unpacked
from samplecnn.index.parts import FIXED, WINDOW_FIXED, part_file, windows_schema
from samplecnn.index.settings import IndexSettings, full_path
from samplecnn.index.table import DAMAGED, paths_of, read_files
from samplecnn.tagging.tags import Tags
from samplecnn.task import Task

GROUPS = 8  # row groups of windows that are kept in memory
SHOWN = (
    "path",
    "seconds",
    "error",
    "silent",
    "missing",
    "cancels",
    "size",
    "mtime_ns",
    "sha256",
    "recording",
    "windows",
)


@dataclass(frozen=True, eq=False)
class IndexedTags(Tags):
    """The tags of a recording from an index: as `Tags`, with windows rounded as `index.packing` says.

    Args:
        exact: scores of the whole recording, float32 [classes], as the model gave them.
    """

    exact: np.ndarray | None = None

    @property
    def scores(self) -> np.ndarray:
        return super().scores if self.exact is None else self.exact


class Index:
    """An index, in the state that it has now; an update that follows does not change it.

    Args:
        folder: of the index.

    Attributes:
        settings: what made it (`settings.IndexSettings`).

    Raises:
        UsageError: the folder is no index, or is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.settings = IndexSettings.read(self.folder)
        self.table, _ = read_files(self.folder, self.settings)
        self.paths = paths_of(self.table)
        self._windows = lru_cache(GROUPS)(self._window_group)
        self._files = lru_cache(64)(self._open_windows)
        self._embeddings = lru_cache(64)(self._open_embeddings)

    @property
    def task(self) -> Task:
        """Of the model: classes, rate, window, thresholds."""
        return self.settings.task

    @property
    def classes(self) -> tuple[str, ...]:
        return self.settings.task.classes

    @cached_property
    def rows(self) -> dict[str, int]:
        """The rows of files by their absolute paths."""
        return {path: row for row, path in enumerate(self.paths)}

    @cached_property
    def deleted(self) -> np.ndarray:
        """Whether each file was gone at the last update, bool [files]."""
        return np.asarray(self.table["deleted"].to_numpy())

    @cached_property
    def failed(self) -> np.ndarray:
        """Whether each file has an error, bool [files]."""
        return np.asarray(self.table["error"].is_valid().to_numpy())

    @cached_property
    def scores(self) -> np.ndarray:
        """Scores of every file, float32 [files, classes]; NaN for those with an error."""
        columns = self.table.columns[len(FIXED) :]
        return np.stack([column.to_numpy() for column in columns], axis=1).astype(np.float32, copy=False)

    def files(self) -> pa.Table:
        """A table of the files that are there, for pandas, Polars, DuckDB: facts, and a score for each class.

        Example:
            >>> report = samplecnn.update_index("sounds.index", "log/20261122_101500-sounds-se", ["hum.wav"])
            >>> table = samplecnn.read_index("sounds.index").files()
            >>> table.num_rows, table.column_names[:3]
            (1, ['path', 'seconds', 'error'])
        """
        scores = self.table.column_names[len(FIXED) :]
        return self.table.filter(pa.array(~self.deleted)).select([*SHOWN, *scores])

    def windows(self) -> Iterator[pa.Table]:
        """Tables of windows (recording, start, end, a score for each class) of the files that are there, part by part.

        `recording` refers to the column of that name in `files`.
        """
        live = self.table.filter(pa.array(~self.deleted & ~self.failed))
        wanted = live["recording"].unique()
        for part in sorted(live["part"].unique().to_pylist()):
            table = _read(lambda part=part: self._files(part)[0].read(), part_file(self.folder, "windows", part))
            yield table.filter(pa.compute.is_in(table["recording"], value_set=wanted))

    def select(self, paths: Sequence[str | Path] = (), deleted: bool = False) -> np.ndarray:
        """The rows of files at or below some paths, in the order of paths, int64 [files].

        Args:
            paths: files and folders; none: all.
            deleted: also those that were gone at the last update.

        Raises:
            UsageError: a path of which the index has no files.
        """
        keep = np.ones(len(self.paths), bool) if deleted else ~self.deleted
        if paths:
            roots = [full_path(path) for path in paths]
            below = np.zeros(len(self.paths), bool)
            for given, root in zip(paths, roots, strict=True):
                rows = [row for row, name in enumerate(self.paths) if is_below(name, [root])]
                if not rows:
                    raise UsageError(f"{given}: the index {self.folder} has no files of it")
                below[rows] = True
            keep &= below
        return np.flatnonzero(keep)

    def outcomes(
        self, rows: Iterable[int], windows: bool = True, embeddings: bool = False
    ) -> Iterator[tuple[str, Tags | AudioError]]:
        """The paths of files and their tags, or what is wrong with them, as `Tagger.tag_files` gives them.

        Args:
            rows: of the files.
            windows: False: only the scores of the whole recordings are needed, which is much faster.
            embeddings: read them too.
        """
        for row in rows:
            yield self.paths[row], self.outcome(int(row), windows, embeddings)

    def outcome(self, row: int, windows: bool = True, embeddings: bool = False) -> Tags | AudioError:
        """The tags of a file, or what is wrong with it. Arguments: see `outcomes`."""
        known = self.facts(row)
        if known["error"] is not None:
            return AudioError(known["error"])
        task = self.task
        if windows:
            found = self.part_window_rows(known["part"], known["row"], known["windows"])
            starts = np.rint(found["start"].to_numpy() * task.sample_rate).astype(np.int64)
            columns = found.columns[len(WINDOW_FIXED) :]
            over_time = np.stack([column.to_numpy() for column in columns], axis=1)
        else:
            starts, over_time = np.zeros(1, np.int64), self.scores[row][None]
        return IndexedTags(
            task=task,
            over_time=over_time,
            starts=starts,
            samples=known["samples"],
            silent=known["silent"],
            remarks=Remarks(known["missing"], known["seconds"], known["cancels"]),
            embeddings=unpacked(self.embedding_records(row)) if embeddings else None,
            exact=self.scores[row],
        )

    def facts(self, row: int) -> dict[str, Any]:
        """What is known of a file besides its scores, by the names of `parts.FIXED`."""
        return {name: self.table[name][row].as_py() for name, _ in FIXED}

    def embedding_records(self, row: int) -> np.ndarray:
        """The embeddings of a file's windows as they are stored, records [windows] (`packing.record_type`)."""
        known = self.facts(row)
        return np.asarray(self._embeddings(known["part"])[known["row"] : known["row"] + known["windows"]])

    def part_embeddings(self, part: int) -> np.ndarray:
        """All embeddings of a part, memory-mapped, records [windows]."""
        return self._embeddings(part)

    def part_windows(self, part: int, columns: Sequence[str]) -> pa.Table:
        """Columns of all windows of a part."""
        return _read(lambda: self._files(part)[0].read(columns=list(columns)), part_file(self.folder, "windows", part))

    def part_window_rows(self, part: int, row: int, count: int) -> pa.Table:
        """Windows of a part, from a row on."""
        starts = self._files(part)[1]
        first = int(np.searchsorted(starts, row, side="right")) - 1
        tables, end = [], row + count
        while first < len(starts) - 1 and starts[first] < end:
            group, begin = self._windows(part, first), int(starts[first])
            tables.append(group.slice(max(row - begin, 0), min(end, begin + len(group)) - max(row, begin)))
            first += 1
        table = pa.concat_tables(tables) if tables else windows_schema(self.settings).empty_table()
        if len(table) != count:
            raise UsageError(f"{part_file(self.folder, 'windows', part)}: has too few windows; {DAMAGED}")
        return table

    def _window_group(self, part: int, group: int) -> pa.Table:
        path = part_file(self.folder, "windows", part)
        return _read(lambda: self._files(part)[0].read_row_group(group), path)

    def _open_windows(self, part: int) -> tuple[parquet.ParquetFile, np.ndarray]:
        """A part's file, and the first row of each of its groups, with the end behind them."""
        path = part_file(self.folder, "windows", part)
        file = _read(lambda: parquet.ParquetFile(path), path)
        if file.schema_arrow.remove_metadata() != windows_schema(self.settings):
            raise UsageError(f"{path}: its columns are not those of the index's settings.json; {DAMAGED}")
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        return file, np.cumsum([0, *sizes])

    def _open_embeddings(self, part: int) -> np.ndarray:
        path = part_file(self.folder, "embeddings", part)
        found = _read(lambda: np.load(path, mmap_mode="r", allow_pickle=False), path)
        if found.dtype != record_type(self.settings.embedding_size) or found.ndim != 1:
            raise UsageError(f"{path}: not the embeddings of this index; {DAMAGED}")
        return found


def _read(read: Any, path: Path) -> Any:
    """What `read` reads from a file; its errors name the file and the remedy."""
    try:
        return read()
    except FileNotFoundError:
        raise UsageError(f"{path}: not there any more; if an update has just ended, run the command again") from None
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: {DAMAGED} ({str(error).partition(chr(10))[0]})") from error


def read_index(path: str | Path) -> Index:
    """Opens an index for reading. Its files are plain Parquet, which other programs read as they are.

    Args:
        path: the folder of the index.

    Raises:
        UsageError: the folder is no index, or is damaged.

    Example:
        >>> report = samplecnn.update_index("sounds.index", "log/20261122_101500-sounds-se", ["hum.wav"])
        >>> index = samplecnn.read_index("sounds.index")
        >>> [(path, tags)] = index.outcomes(index.select(["hum.wav"]))
        >>> list(dict(tags.top(1))), len(tags.events(0.5))
        (['hum'], 1)
    """
    return Index(path)
