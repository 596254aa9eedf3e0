"""Excitations over a data set: how every block rescales its features, by class and by loudness (JSTSP 2019).

The squeeze-and-excitation of a block gives every feature ("unit") a factor in (0, 1) for each segment. They pass by in
batches: what is kept are sums for each class and unit, so memory does not grow with the data set.
"""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from samplecnn.errors import UsageError
from samplecnn.evaluation.inference import ahead, exact, standardise
from samplecnn.models.layers import Excitation
from samplecnn.progress import Progress

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.shards import Segments

SILENCE = -100.0  # dBFS that count as silence: digital zeros have no level
BINS = 50  # of a factor, over 0 to 1


@dataclass(frozen=True)
class BlockExcitations:
    """One block's factors over all segments. A segment with several labels counts for each of its classes.

    Args:
        name: "block0", ...; "stem" and "tail" where a network has them.
        mean: of every unit over all segments, float64 [units].
        std: of every unit over all segments, float64 [units].
        class_mean: of every unit over the segments of a class, float64 [classes, units]; NaN for a class without any.
        loudness_correlation: of every unit with the segments' level in dB (Pearson), float64 [units]; NaN where one of
            the two does not vary.
        between: share of every unit's variance that lies between the classes' means (eta squared), float64 [units];
            NaN for a unit that does not vary.
        histogram: factors of all units in BINS equal bins of (0, 1), by class, int64 [classes, BINS].
    """

    name: str
    mean: np.ndarray
    std: np.ndarray
    class_mean: np.ndarray
    loudness_correlation: np.ndarray
    between: np.ndarray
    histogram: np.ndarray

    @property
    def units(self) -> int:
        return len(self.mean)

    @property
    def class_std(self) -> np.ndarray:
        """Of every unit: the standard deviation of the classes' means, float64 [units]."""
        present = self.class_mean[~np.isnan(self.class_mean[:, 0])]
        return present.std(axis=0) if len(present) else np.full(self.units, np.nan)


@dataclass(frozen=True)
class Excitations:
    """What a pass over a data set gives.

    Args:
        classes: names.
        blocks: first to last.
        counts: segments of every class, int64 [classes].
        segments: of the data set.
        loudness: of every segment, dB relative to full scale, float32 [segments].
        task: the data set's name.
    """

    classes: tuple[str, ...]
    blocks: tuple[BlockExcitations, ...]
    counts: np.ndarray
    segments: int
    loudness: np.ndarray
    task: str

    @property
    def names(self) -> list[str]:
        return [block.name for block in self.blocks]

    @property
    def spread(self) -> np.ndarray:
        """Across classes, of every block: the mean over units of `class_std`, float64 [blocks]."""
        return np.array([np.mean(block.class_std) for block in self.blocks])

    @property
    def between(self) -> np.ndarray:
        """The mean over units of the variance between classes as a share of all, float64 [blocks]."""
        return np.array([_mean(block.between) for block in self.blocks])

    @property
    def chance(self) -> float:
        """What `between` would be if labels had nothing to do with excitations: (classes - 1) / (segments - 1)."""
        present = np.count_nonzero(self.counts)
        return (present - 1) / max(self.counts.sum() - 1, 1)

    @property
    def loudness_correlation(self) -> np.ndarray:
        """The mean over units of the correlation's size, float64 [blocks]."""
        return np.array([_mean(np.abs(block.loudness_correlation)) for block in self.blocks])

    def block(self, which: int | str) -> BlockExcitations:
        """By number (-1 is the last) or by name."""
        try:
            return self.blocks[which if isinstance(which, int) else self.names.index(which)]
        except (IndexError, ValueError):
            raise UsageError(f"no excitations in {which!r}; there are {', '.join(self.names)}") from None

    def linkage(self, which: int | str = -1) -> tuple[np.ndarray, list[int]]:
        """Classes clustered by the means of their excitations in a block.

        Every unit is divided by its standard deviation over the segments, so that each has a say; clusters are merged
        by Ward's criterion.

        Returns:
            The merges as scipy.cluster.hierarchy has them, [classes with segments - 1, 4], and the numbers of these
            classes.

        Raises:
            UsageError: fewer than two classes have segments.
        """
        from scipy.cluster.hierarchy import linkage  # type: ignore[import-untyped]

        present = np.flatnonzero(self.counts).tolist()
        if len(present) < 2:
            raise UsageError("fewer than two classes have segments, so there is nothing to cluster")
        block = self.block(which)
        scaled = block.class_mean[present] / np.where(block.std > 0, block.std, 1)
        return linkage(scaled, "ward", optimal_ordering=len(present) <= 200), present

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file: the figures of every block."""
        rows = [
            {
                "block": block.name,
                "units": block.units,
                "mean": float(block.mean.mean()),
                "spread_across_classes": float(self.spread[index]),
                "share_between_classes": _number(self.between[index]),
                "loudness_correlation": _number(self.loudness_correlation[index]),
                "strongest_loudness_correlation": _number(_strongest(block.loudness_correlation)),
            }
            for index, block in enumerate(self.blocks)
        ]
        return {
            "data_set": self.task,
            "segments": self.segments,
            "chance_share_between_classes": self.chance,
            "loudness_db": {"mean": float(self.loudness.mean()), "std": float(self.loudness.std())},
            "segments_of_class": {name: int(count) for name, count in zip(self.classes, self.counts, strict=True)},
            "blocks": rows,
        }


def excitations(
    model: "SampleCNN",
    segments: "Segments",
    batch_size: int = 23,
    progress: bool = False,
    parquet: str | Path | None = None,
    num_readers: int = 2,
) -> Excitations:
    """Runs a model over a split and sums up the excitations of every block.

    Args:
        model: with squeeze and excitation (se, rese1, rese2) and its task.
        segments: a split of a built data set with the model's classes.
        batch_size: segments a step; the figures do not depend on it.
        progress: shows a bar on stderr.
        parquet: file for all values: a row for each segment with `id`, `segment`, `labels` (list of class names),
            `loudness_db` and for each block a list of its factors, float32.
        num_readers: threads that read ahead.

    Raises:
        UsageError: a model without excitations or without a task, or an empty split.
    """
    task = model.task
    if task is None:
        raise UsageError("the model does not know its classes; give it a task: SampleCNN(config, task)")
    places = excitation_places(model)
    if not places:
        raise no_excitations(model)
    if len(segments) == 0:
        raise UsageError(f"data set {segments.task.name}: its {segments.split} split holds no segments")
    device = next(model.parameters()).device

    def read(start: int) -> tuple[np.ndarray, np.ndarray]:
        waves = segments.waveforms(np.arange(start, min(start + batch_size, len(segments))))
        return standardise(waves, task), loudness(waves)

    sums = {name: _Sums(len(task.classes), place.ex1.out_features) for name, place in places.items()}
    levels = np.empty(len(segments), np.float32)
    with ExitStack() as stack:
        caught = stack.enter_context(_caught(places))
        stack.enter_context(exact(model))
        writer = None if parquet is None else stack.enter_context(_writer(Path(parquet), segments, sums))
        bar = stack.enter_context(Progress(len(segments), "excitations", "segments")) if progress else None
        start = 0
        for batch, level in ahead(read, range(0, len(segments), batch_size), num_readers):
            rows = slice(start, start + len(batch))
            model.features(torch.from_numpy(batch).to(device))
            labels = np.asarray(segments.labels[rows]).astype(bool)
            for name, values in caught.items():
                sums[name].add(values, labels, level)
            if writer:
                writer(rows, labels, level, caught)
            levels[rows] = level
            start += len(batch)
            if bar:
                bar.advance(len(batch))
    counts = np.asarray(segments.labels).sum(axis=0, dtype=np.int64)
    blocks = tuple(sums[name].result(name, counts) for name in places)
    return Excitations(task.classes, blocks, counts, len(segments), levels, segments.task.name)


def loudness(waves: np.ndarray) -> np.ndarray:
    """Of every row of float [batch, samples] the level, 20 log10 of its RMS: dB below full scale, SILENCE or more."""
    rms = np.sqrt(np.mean(np.square(waves, dtype=np.float64), axis=1))
    return np.maximum(20 * np.log10(np.maximum(rms, 1e-12)), SILENCE).astype(np.float32)


def no_excitations(model: "SampleCNN", name: str = "the model") -> UsageError:
    """The error for a model that has none."""
    return UsageError(
        f"{name}: its blocks ({model.config.block}) have no excitations; give a model of the blocks se, rese1 or rese2"
    )


def excitation_places(model: "SampleCNN") -> dict[str, Excitation]:
    """The excitations of a network by the name of their block, first to last; none for most blocks' kinds."""
    named = [
        ("stem", model.stem),
        *((f"block{i}", block) for i, block in enumerate(model.blocks)),
        ("tail", model.tail),
    ]
    found = ((name, getattr(module, "excitation", None)) for name, module in named)
    return {name: place for name, place in found if isinstance(place, Excitation)}


@contextmanager
def _caught(places: dict[str, Excitation]) -> Iterator[dict[str, np.ndarray]]:
    """A dictionary that every run of the network fills with each block's factors, float32 [batch, units]."""
    caught: dict[str, np.ndarray] = {}

    def hook(name: str) -> Any:
        def note(module: Excitation, inputs: tuple[torch.Tensor, ...]) -> None:
            caught[name] = module.factors(inputs[0]).float().cpu().numpy()

        return note

    handles = [place.register_forward_pre_hook(hook(name)) for name, place in places.items()]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


class _Sums:
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
def _writer(path: Path, segments: "Segments", sums: dict[str, _Sums]) -> Iterator[Any]:
    """A function that appends a batch to the Parquet file, which appears when all are there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from samplecnn.files import written_aside

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


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _strongest(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known[np.argmax(np.abs(known))]) if len(known) else float("nan")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
