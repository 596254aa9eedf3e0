"""What one's own recordings share, whether they come as a folder or as a manifest: options, task, splits, notes."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from samplecnn.datasets.base import SPLITS, Clip, Table
from samplecnn.datasets.splits import draw
from samplecnn.errors import UsageError
from samplecnn.task import Kind, Task

# How people name the three splits, in lower case.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class CustomOptions:
    """How one's own recordings are used.

    Args:
        sample_rate: Hz that recordings are resampled to.
        window: samples of a segment, the model's input; one second where not given.
        clip_seconds: seconds of each recording that are used, from its start; None uses all of it.
        kind: "multilabel" or "multiclass"; None lets the labels decide.
        threshold: probability above which a class counts as present.
        seed: of the split, where the recordings come without one.
    """

    sample_rate: int = 22050
    window: int | None = None
    clip_seconds: float | None = None
    kind: Kind | None = None
    threshold: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 100 <= self.sample_rate <= 768_000:
            raise UsageError(f"sample rate {self.sample_rate}: expected Hz between 100 and 768000")
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

    @property
    def samples(self) -> int:
        return self.sample_rate if self.window is None else self.window

    @classmethod
    def of(cls, **options: Any) -> "CustomOptions":
        """From options as given; None means not given. Raises UsageError for an option that does not exist."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise UsageError(f"unknown option {unknown[0]!r}; data sets of one's own take {', '.join(sorted(known))}")
        return cls(**{name: value for name, value in options.items() if value is not None})

    def task(self, name: str, classes: Sequence[str], kind: Kind) -> Task:
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
) -> Table:
    """The table of one's own recordings, its splits completed.

    Where `given` is empty for all clips the split is drawn; where only validation or test clips are missing they are
    drawn from the training clips; else it stands as given.
    """
    notes = list(notes)
    present = set(given)
    missing = tuple(split for split in ("val", "test") if split not in present)
    splits = list(given)
    if not present - {""}:
        splits = draw(ids, labels, seed, groups)
    elif "train" in present and missing:
        train = [index for index, split in enumerate(given) if split == "train"]
        drawn = draw(
            [ids[index] for index in train],
            [labels[index] for index in train],
            seed,
            [groups[index] for index in train] if groups else None,
            missing,
        )
        for index, split in zip(train, drawn, strict=True):
            splits[index] = split
        notes.append(f"no {' nor '.join(missing)} clips are named: about a tenth of the training clips serve for each")
    if groups:
        notes += _shared_groups(groups, splits)
    notes += _classes_without_clips(task, labels, splits)
    clips = [Clip(*row) for row in zip(ids, paths, splits, labels, strict=True)]
    return Table(task, clips, measured=True, notes=tuple(notes))


def _shared_groups(groups: Sequence[str], splits: Sequence[str]) -> list[str]:
    pairs = {(group, split) for group, split in zip(groups, splits, strict=True) if group}
    shared = sorted(group for group, places in Counter(group for group, _ in pairs).items() if places > 1)
    return [f"{len(shared):,} groups are in more than one split, {shared[0]!r} for one"] if shared else []


def _classes_without_clips(task: Task, labels: Sequence[tuple[int, ...]], splits: Sequence[str]) -> list[str]:
    present: dict[str, set[int]] = {split: set() for split in SPLITS}
    for split, own in zip(splits, labels, strict=True):
        present[split].update(own)
    notes = []
    for split in SPLITS:
        absent = [name for index, name in enumerate(task.classes) if index not in present[split]]
        if absent:
            shown = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
            notes.append(f"{split} has no clip of {len(absent)} of {task.num_classes} classes: {shown}")
    return notes
