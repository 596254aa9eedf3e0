"""Custom data sets, whether a folder or a manifest: their options, task, splits and notes."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from samplecnn.datasets.base import SPLITS, Clip, Table
from samplecnn.datasets.columns import Columns
from samplecnn.datasets.splits import draw_splits
from samplecnn.errors import UsageError
from samplecnn.recordings import listed
from samplecnn.task import MAX_RATE, MIN_RATE, Kind, Task


@dataclass(frozen=True)
class CustomOptions:
    """How the recordings of a custom data set are used.

    Args:
        sample_rate: Hz that recordings are resampled to.
        window: samples of a segment, the model's input; one second where not given.
        clip_seconds: seconds of each recording that are used, from its start; None uses all of it.
        kind: "multilabel" or "multiclass"; None: multiclass where every recording has exactly one label.
        threshold: probability above which a class counts as present.
        seed: of the split, where the recordings come without one.
        skip_unlabelled: of tables: leaves out rows without label, instead of clips that have none of the classes.
        path_column, label_column: of tables: names of the columns, where they are not among the usual ones.
        label_separator: of tables and file names: separates several labels; ``|`` where not given.
        label_from: of folders: pattern of the recordings' names, see `file_names.Pattern`.
    """

    sample_rate: int = 22050
    window: int | None = None
    clip_seconds: float | None = None
    kind: Kind | None = None
    threshold: float = 0.5
    seed: int = 0
    skip_unlabelled: bool = False
    path_column: str | None = None
    label_column: str | None = None
    label_separator: str = "|"
    label_from: str | None = None

    OF_TABLES = ("skip_unlabelled", "path_column", "label_column", "label_separator")  # not for folders of classes

    def __post_init__(self) -> None:
        if not MIN_RATE <= self.sample_rate <= MAX_RATE:
            raise UsageError(f"sample rate {self.sample_rate}: expected Hz between {MIN_RATE} and {MAX_RATE}")
        if self.window is not None and self.window < 3:
            raise UsageError(f"window {self.window}: expected at least 3 samples")
        if self.kind not in (None, "multilabel", "multiclass"):
            raise UsageError(f"kind {self.kind!r}: expected multilabel or multiclass")
        if not 0 < self.threshold < 1:
            raise UsageError(f"threshold {self.threshold}: expected a probability between 0 and 1")
        if self.clip_seconds is not None and not (math.isfinite(self.clip_seconds) and self.clip_seconds > 0):
            raise UsageError(f"clip seconds {self.clip_seconds}: expected a length in seconds, or none for all of it")
        if self.clip_seconds is not None and int(self.clip_seconds * self.sample_rate) < self.samples:
            raise UsageError(
                f"clips of {self.clip_seconds:g} s are shorter than the window of {self.samples} samples "
                f"({self.samples / self.sample_rate:g} s); use longer clips or a smaller window"
            )
        if not self.label_separator.strip() and self.label_separator not in (" ", "\t"):
            raise UsageError(f"label separator {self.label_separator!r}: expected a character such as | or ,")

    @property
    def samples(self) -> int:
        """Samples of a segment."""
        return self.sample_rate if self.window is None else self.window

    @classmethod
    def of(cls, **options: Any) -> "CustomOptions":
        """From options as given; None means not given. Raises UsageError for an option that does not exist."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise UsageError(f"unknown option {unknown[0]!r}; custom data sets take {', '.join(sorted(known))}")
        return cls(**{name: value for name, value in options.items() if value is not None})

    def columns(self) -> Columns:
        """Which columns of a table are read."""
        return Columns(self.path_column, self.label_column, self.label_separator)

    def given(self, names: Sequence[str]) -> str:
        """The first of these options that is not its default, as in a message; "" where there is none."""
        defaults = {field.name: field.default for field in fields(self)}
        return next((name.replace("_", " ") for name in names if getattr(self, name) != defaults[name]), "")

    def task(self, name: str, classes: Sequence[str], kind: Kind) -> Task:
        """The task with these classes; mean and std are still to be measured."""
        return Task(
            name=name,
            classes=tuple(classes),
            kind=self.kind or kind,
            sample_rate=self.sample_rate,
            window=self.samples,
            clip_seconds=self.clip_seconds,
            threshold=self.threshold,
        )


def slug(name: str) -> str:
    """A name that is safe as a folder name on any system: letters, digits, and ``. _ -`` in between."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-._")


def custom_table(
    task: Task,
    ids: Sequence[str],
    paths: Sequence[Path],
    labels: Sequence[tuple[int, ...]],
    given: Sequence[str],
    seed: int,
    groups: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    folds: Sequence[str] | None = None,
    parts: Sequence[tuple[float, float | None]] | None = None,
) -> Table:
    """The table of a custom data set, its splits completed.

    Where no clip has a split, all splits are drawn; where only validation or test clips are missing, they are drawn
    from the training clips; else the splits stay as given.

    Args:
        task: with the classes that `labels` are indices of.
        ids, paths, labels: of each clip, as in `Clip`.
        given: split of each clip, "" where it has none.
        seed: of drawn splits.
        groups: clips of one group stay in one split where splits are drawn; "" is a group of one clip.
        notes: to which notes on splits and classes are added.
        folds: of each clip, "" where it has none; they do not influence the splits.
        parts: start and end of each clip in its recording, as in `Clip`; None: clips are whole recordings.
    """
    notes = list(notes)
    present = set(given)
    missing = tuple(split for split in ("val", "test") if split not in present)
    splits = list(given)
    if not present - {""}:
        splits = draw_splits(ids, labels, seed, groups)
    elif "train" in present and missing:
        train = [index for index, split in enumerate(given) if split == "train"]
        drawn = draw_splits(
            [ids[index] for index in train],
            [labels[index] for index in train],
            seed,
            [groups[index] for index in train] if groups else None,
            missing,
        )
        for index, split in zip(train, drawn, strict=True):
            splits[index] = split
        notes.append(
            f"no {' nor '.join(missing)} clips are given: about a tenth of the training clips is used for each"
        )
    if groups:
        notes += _shared_groups(groups, splits)
    notes += _classes_without_clips(task, labels, splits)
    none = [""] * len(ids)
    spans = parts or [(0.0, None)] * len(ids)
    columns = zip(ids, paths, splits, labels, groups or none, folds or none, spans, strict=True)
    clips = [Clip(*row, *span) for *row, span in columns]
    return Table(task, clips, measured=True, notes=tuple(notes))


def _shared_groups(groups: Sequence[str], splits: Sequence[str]) -> list[str]:
    pairs = {(group, split) for group, split in zip(groups, splits, strict=True) if group}
    shared = sorted(group for group, count in Counter(group for group, _ in pairs).items() if count > 1)
    return [f"{len(shared):,} groups are in more than one split, for example {shared[0]!r}"] if shared else []


def _classes_without_clips(task: Task, labels: Sequence[tuple[int, ...]], splits: Sequence[str]) -> list[str]:
    present: dict[str, set[int]] = {split: set() for split in SPLITS}
    for split, clip_labels in zip(splits, labels, strict=True):
        present[split].update(clip_labels)
    notes = []
    for split in SPLITS:
        absent = [name for index, name in enumerate(task.classes) if index not in present[split]]
        if absent:
            notes.append(f"{split} has no clip of {len(absent)} of {task.num_classes} classes: {listed(absent)}")
    return notes
