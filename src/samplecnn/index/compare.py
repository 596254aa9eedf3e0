"""Which tags differ between two indexes: of two models, or of one collection at two times."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.index.reader import Index
from samplecnn.recordings import counted
from samplecnn.system.log import one_line


@dataclass(frozen=True)
class Difference:
    """A tag that a recording has in one index only, with its scores in both.

    Args:
        path: of the recording in the second index.
        label: the class.
        gained: it is present in the second index only; else in the first one only.
        before, after: its scores.
    """

    path: str
    label: str
    gained: bool
    before: float
    after: float

    def line(self) -> str:
        sign = "+" if self.gained else "-"
        return f"{one_line(self.path)}  {sign} {one_line(self.label)} {self.before:.3f} -> {self.after:.3f}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": self.path, "class": self.label, "change": "gained" if self.gained else "lost",
            "before": round(self.before, 6), "after": round(self.after, 6),
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Two indexes side by side.

    Args:
        differences: by path, then by class.
        files: that were compared; `changed` is how many differ.
        only_first, only_second: paths of files that the other index does not have, or cannot use.
        classes: that both have; `missing` names those of one index only.
        counts: for each class with differences, how many files gained and lost it.
        mean: absolute difference of a score.
    """

    differences: list[Difference]
    files: int
    changed: int
    only_first: list[str]
    only_second: list[str]
    classes: list[str]
    missing: list[str]
    counts: dict[str, tuple[int, int]]
    mean: float

    def summary(self) -> list[str]:
        """For people, without the single differences."""
        lines = [
            f"{counted(self.files, 'file', 'files')} in both, {self.changed:,} with other tags; scores differ by "
            f"{self.mean:.2g} on average"
        ]
        width = max((len(one_line(name)) for name in self.counts), default=0)
        for name, (gained, lost) in sorted(self.counts.items(), key=lambda item: -sum(item[1])):
            lines.append(f"  {one_line(name):<{width}}  gained by {gained:,}, lost by {lost:,}")
        for paths, which in ((self.only_first, "first"), (self.only_second, "second")):
            if paths:
                lines.append(f"{counted(len(paths), 'file', 'files')} in the {which} index only")
        if self.missing:
            lines.append(f"classes of one index only: {', '.join(map(one_line, self.missing))}")
        return lines


def compare_indexes(first: Index, second: Index, threshold: float | None = None) -> Comparison:
    """The tags that differ. Files are the same if their paths are, or else their contents (SHA-256).

    Args:
        first, second: indexes, of the same model or of two.
        threshold: above which a tag is present; None: each index's own for the class.

    Raises:
        UsageError: no class is in both.
    """
    classes = [name for name in first.classes if name in second.classes]
    if not classes:
        raise UsageError(f"{first.folder} and {second.folder}: no class is in both")
    pairs, only_first, only_second = _pairs(first, second)
    before, after = (
        index.scores[[pair[side] for pair in pairs]][:, [index.classes.index(name) for name in classes]]
        for side, index in enumerate((first, second))
    )
    was, now = (scores > _limits(index, classes, threshold) for scores, index in ((before, first), (after, second)))
    differences = [
        Difference(second.paths[pairs[file][1]], classes[label], bool(now[file, label]),
                   float(before[file, label]), float(after[file, label]))
        for file, label in np.argwhere(was != now).tolist()
    ]  # fmt: skip
    gained, lost = (now & ~was).sum(axis=0), (was & ~now).sum(axis=0)
    return Comparison(
        differences,
        len(pairs),
        int((was != now).any(axis=1).sum()),
        only_first,
        only_second,
        classes,
        [name for name in (*first.classes, *second.classes) if name not in classes],
        {name: (int(gained[k]), int(lost[k])) for k, name in enumerate(classes) if gained[k] or lost[k]},
        float(np.abs(before - after).mean(dtype=np.float64)) if len(pairs) else 0.0,
    )


def _limits(index: Index, classes: list[str], threshold: float | None) -> np.ndarray:
    own = dict(zip(index.classes, index.task.class_thresholds, strict=True))
    return np.array([own[name] if threshold is None else threshold for name in classes])


def _pairs(first: Index, second: Index) -> tuple[list[tuple[int, int]], list[str], list[str]]:
    """Rows of the same recordings in both, in the second one's order; and the paths of the others."""
    mine, theirs = (set(np.flatnonzero(~each.deleted & ~each.failed).tolist()) for each in (first, second))
    pairs = [
        (first.rows[path], row) for path, row in second.rows.items() if row in theirs and first.rows.get(path) in mine
    ]
    left = mine - {pair[0] for pair in pairs}
    right = theirs - {pair[1] for pair in pairs}
    hashes: list[str] = first.table["sha256"].to_pylist()
    by_content = {hashes[row]: row for row in sorted(left) if hashes[row]}
    for row in sorted(right):
        same = by_content.pop(second.table["sha256"][row].as_py(), None)
        if same is not None:
            pairs.append((same, row))
            left.discard(same)
            right.discard(row)
    pairs.sort(key=lambda pair: pair[1])
    return pairs, [first.paths[row] for row in sorted(left)], [second.paths[row] for row in sorted(right)]
