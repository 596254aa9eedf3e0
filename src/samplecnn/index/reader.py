"""An index as it is read: its files as a table, and the tags, windows and embeddings of each, without any sound."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from samplecnn.audio import Remarks
from samplecnn.errors import AudioError, UsageError
from samplecnn.index.packing import unpacked
from samplecnn.index.part_reader import PartReader
from samplecnn.index.parts import FIXED, WINDOW_FIXED
from samplecnn.index.settings import IndexSettings, full_path
from samplecnn.index.table import paths_of, read_files
from samplecnn.tagging.tags import Tags
from samplecnn.task import Task

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
        parts: windows and embeddings by part.

    Raises:
        UsageError: the folder is no index, or is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.settings = IndexSettings.read(self.folder)
        self.table, _ = read_files(self.folder, self.settings)
        self.paths = paths_of(self.table)
        self.parts = PartReader(self.folder, self.settings)

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
            >>> report = samplecnn.update_index("sounds.index", "log/20261122_101500-sounds-se_multi", ["hum.wav"])
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
            table = self.parts.windows(part)
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
                inside = root.rstrip(os.sep) + os.sep
                rows = (
                    [self.rows[root]]
                    if root in self.rows
                    else [row for row, name in enumerate(self.paths) if name.startswith(inside)]
                )
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
            found = self.parts.rows(known["part"], known["row"], known["windows"])
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
        return np.asarray(self.parts.embeddings(known["part"])[known["row"] : known["row"] + known["windows"]])


def read_index(path: str | Path) -> Index:
    """Opens an index for reading. Its files are plain Parquet, which other programs read as they are.

    Args:
        path: the folder of the index.

    Raises:
        UsageError: the folder is no index, or is damaged.

    Example:
        >>> report = samplecnn.update_index("sounds.index", "log/20261122_101500-sounds-se_multi", ["hum.wav"])
        >>> index = samplecnn.read_index("sounds.index")
        >>> [(path, tags)] = index.outcomes(index.select(["hum.wav"]))
        >>> list(dict(tags.top(1))), len(tags.events(0.5))
        (['hum'], 1)
    """
    return Index(path)
