"""Running sums of excitations over a data set, and a table with all values, written batch by batch."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.analysis.excitation_result import BlockExcitations

if TYPE_CHECKING:
    from samplecnn.shards import Segments

BINS = 50  # histogram bins of the factors, over 0 to 1


class ExcitationSums:
    """Sums over the segments for one block, of differences from the first value, against cancellation in variances."""

    def __init__(self, classes: int, units: int) -> None:
        self.pivot: np.ndarray | None = None
        self.level_pivot = 0.0
        self.count = 0
        self.value, self.square, self.with_level = np.zeros((3, units))
        self.level: float = 0.0
        self.level_square: float = 0.0
        self.class_value, self.class_square = np.zeros((2, classes, units))
        self.histogram = np.zeros((classes, BINS), np.int64)

    def add(self, values: np.ndarray, labels: np.ndarray, level: np.ndarray) -> None:
        """Adds a batch: factors float32 [batch, units], labels bool [batch, classes], level in dB, float32 [batch]."""
        if self.pivot is None:
            self.pivot, self.level_pivot = values[0].astype(np.float64), float(level[0])
        x, y, member = values - self.pivot, level.astype(np.float64) - self.level_pivot, labels.T.astype(np.float64)
        self.count += len(x)
        self.value += x.sum(axis=0)
        self.square += np.square(x).sum(axis=0)
        self.with_level += y @ x
        self.level += float(y.sum())
        self.level_square += float(y @ y)
        self.class_value += member @ x
        self.class_square += member @ np.square(x)
        bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
        rows = bins + BINS * np.arange(len(bins))[:, None]
        binned = np.bincount(rows.ravel(), minlength=len(bins) * BINS).reshape(len(bins), BINS)
        self.histogram += labels.T.astype(np.int64) @ binned

    def result(self, name: str, counts: np.ndarray) -> BlockExcitations:
        """The block's statistics; `counts` is the number of segments of each class, int64 [classes]."""
        assert self.pivot is not None  # a batch has been added
        mean, level_mean = self.value / self.count, self.level / self.count
        variance = np.maximum(self.square / self.count - mean**2, 0)
        level_variance = max(self.level_square / self.count - level_mean**2, 0)
        shared = self.with_level / self.count - mean * level_mean
        constant = variance < 1e-13  # float32 rounding only
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = np.where(
                constant | (level_variance < 1e-9), np.nan, shared / np.sqrt(variance * level_variance)
            )
            class_mean = self.class_value / counts[:, None]
            # A segment counts once for each of its labels: total variance, and variance of the class means.
            assigned = max(counts.sum(), 1)
            middle = self.class_value.sum(axis=0) / assigned
            total = self.class_square.sum(axis=0) / assigned - middle**2
            means = np.nansum(counts[:, None] * (class_mean - middle) ** 2, axis=0) / assigned
            eta_squared = np.where(constant, np.nan, means / total)
        return BlockExcitations(
            name=name,
            mean=mean + self.pivot,
            std=np.sqrt(variance),
            class_mean=class_mean + self.pivot,
            loudness_correlation=np.clip(correlation, -1, 1),
            eta_squared=np.clip(eta_squared, 0, 1),
            histogram=self.histogram,
        )


@contextmanager
def parquet_writer(path: Path, segments: "Segments", sums: dict[str, ExcitationSums]) -> Iterator[Callable[..., None]]:
    """Yields a function that appends a batch to the Parquet file; the file appears when it is complete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from samplecnn.system.files import written_aside

    names = segments.task.classes
    columns = [("id", pa.string()), ("segment", pa.int32()), ("labels", pa.list_(pa.string()))]
    columns += [("loudness_db", pa.float32())]
    columns += [(name, pa.list_(pa.float32(), one.value.size)) for name, one in sums.items()]
    schema = pa.schema(columns)

    with written_aside(path) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as file:

        def write(rows: slice, labels: np.ndarray, level: np.ndarray, factors: dict[str, np.ndarray]) -> None:
            lists = [
                pa.FixedSizeListArray.from_arrays(pa.array(factors[name].ravel()), type=schema.field(name).type)
                for name in sums
            ]
            label_names = [list(itertools.compress(names, row)) for row in labels]
            head = [pa.array(segments.ids[rows]), pa.array(np.asarray(segments.segment[rows]), pa.int32())]
            file.write_batch(
                pa.record_batch(
                    [*head, pa.array(label_names, pa.list_(pa.string())), pa.array(level), *lists], schema=schema
                )
            )

        yield write
