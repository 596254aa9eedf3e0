"""Labelled rows, whatever they were read from, as the table of a data set."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from samplecnn.datasets.base import Table
from samplecnn.datasets.cells import brief
from samplecnn.datasets.columns import FORM
from samplecnn.datasets.custom import CustomOptions, custom_table
from samplecnn.datasets.labels import LabelEncoder
from samplecnn.datasets.recording_paths import RecordingPaths
from samplecnn.datasets.splits import standard_splits
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.system.storage import is_remote
from samplecnn.task import Kind

FEW_RECORDINGS = 3  # in fewer, no split can be drawn without parts of one recording in several splits


class Row(NamedTuple):
    """A clip and its labels, cells as written.

    Args:
        place: where it is, for messages ("line 7"; in Parquet "row 7").
        path: of the recording, relative to the data set's folder or absolute.
        labels: each once.
        split: a name for which `splits.is_split_name` holds, or "".
        group: such as a speaker, or "".
        fold: of a cross-validation, or "".
        start, end: seconds in the recording; None: to its end.
    """

    place: str
    path: str
    labels: tuple[str, ...]
    split: str = ""
    group: str = ""
    fold: str = ""
    start: float = 0.0
    end: float | None = None

    @property
    def id(self) -> str:
        """Unique in a table: the path, and for a part its place in the recording ("a.wav@1.5-2.25")."""
        if self.end is None and not self.start:
            return self.path
        return f"{self.path}@{brief(self.start)}-{'' if self.end is None else brief(self.end)}"


def table_of_rows(
    source: Path, root: Path, name: str, rows: Iterable[Row], options: CustomOptions, notes: Sequence[str] = ()
) -> Table:
    """All rows in their order; a clip's id is `Row.id` with the path normalised.

    Where every row has exactly one label the task is multi-class, else multi-label. A row without label is a clip that
    has none of the classes. Clips that are parts of the same recordings are in one group, unless groups are given.

    Args:
        source: what the rows are from, for messages.
        root: folder that relative paths start from.
        name: of the data set.
        notes: what a user should know, to which others are added.

    Raises:
        UsageError: a row that cannot be used, with its place.
    """
    kept, remarks = _without_repetitions(source, rows, RecordingPaths(root))
    notes = [*notes, *remarks]
    if options.skip_unlabelled:
        labelled = [row for row in kept if row.labels]
        if len(labelled) < len(kept):
            notes.append(f"{len(kept) - len(labelled):,} rows without label are skipped")
        kept = labelled
    if not kept:
        raise UsageError(f"{source}: it has no rows; {FORM}")
    classes = sorted({label for row in kept for label in row.labels})
    kind, kind_notes = _kind(source, kept, options)
    if len(classes) < (2 if kind == "multiclass" else 1):
        raise UsageError(f"{source}: {len(classes)} classes in the labels column; more are needed")
    try:
        task = options.task(name, classes, kind)
    except SampleCNNError as error:  # labels that cannot be names of classes, or too many of them
        raise UsageError(f"{source}: {error}; correct the labels column") from error
    encoder = LabelEncoder(classes)
    splits = _splits(source, kept)
    groups, group_notes = _groups(kept, drawn=not any(splits))
    return custom_table(
        task,
        [row.id for row in kept],
        [Path(row.path) if is_remote(row.path) else root / row.path for row in kept],
        [encoder.encode(row.labels) for row in kept],
        splits,
        options.seed,
        groups,
        [*notes, *kind_notes, *group_notes, *_possible_lists(classes)],
        _folds(source, kept),
        [(row.start, row.end) for row in kept],
    )


def _without_repetitions(source: Path, rows: Iterable[Row], paths: RecordingPaths) -> tuple[list[Row], list[str]]:
    """Rows with normalised paths, each clip once, and notes on the repetitions.

    Labels of one part of a recording may be in several rows; they are put together. Raises UsageError for any other
    clip that is listed twice with different labels, split or group.
    """
    first: dict[tuple[str, float, float | None], Row] = {}
    repeated = 0
    for row in rows:
        name = paths.name(row.path, source, row.place)
        if name != row.path:
            row = row._replace(path=name)
        key = (paths.identity(row.path), row.start, row.end)
        known = first.setdefault(key, row)
        if known is row:
            continue
        if known[2:] == row[2:]:
            repeated += 1
        elif row.end is not None and known[3:] == row[3:]:
            first[key] = known._replace(labels=tuple(dict.fromkeys(known.labels + row.labels)))
        else:
            both = row.id if known.path == row.path else f"{row.id} (or {known.id})"
            raise UsageError(f"{source}, {row.place}: {both} is already in {known.place}, with other values")
    return list(first.values()), [f"{repeated:,} rows are repetitions and are skipped"] if repeated else []


def _kind(source: Path, rows: Sequence[Row], options: CustomOptions) -> tuple[Kind, list[str]]:
    """The kind of task, and a note where rows without label alone make it multi-label."""
    not_one = next((row for row in rows if len(row.labels) != 1), None)
    if not_one is not None and options.kind == "multiclass":
        remedy = "" if not_one.labels else "; leave out rows without label with --skip-unlabelled"
        raise UsageError(
            f"{source}, {not_one.place}: {len(not_one.labels)} labels, but multi-class tasks need exactly one{remedy}"
        )
    if options.kind is not None:
        return options.kind, []
    if not_one is None:
        return "multiclass", []
    if all(len(row.labels) < 2 for row in rows):
        unlabelled = sum(not row.labels for row in rows)
        return "multilabel", [
            f"{unlabelled:,} rows have no label ({not_one.place} for one), which makes the task multi-label; label "
            "them, or leave them out with --skip-unlabelled"
        ]
    return "multilabel", []


def _splits(source: Path, rows: Sequence[Row]) -> list[str]:
    names = [row.split for row in rows]
    if not any(names):
        return names
    if not all(names):
        row = rows[names.index("")]
        raise UsageError(f"{source}, {row.place}: the split is empty; give one in every row, or in none")
    split_of = standard_splits(names)
    return [split_of[name] for name in names]


def _groups(rows: Sequence[Row], drawn: bool) -> tuple[list[str] | None, list[str]]:
    """The groups as given, else the recordings where several clips are from one; and a note where these are too few."""
    if any(row.group for row in rows):
        return [row.group for row in rows], []
    recordings = Counter(row.path for row in rows)
    if len(recordings) == len(rows):
        return None, []
    if len(recordings) >= FEW_RECORDINGS or not drawn:
        return [row.path for row in rows], []
    return None, [
        f"all clips are parts of {len(recordings)} recordings, which the drawn splits share: scores will be better "
        "than on new recordings"
    ]


def _folds(source: Path, rows: Sequence[Row]) -> list[str] | None:
    folds = [row.fold for row in rows]
    if any(folds) and not all(folds):
        row = rows[folds.index("")]
        raise UsageError(f"{source}, {row.place}: the fold is empty; give one in every row, or in none")
    return folds if any(folds) else None


def _possible_lists(classes: Sequence[str]) -> list[str]:
    """A note on the first label that may be a list with another separator: one of its parts is a label as well."""
    known = set(classes)
    for label in classes:
        for separator in (",", ";"):
            parts = [part.strip() for part in label.split(separator)]
            if len(parts) > 1 and known.intersection(parts):
                return [f"label {label!r} is taken as one label; if it is a list, pass --label-separator {separator!r}"]
    return []
