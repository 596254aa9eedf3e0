"""What sounds like a recording, or like a moment of one: the cosine of embeddings, over all windows of an index.

The embeddings are read through a memory map, block by block: bytes become floats in a buffer that stays in the cache,
and one product with the query gives a block's similarities. With value = low + step * byte, the product of a vector
with the query q is low * sum(q) + step * (bytes @ q), so a vector is never restored.
"""

import math
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.index.reader import Index
from samplecnn.index.settings import full_path
from samplecnn.index.verify import open_model
from samplecnn.system.cpu import usable_cpus

BLOCK_BYTES = 1 << 20  # of floats, which a core's cache holds
_AT = re.compile(r"(.+)@(\d+(?:\.\d+)?)", re.DOTALL)


class Hit(NamedTuple):
    """A window that is like the query: `similarity` is the cosine of the embeddings, 1 for the same direction."""

    path: str
    start: float
    end: float
    similarity: float


@dataclass(frozen=True, eq=False)
class Query:
    """What to look for.

    Args:
        vector: an embedding, float32 [size].
        recording: of the index that it comes from; None: of none. Hits in it are left out,
        but for those that do not overlap the time from `start` to `end` where it is a moment of the recording.
    """

    vector: np.ndarray
    recording: int | None = None
    start: float = -math.inf
    end: float = math.inf


def query_of(index: Index, text: str, engine: str = "auto") -> Query:
    """The query that "FILE" or "FILE@SECONDS" means: the mean over a recording, or the window nearest to a time.

    A file of the index is looked up; any other one is run through the model of the index, by `engine`.

    Raises:
        UsageError: no such file, or no such time in it.
        AudioError: a file that cannot be used.
    """
    path, seconds = text, None
    match = _AT.fullmatch(text)
    if match is not None and full_path(text) not in index.rows and not Path(text).exists():
        path, seconds = match[1], float(match[2])
    row, recording = index.rows.get(full_path(path)), None
    if row is not None and not index.failed[row]:
        tags: Any = index.outcome(row, embeddings=True)
        recording = index.facts(row)["recording"]
    elif Path(path).exists():
        tags = open_model(index, engine)(path)
    else:
        raise UsageError(f"{path}: not a file of the index, and there is no such file")
    if seconds is None:
        return Query(tags.embedding, recording)
    if seconds > tags.seconds:
        raise UsageError(f"{text}: the recording ends at {tags.seconds:.2f} s")
    nearest = int(np.argmin(np.abs((tags.times + tags.ends) / 2 - seconds)))
    return Query(tags.embedding_over_time[nearest], recording, float(tags.times[nearest]), float(tags.ends[nearest]))


def find_similar(index: Index, query: Query, count: int = 10, per_file: bool = True) -> list[Hit]:
    """The windows whose embeddings are most like a query's, best first.

    Args:
        index: to search.
        query: what to look for.
        count: how many.
        per_file: only the best window of every file.

    Example:
        >>> report = samplecnn.update_index("demo.index", "log/20261122_101500-sounds-se_multi", ["sounds"], hop=0.05)
        >>> index = samplecnn.read_index("demo.index")
        >>> hits = find_similar(index, query_of(index, "sounds/hum/1.wav"), 3)
        >>> [Path(hit.path).parent.name for hit in hits]
        ['hum', 'hum', 'hum']
    """
    if count < 1:
        raise UsageError(f"the number of hits must be 1 or more, not {count}")
    places = _places(index)
    best: list[tuple[float, int, int]] = []  # similarity, place, window
    parts: dict[int, list[_Place]] = {}
    for place in places.values():
        parts.setdefault(place.part, []).append(place)
    for part, similarities in _similarities(index, query.vector, sorted(parts)):
        own = places.get(query.recording) if query.recording is not None else None
        if own is not None and own.part == part:
            _leave_out(index, own, query, similarities)
        best = _best([*best, *_candidates(similarities, parts[part], count, per_file)], count)
    return [hit for found in best for hit in _hits(index, places, *found)][:count]


class _Place(NamedTuple):
    """Where the windows of a recording are, and the rows of the files that have it."""

    recording: int
    part: int
    row: int
    windows: int
    files: list[int]


def _places(index: Index) -> dict[int, _Place]:
    """The recordings of files that are there, by number."""
    columns = [index.table[name].to_numpy(zero_copy_only=False) for name in ("recording", "part", "row", "windows")]
    found: dict[int, _Place] = {}
    for file in np.flatnonzero(~index.deleted & ~index.failed).tolist():
        recording, part, row, windows = (int(column[file]) for column in columns)
        found.setdefault(recording, _Place(recording, part, row, windows, [])).files.append(file)
    return found


def _similarities(index: Index, vector: np.ndarray, parts: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The cosine of every window of each part with a vector, float32 [windows]."""
    norm = float(np.linalg.norm(vector))
    query = np.ascontiguousarray(vector / norm if norm else vector, np.float32)
    total = float(query.sum(dtype=np.float64))
    block = max(BLOCK_BYTES // (4 * max(len(query), 1)), 16)

    def compute(records: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
        buffer = np.empty((block, len(query)), np.float32)
        for start in range(first, last, block):
            rows = records[start : min(start + block, last)]
            floats = buffer[: len(rows)]
            np.copyto(floats, rows["bytes"])
            products = (floats @ query) * rows["step"] + rows["low"] * total
            out[start : start + len(rows)] = products / np.maximum(rows["norm"], np.finfo(np.float32).tiny)

    threads = usable_cpus()
    with ThreadPoolExecutor(threads) as pool:
        for part in parts:
            records = index.parts.embeddings(part)
            found = np.empty(len(records), np.float32)
            edges = [len(records) * number // threads for number in range(threads + 1)]
            jobs = [pool.submit(compute, records, found, *limits) for limits in pairwise(edges)]
            for job in jobs:
                job.result()
            yield part, found


def _leave_out(index: Index, own: _Place, query: Query, similarities: np.ndarray) -> None:
    """Takes the windows of the query itself out of the running."""
    windows = index.parts.rows(own.part, own.row, own.windows)
    overlaps = (windows["start"].to_numpy() < query.end) & (windows["end"].to_numpy() > query.start)
    similarities[own.row : own.row + own.windows][overlaps] = -np.inf


def _candidates(
    similarities: np.ndarray, places: list[_Place], count: int, per_file: bool
) -> list[tuple[float, int, int]]:
    """The best windows of a part: (similarity, recording, window of the recording)."""
    if per_file:
        firsts = np.array([place.row for place in places])
        edges = np.stack([firsts, firsts + [place.windows for place in places]], axis=1).ravel()
        order = np.argsort(firsts, kind="stable")
        edges = edges.reshape(-1, 2)[order].ravel()
        highest = np.maximum.reduceat(np.append(similarities, -np.inf), edges)[::2]
        chosen = []
        for position in np.argsort(-highest, kind="stable")[:count].tolist():
            place = places[int(order[position])]
            window = int(similarities[place.row : place.row + place.windows].argmax())
            chosen.append((float(highest[position]), place.recording, window))
        return chosen
    found: list[tuple[float, int, int]] = []
    for place in places:
        own = similarities[place.row : place.row + place.windows]
        top = np.argpartition(-own, min(count, len(own)) - 1)[:count]
        found += [(float(own[window]), place.recording, int(window)) for window in top]
    return found


def _best(found: list[tuple[float, int, int]], count: int) -> list[tuple[float, int, int]]:
    return sorted((hit for hit in found if hit[0] > -np.inf), key=lambda hit: (-hit[0], *hit[1:]))[:count]


def _hits(index: Index, places: dict[int, _Place], similarity: float, recording: int, window: int) -> list[Hit]:
    place = places[recording]
    row = index.parts.rows(place.part, place.row + window, 1)
    start, end = row["start"][0].as_py(), row["end"][0].as_py()
    return [Hit(index.paths[file], start, end, min(similarity, 1.0)) for file in place.files]
