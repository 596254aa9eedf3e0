"""Keeps the windows of an index in few files: small parts are merged, and parts that are mostly out of use rewritten.

Every update adds a part, and windows of files that have changed stay in theirs. The new parts are written first; then
files.parquet, which says where the windows of each file are, replaces the old state at once. The next update removes
the old parts, so whoever is reading them can finish.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from samplecnn.index.packing import record_type
from samplecnn.index.parts import FILES, FIXED, PART_BYTES, files_schema, write_files, write_windows
from samplecnn.index.reader import Index
from samplecnn.index.settings import IndexSettings
from samplecnn.index.table import read_files

SMALL_PARTS = 8  # that are merged
SMALL_BYTES = PART_BYTES // 4


def compact(folder: Path, settings: IndexSettings) -> None:
    """Rewrites parts where that pays. The caller holds the lock of the index, whose journal is empty."""
    table, following = read_files(folder, settings, ["recording", "part", "row", "windows"])
    used = table.filter(table["part"].is_valid())
    if not len(used):
        return
    columns = [used[name].to_numpy() for name in ("part", "row", "recording", "windows")]
    places = np.unique(np.stack([column.astype(np.int64) for column in columns], axis=1), axis=0)
    index = Index(folder)
    chosen = _chosen(index, places, settings)
    if not chosen:
        return
    moved: dict[int, tuple[int, int]] = {}
    for batch in _batches(places[np.isin(places[:, 0], list(chosen))], settings):
        rows = np.cumsum([0, *batch[:, 3]]).tolist()
        tables = [index.part_window_rows(part, row, count) for part, row, _, count in batch.tolist()]
        embeddings = [index.part_embeddings(part)[row : row + count] for part, row, _, count in batch.tolist()]
        write_windows(folder, following, tables, np.concatenate(embeddings), settings)
        moved.update({int(place[2]): (following, rows[number]) for number, place in enumerate(batch)})
        following += 1
    whole = index.table
    places_now = [
        moved.get(recording, (part, row))
        for recording, part, row in zip(
            *(whole[name].to_pylist() for name in ("recording", "part", "row")), strict=True
        )
    ]
    for number, name in enumerate(("part", "row")):
        column = pa.array([place[number] for place in places_now], dict(FIXED)[name])
        whole = whole.set_column(whole.schema.get_field_index(name), name, column)
    write_files(folder / FILES, whole.replace_schema_metadata(files_schema(settings, following).metadata))


def _chosen(index: Index, places: np.ndarray, settings: IndexSettings) -> set[int]:
    """Parts to rewrite: less than half in use, or small where there are several such."""
    window = record_type(settings.embedding_size).itemsize + 4 * settings.task.num_classes
    small, sparse = set(), set()
    for part in np.unique(places[:, 0]).tolist():
        rows = len(index.part_embeddings(part))
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
