"""Statistics of the excitations over a data set, by block, unit and class."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from samplecnn.errors import UsageError


@dataclass(frozen=True)
class BlockExcitations:
    """One block's factors over all segments. A segment with several labels counts for each of its classes.

    Args:
        name: "block0", ...; "stem" and "tail" if the network has them.
        mean: per-unit mean over all segments, float64 [units].
        std: per-unit standard deviation over all segments, float64 [units].
        class_mean: per-unit mean over the segments of each class, float64 [classes, units]; NaN for a class without
            segments.
        loudness_correlation: Pearson correlation of each unit with the segments' level in dB, float64 [units]; NaN if
            one of the two does not vary.
        eta_squared: share of each unit's variance that is between classes, float64 [units]; NaN for a unit that does
            not vary.
        histogram: factors of all units in BINS equal bins of (0, 1), by class, int64 [classes, BINS].
    """

    name: str
    mean: np.ndarray
    std: np.ndarray
    class_mean: np.ndarray
    loudness_correlation: np.ndarray
    eta_squared: np.ndarray
    histogram: np.ndarray

    @property
    def units(self) -> int:
        return len(self.mean)

    @property
    def class_std(self) -> np.ndarray:
        """Per-unit standard deviation of the class means, float64 [units]."""
        present = self.class_mean[~np.isnan(self.class_mean[:, 0])]
        return present.std(axis=0) if len(present) else np.full(self.units, np.nan)


@dataclass(frozen=True)
class Excitations:
    """The excitations of all blocks over a data set.

    Args:
        classes: class names.
        blocks: first to last.
        counts: number of segments of each class, int64 [classes].
        segments: number of segments.
        loudness: level of each segment, dB relative to full scale, float32 [segments].
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
        """Spread across classes: for each block the mean over units of `class_std`, float64 [blocks]."""
        return np.array([np.mean(block.class_std) for block in self.blocks])

    @property
    def eta_squared(self) -> np.ndarray:
        """Mean over units of the share of variance between classes, float64 [blocks]."""
        return np.array([_mean(block.eta_squared) for block in self.blocks])

    @property
    def chance(self) -> float:
        """`eta_squared` expected for labels unrelated to the excitations: (classes - 1) / (segments - 1).

        Its expectation without an effect (Cohen: Statistical Power Analysis, 1988, chapter 8).
        """
        present = np.count_nonzero(self.counts)
        return (present - 1) / max(self.counts.sum() - 1, 1)

    @property
    def loudness_correlation(self) -> np.ndarray:
        """Mean over units of the absolute correlation, float64 [blocks]."""
        return np.array([_mean(np.abs(block.loudness_correlation)) for block in self.blocks])

    def block(self, which: int | str) -> BlockExcitations:
        """A block by number (-1 is the last) or by name.

        Raises:
            UsageError: no such block.
        """
        try:
            return self.blocks[which if isinstance(which, int) else self.names.index(which)]
        except (IndexError, ValueError):
            raise UsageError(f"no excitations in {which!r}; there are {', '.join(self.names)}") from None

    def linkage(self, which: int | str = -1, max_classes: int | None = None) -> tuple[np.ndarray, list[int]]:
        """Classes clustered by their mean excitations in a block.

        Each unit is divided by its standard deviation over the segments, so that all have equal weight; clusters are
        merged by Ward's criterion.

        Args:
            which: a block by number or name.
            max_classes: clusters only the classes with the most segments.

        Returns:
            The linkage matrix of scipy.cluster.hierarchy, [clustered classes - 1, 4], and the indices of the clustered
            classes.

        Raises:
            UsageError: fewer than two classes have segments.
        """
        from scipy.cluster.hierarchy import linkage  # type: ignore[import-untyped]

        present = self.present(max_classes)
        if len(present) < 2:
            raise UsageError("fewer than two classes have segments, so there is nothing to cluster")
        block = self.block(which)
        scaled = block.class_mean[present] / np.where(block.std > 0, block.std, 1)
        return linkage(scaled, "ward", optimal_ordering=len(present) <= 200), present

    def present(self, max_classes: int | None = None) -> list[int]:
        """Indices of the classes with segments, in the task's order; at most `max_classes`, those with the most."""
        present = np.flatnonzero(self.counts)
        if max_classes is not None:
            present = np.sort(present[np.argsort(-self.counts[present], kind="stable")[:max_classes]])
        return present.tolist()

    def to_dict(self) -> dict[str, Any]:
        """The statistics of every block, for a JSON file."""
        rows = [
            {
                "block": block.name,
                "units": block.units,
                "mean": float(block.mean.mean()),
                "spread_across_classes": float(self.spread[index]),
                "share_between_classes": _number(self.eta_squared[index]),
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


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _strongest(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known[np.argmax(np.abs(known))]) if len(known) else float("nan")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
