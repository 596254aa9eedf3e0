"""Cross-validation: opens a fold as the three splits of a built data set.

Shards are built once. A fold redistributes all their clips, regardless of the splits they were built in: the clips of
the fold are the test split, about a tenth of each class of the others is the validation split, and the rest is the
training split. If the data set has groups, no group is in two splits. Mean and standard deviation of the waveform are
those of the fold's training clips.

A fold is given as text: "2/5" is the second of five drawn folds, anything else a value of the data set's fold column.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.datasets.base import SPLITS
from samplecnn.datasets.splits import draw_folds, draw_splits
from samplecnn.errors import OptionError, SampleCNNError, UsageError
from samplecnn.shards import built_folder, holds_tfrecords, open_segments, open_split
from samplecnn.shards.build_folder import statistics
from samplecnn.shards.identity import check_same_build
from samplecnn.shards.segments import Segments
from samplecnn.shards.worker import sums
from samplecnn.system.cache import recall, remember
from samplecnn.system.progress import Progress
from samplecnn.task import Task

DRAWN = re.compile(r"(\d{1,4})/(\d{1,4})")
SUM_BATCH = 64  # segments
MIN_CLIPS = 2  # of a split: scores need two


def check_fold(fold: str) -> None:
    """Raises OptionError if a text is not a valid fold."""
    match = DRAWN.fullmatch(fold)
    if not fold or (match and not (int(match[2]) >= 2 and 1 <= int(match[1]) <= int(match[2]))):
        raise OptionError("fold", f"{fold!r} is not a fold: expected K/N, such as 2/5, or a value of the fold column")


def fold_names(spec: str, data_dir: str | Path, folds: int | str) -> list[str]:
    """The names of all folds of a data set.

    Args:
        spec, data_dir: see `open_split`.
        folds: number of folds to draw, or "column" for those of the data set.

    Raises:
        UsageError: fewer than two folds, or a data set without a fold column.
    """
    if folds == "column":
        parts = _parts(spec, data_dir)
        names = sorted(set(_fold_column(spec, parts)), key=lambda name: (len(name), name))
    else:
        names = [f"{number}/{folds}" for number in range(1, int(folds) + 1)]
    if len(names) < 2:
        raise OptionError("folds", f"must be at least 2, not {len(names)}")
    return names


def open_fold(spec: str, data_dir: str | Path, fold: str, any_source: bool = False) -> dict[str, Segments]:
    """Opens the splits of one fold of a built data set.

    Args:
        spec, data_dir, any_source: see `open_split`.
        fold: "K/N", the K-th of N drawn folds, or a value of the data set's fold column.

    Returns:
        Segments of "train", "val" and "test".

    Raises:
        UsageError: not built, or built as TFRecords; no such fold, a group in two folds, or a split with fewer than two
            clips, which cannot be scored.
    """
    parts = _parts(spec, data_dir, any_source)
    clips = _Clips(parts)
    match, title = DRAWN.fullmatch(fold), f"fold {fold}"
    if match:
        names, fold = draw_folds(clips.ids, clips.labels, int(match[2]), groups=clips.groups), match[1]
    else:
        given = _fold_column(spec, parts)
        names = [given[start] for start in clips.starts]
        if fold not in names:
            raise UsageError(f"{spec} has no fold {fold!r}; its folds are {', '.join(sorted(set(names)))}")
        _check_groups(spec, clips.groups, names)
    splits = splits_of_fold(clips.ids, clips.labels, names, fold, clips.groups)
    few = next((split for split in SPLITS if splits.count(split) < MIN_CLIPS), None)
    if few is not None:
        count, remedy = splits.count(few), "draw fewer folds" if match else "give more clips to each fold"
        raise UsageError(
            f"{spec}: {title} has {count} clip{'' if count == 1 else 's'} in its {few} split and needs {MIN_CLIPS}; "
            f"{remedy}, or add recordings"
        )
    task, rows = parts[0].task, {split: clips.rows([name == split for name in splits]) for split in SPLITS}
    train = Subset(parts, rows["train"], "train", task)
    task = task.with_statistics(*_cached_statistics(train, spec, f"{title}: mean and deviation"))
    return {split: Subset(parts, rows[split], split, task) for split in SPLITS}


def open_built_splits(
    spec: str,
    data_dir: str | Path,
    fold: str | None,
    splits: Sequence[str] = SPLITS,
    skip_corrupt: bool = False,
    any_source: bool = False,
) -> dict[str, Segments]:
    """Opens the splits that a data set was built with, or those of one of its folds.

    Args:
        spec, data_dir, skip_corrupt, any_source: see `open_split`.
        fold: see `open_fold`; None: the splits as built.
        splits: the splits to open.
    """
    if fold is None:
        return {split: open_split(spec, data_dir, split, skip_corrupt, any_source) for split in splits}
    check_fold(fold)
    of_fold = open_fold(spec, data_dir, fold, any_source)
    return {split: of_fold[split] for split in splits}


def splits_of_fold(
    ids: Sequence[str],
    labels: Sequence[tuple[int, ...]],
    folds: Sequence[str],
    fold: str,
    groups: Sequence[str] | None = None,
) -> list[str]:
    """The split of each clip for one fold: "test" for clips of the fold, else "train" or, at random, "val"."""
    others = [index for index, name in enumerate(folds) if name != fold]
    drawn = draw_splits(
        [ids[index] for index in others],
        [labels[index] for index in others],
        groups=[groups[index] for index in others] if groups else None,
        splits=("val",),
    )
    splits = ["test"] * len(ids)
    for index, split in zip(others, drawn, strict=True):
        splits[index] = split
    return splits


class Subset(Segments):
    """A selection of segments from several splits of one build, as a split.

    Args:
        parts: the splits.
        rows: indices of the segments in the concatenated parts, int64 [n], ascending.
        split: "train", "val" or "test".
        task: the task, with the mean and std to use.
    """

    def __init__(self, parts: Sequence[Segments], rows: np.ndarray, split: str, task: Task) -> None:
        self.folder, self.split, self.task = parts[0].folder, split, task
        self.dtype, self.record = parts[0].dtype, parts[0].record
        self.paths = [path for part in parts for path in part.paths]
        self.notes = [note for part in parts for note in part.notes]
        self.rows = rows
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.labels = np.concatenate([part.labels for part in parts])[rows]
        self.segment = np.concatenate([part.segment for part in parts])[rows]
        chosen = rows.tolist()
        ids = [id for part in parts for id in part.ids]
        self.ids = [ids[row] for row in chosen]
        groups, folds = _column(parts, "groups"), _column(parts, "folds")
        self.groups = [groups[row] for row in chosen] if groups else None
        self.folds = [folds[row] for row in chosen] if folds else None

    def _read(self, rows: np.ndarray, out: np.ndarray) -> None:
        wanted = self.rows[rows]
        part_of = np.searchsorted(self._ends, wanted, side="right")
        for number in np.unique(part_of).tolist():
            mask = part_of == number
            part = self._parts[number]
            out[mask] = part.gather(wanted[mask] - (self._ends[number] - len(part)))


class _Clips:
    """The clips of several splits; `starts` are the indices of their first segments."""

    def __init__(self, parts: Sequence[Segments]) -> None:
        segment = np.concatenate([part.segment for part in parts])
        labels = np.concatenate([part.labels for part in parts])
        ids = [id for part in parts for id in part.ids]
        groups = _column(parts, "groups")
        self.starts = np.flatnonzero(segment == 0).tolist()
        self.ids = [ids[start] for start in self.starts]
        self.labels = [tuple(np.flatnonzero(labels[start]).tolist()) for start in self.starts]
        self.groups = [groups[start] for start in self.starts] if groups else None
        self._lengths = np.diff([*self.starts, len(segment)])

    def rows(self, chosen: Sequence[bool]) -> np.ndarray:
        """The indices of all segments of the chosen clips, int64."""
        return np.flatnonzero(np.repeat(np.asarray(chosen, bool), self._lengths))


def _parts(spec: str, data_dir: str | Path, any_source: bool = False) -> list[Segments]:
    """Opens the non-empty splits of a data set, all of one build."""
    folder, format = (None, "tfrecord") if holds_tfrecords(spec) else built_folder(spec, data_dir, any_source)
    if format != "arrow":
        raise UsageError(
            f"{spec}: TFRecords do not record which segments belong to a clip, which folds require; build "
            "with --format arrow"
        )
    assert folder is not None
    parts = [open_segments(folder, format, split, False) for split in SPLITS if any(folder.glob(f"{split}-*.{format}"))]
    if not parts:
        raise UsageError(f"{spec}: no shards in {folder}; build again with --force")
    check_same_build([part.record.stamp for part in parts if part.record is not None], folder)
    return parts


def _column(parts: Sequence[Segments], column: str) -> list[str] | None:
    texts = [getattr(part, column) for part in parts if len(part)]
    return None if not texts or any(part is None for part in texts) else [text for part in texts for text in part]


def _fold_column(spec: str, parts: Sequence[Segments]) -> list[str]:
    folds = _column(parts, "folds")
    if folds is None:
        raise UsageError(
            f"{spec} has no folds of its own: build it from a manifest with a column named fold, or draw folds "
            "(compare --folds 5, train --fold 1/5)"
        )
    return folds


def _check_groups(spec: str, groups: Sequence[str] | None, folds: Sequence[str]) -> None:
    fold_of: dict[str, str] = {}
    for group, fold in zip(groups or [""] * len(folds), folds, strict=True):
        if group and fold_of.setdefault(group, fold) != fold:
            raise UsageError(
                f"{spec}: group {group!r} is in fold {fold_of[group]} and in fold {fold}; omit the "
                "group column, correct it, or draw folds"
            )


def _cached_statistics(train: Segments, spec: str, title: str) -> tuple[float, float]:
    """`_statistics`, cached in the user's cache folder, since every run of a comparison needs them."""
    key = {
        "data": "" if train.record is None else train.record.fingerprint,
        "rows": hashlib.sha256("\n".join(train.ids).encode()).hexdigest(),
    }
    known = recall("fold", key, _is_valid)
    if known is None:
        known = remember("fold", key, list(_statistics(train, spec, title)), _is_valid)
    mean, std = known
    return mean, std


def _is_valid(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(one, float) for one in value) and value[1] > 0


def _statistics(train: Segments, spec: str, title: str) -> tuple[float, float]:
    """Mean and standard deviation of the training segments, computed as in a build, with a progress bar."""
    total = squares = 0
    with Progress(len(train), title, "segments") as bar:
        for start in range(0, len(train), SUM_BATCH):
            rows = np.arange(start, min(start + SUM_BATCH, len(train)))
            one, two = sums(train.gather(rows))
            total, squares = total + one, squares + two
            bar.advance(len(rows))
    samples = max(len(train), 1) * train.task.window
    mean, std = statistics([{"samples": samples, "sum": total, "squares": squares}])
    if std == 0:
        raise SampleCNNError(f"{spec}: the fold has no training recordings that are not silent")
    return mean, std
