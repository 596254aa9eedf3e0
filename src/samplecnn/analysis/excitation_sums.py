"""A pass over a data set keeps only sums of the excitations; all values go to a table as they come."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.analysis.excitation_result import BlockExcitations

if TYPE_CHECKING:
    from samplecnn.shards import Segments

BINS = 50  # of a factor, over 0 to 1


class Sums:
    """Sums over the segments, kept around a first value so that nothing cancels in the variances."""

    def __init__(self, classes: int, units: int) -> None:
        self.pivot: np.ndarray | None = None
        self.level_pivot = 0.0
        self.count = 0
        self.value, self.square, self.with_level = np.zeros((3, units))
        self.level: float = 0.0
        self.level_square: float = 0.0
        self.of_class, self.square_of_class = np.zeros((2, classes, units))
        self.histogram = np.zeros((classes, BINS), np.int64)

    def add(self, values: np.ndarray, labels: np.ndarray, level: np.ndarray) -> None:
        """A batch: factors [batch, units], labels bool [batch, classes], level in dB [batch]."""
        if self.pivot is None:
            self.pivot, self.level_pivot = values[0].astype(np.float64), float(level[0])
        x, y, member = values - self.pivot, level.astype(np.float64) - self.level_pivot, labels.T.astype(np.float64)
        self.count += len(x)
        self.value += x.sum(axis=0)
        self.square += np.square(x).sum(axis=0)
        self.with_level += y @ x
        self.level += float(y.sum())
        self.level_square += float(y @ y)
        self.of_class += member @ x
        self.square_of_class += member @ np.square(x)
        bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
        rows = bins + BINS * np.arange(len(bins))[:, None]
        binned = np.bincount(rows.ravel(), minlength=len(bins) * BINS).reshape(len(bins), BINS)
        self.histogram += labels.T.astype(np.int64) @ binned

    def result(self, name: str, counts: np.ndarray) -> BlockExcitations:
        assert self.pivot is not None  # a batch was added
        mean, level_mean = self.value / self.count, self.level / self.count
        variance = np.maximum(self.square / self.count - mean**2, 0)
        level_variance = max(self.level_square / self.count - level_mean**2, 0)
        shared = self.with_level / self.count - mean * level_mean
        constant = variance < 1e-13  # all there is, is the rounding of float32
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = np.where(
                constant | (level_variance < 1e-9), np.nan, shared / np.sqrt(variance * level_variance)
            )
            class_mean = self.of_class / counts[:, None]
            # Over the segments once for each of their labels: the variance there is, and that of the classes' means.
            assigned = max(counts.sum(), 1)
            middle = self.of_class.sum(axis=0) / assigned
            total = self.square_of_class.sum(axis=0) / assigned - middle**2
            means = np.nansum(counts[:, None] * (class_mean - middle) ** 2, axis=0) / assigned
            between = np.where(constant, np.nan, means / total)
        return BlockExcitations(
            name=name,
            mean=mean + self.pivot,
            std=np.sqrt(variance),
            class_mean=class_mean + self.pivot,
            loudness_correlation=np.clip(correlation, -1, 1),
            between=np.clip(between, 0, 1),
            histogram=self.histogram,
        )


@contextmanager
def writer(path: Path, segments: "Segments", sums: dict[str, Sums]) -> Iterator[Callable[..., None]]:
    """A function that appends a batch to the Parquet file, which appears when all are there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from samplecnn.system.files import written_aside

    names = segments.task.classes
    columns = [("id", pa.string()), ("segment", pa.int32()), ("labels", pa.list_(pa.string()))]
    columns += [("loudness_db", pa.float32())]
    columns += [(name, pa.list_(pa.float32(), one.value.size)) for name, one in sums.items()]
    schema = pa.schema(columns)

    with written_aside(path) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as file:

        def write(rows: slice, labels: np.ndarray, level: np.ndarray, caught: dict[str, np.ndarray]) -> None:
            lists = [
                pa.FixedSizeListArray.from_arrays(pa.array(caught[name].ravel()), type=schema.field(name).type)
                for name in sums
            ]
            said = [list(itertools.compress(names, row)) for row in labels]
            head = [pa.array(segments.ids[rows]), pa.array(np.asarray(segments.segment[rows]), pa.int32())]
            file.write_batch(
                pa.record_batch([*head, pa.array(said, pa.list_(pa.string())), pa.array(level), *lists], schema=schema)
            )

        yield write
