"""Reads windows and embeddings of an index by part and row."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from samplecnn.errors import UsageError
from samplecnn.index.packing import record_type
from samplecnn.index.parts import part_file, windows_schema
from samplecnn.index.settings import IndexSettings
from samplecnn.index.table import DAMAGED

GROUPS = 8  # row groups of windows that are kept in memory
OPEN = 64  # parts that are kept open


class PartReader:
    """The parts of an index.

    Args:
        folder: of the index.
        settings: its settings.
        opened: how many parts stay open; the pages that are read of their embeddings count as memory of the process.
    """

    def __init__(self, folder: Path, settings: IndexSettings, opened: int = OPEN) -> None:
        self.folder, self.settings = folder, settings
        self._windows = lru_cache(GROUPS)(self._window_group)
        self._files = lru_cache(opened)(self._open_windows)
        self._embeddings = lru_cache(opened)(self._open_embeddings)

    def embeddings(self, part: int) -> np.ndarray:
        """All embeddings of a part, memory-mapped, records [windows]."""
        return self._embeddings(part)

    def windows(self, part: int, columns: Sequence[str] | None = None) -> pa.Table:
        """All windows of a part; with `columns`, only these."""
        names = None if columns is None else list(columns)
        return _read(lambda: self._files(part)[0].read(names), part_file(self.folder, "windows", part))

    def rows(self, part: int, row: int, count: int) -> pa.Table:
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
