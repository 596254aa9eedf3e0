"""Keeps the windows of an index in few files: small parts are merged, and parts that are mostly out of use rewritten.

Every update adds a part, and windows of files that have changed stay in theirs. The new parts are written first; then
files.parquet, which says where the windows of each file are, replaces the old state at once. The next update removes
the old parts, so whoever is reading them can finish.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from samplecnn.index.packing import record_type
from samplecnn.index.part_reader import PartReader
from samplecnn.index.part_writer import windows_writer
from samplecnn.index.parts import PART_BYTES
from samplecnn.index.rewrite import TableChanges, rewrite
from samplecnn.index.settings import IndexSettings
from samplecnn.index.table import read_files

SMALL_PARTS = 8  # that are merged
SMALL_BYTES = PART_BYTES // 4
OPEN = 4  # parts that are open while others are written


def compact(folder: Path, settings: IndexSettings) -> None:
    """Rewrites parts where that pays. The caller holds the lock of the index, whose journal is empty."""
    table, following = read_files(folder, settings, ["recording", "part", "row", "windows"])
    used = table.filter(table["part"].is_valid())
    if not len(used):
        return
    columns = [used[name].to_numpy() for name in ("part", "row", "recording", "windows")]
    places = np.unique(np.stack([column.astype(np.int64) for column in columns], axis=1), axis=0)
    parts = PartReader(folder, settings, OPEN)
    chosen = _chosen(parts, places, settings)
    if not chosen:
        return
    places = places[np.isin(places[:, 0], list(chosen))]
    moved = np.empty((len(places), 2), np.int64)  # part and row
    done = 0
    for batch in _batches(places, settings):
        with windows_writer(folder, following, settings) as writer:
            for part, row, _, count in batch.tolist():
                moved[done] = following, writer.count
                writer.add(parts.rows(part, row, count), parts.embeddings(part)[row : row + count])
                done += 1
        following += 1
    recording = table["recording"].fill_null(-1).to_numpy()
    order = np.argsort(places[:, 2])
    at = order[np.minimum(np.searchsorted(places[:, 2], recording, sorter=order), len(order) - 1)]
    is_moved = places[at, 2] == recording
    now = {
        name: np.where(is_moved, moved[at, number], table[name].fill_null(-1).to_numpy())
        for number, name in enumerate(("part", "row"))
    }
    rewrite(folder, settings, TableChanges(), now, following)


def _chosen(parts: PartReader, places: np.ndarray, settings: IndexSettings) -> set[int]:
    """Parts to rewrite: less than half in use, or small where there are several such."""
    window = record_type(settings.embedding_size).itemsize + 4 * settings.task.num_classes
    small, sparse = set(), set()
    for part in np.unique(places[:, 0]).tolist():
        rows = len(parts.embeddings(part))
        if rows * window < SMALL_BYTES:
            small.add(part)
        if 2 * places[places[:, 0] == part, 3].sum() < rows:
            sparse.add(part)
    return sparse | (small if len(small) >= SMALL_PARTS else set())


def _batches(places: np.ndarray, settings: IndexSettings) -> Iterator[np.ndarray]:
    """Recordings (part, row, recording, windows) for one part each."""
    window = record_type(settings.embedding_size).itemsize + 4 * settings.task.num_classes
    group = np.cumsum(places[:, 3] * window) // PART_BYTES
    for number in np.unique(group):
        yield places[group == number]
