"""A table of recordings (CSV or Parquet) as a data set: columns path, labels and, optionally, split, group and fold."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from samplecnn.datasets.base import Published, Table
from samplecnn.datasets.custom import CustomOptions, custom_table
from samplecnn.datasets.labels import LabelEncoder
from samplecnn.datasets.manifest_reader import FORM, Columns, Row, read_manifest
from samplecnn.datasets.recording_paths import RecordingPaths
from samplecnn.datasets.splits import standard_splits
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.task import Kind, Task


class Manifest:
    """Paths are relative to the manifest's folder or absolute; several labels are separated by ``|``.

    A row without label is a clip that has none of the classes. Where every row has exactly one label the task is
    multi-class, else multi-label.
    """

    clips_per_shard = 300
    published: Published | None = None

    def __init__(self, name: str, path: Path, options: CustomOptions | None = None) -> None:
        self.name, self.path, self.options = name, path, options or CustomOptions()

    def task(self) -> Task:
        return self.table(self.path.parent).task

    def table(self, raw: Path) -> Table:
        """All rows in the manifest's order, relative paths starting from `raw`; a clip's id is its normalised path.

        Raises:
            UsageError: a row or column that cannot be used, with the line.
        """
        options = self.options
        columns = Columns(options.path_column, options.label_column, options.label_separator)
        rows, repeated = _without_repetitions(self.path, read_manifest(self.path, columns), RecordingPaths(raw))
        notes = [f"{repeated:,} rows are repetitions and are skipped"] if repeated else []
        if options.skip_unlabelled:
            labelled = [row for row in rows if row.labels]
            if len(labelled) < len(rows):
                notes.append(f"{len(rows) - len(labelled):,} rows without label are skipped")
            rows = labelled
        if not rows:
            raise UsageError(f"{self.path}: it has no rows; {FORM}")
        classes = sorted({label for row in rows for label in row.labels})
        kind, kind_notes = self._kind(rows)
        if len(classes) < (2 if kind == "multiclass" else 1):
            raise UsageError(f"{self.path}: {len(classes)} classes in the labels column; more are needed")
        try:
            task = options.task(self.name, classes, kind)
        except SampleCNNError as error:  # labels that cannot be names of classes, or too many of them
            raise UsageError(f"{self.path}: {error}; correct the labels column") from error
        encoder = LabelEncoder(classes)
        return custom_table(
            task,
            [row.path for row in rows],
            [raw / row.path for row in rows],
            [encoder.encode(row.labels) for row in rows],
            _splits(self.path, rows),
            options.seed,
            [row.group for row in rows] if any(row.group for row in rows) else None,
            [*notes, *kind_notes, *_possible_lists(classes)],
            _folds(self.path, rows),
        )

    def _kind(self, rows: Sequence[Row]) -> tuple[Kind, list[str]]:
        """The kind of task, and a note where rows without label alone make it multi-label."""
        not_one = next((row for row in rows if len(row.labels) != 1), None)
        if not_one is not None and self.options.kind == "multiclass":
            remedy = "" if not_one.labels else "; leave out rows without label with --skip-unlabelled"
            raise UsageError(
                f"{self.path}, {not_one.place}: {len(not_one.labels)} labels, but multi-class tasks need exactly one"
                f"{remedy}"
            )
        if self.options.kind is not None:
            return self.options.kind, []
        if not_one is None:
            return "multiclass", []
        if all(len(row.labels) < 2 for row in rows):
            unlabelled = sum(not row.labels for row in rows)
            return "multilabel", [
                f"{unlabelled:,} rows have no label ({not_one.place} for one), which makes the task multi-label; label "
                "them, or leave them out with --skip-unlabelled"
            ]
        return "multilabel", []


def _without_repetitions(path: Path, rows: Iterable[Row], paths: RecordingPaths) -> tuple[list[Row], int]:
    """Rows with normalised paths, each recording once, and the number of repetitions.

    Raises UsageError for a recording that is listed twice with different labels, split or group.
    """
    first: dict[str, Row] = {}
    repeated = 0
    for row in rows:
        name = paths.name(row.path, path, row.place)
        if name != row.path:
            row = row._replace(path=name)
        known = first.setdefault(paths.identity(row.path), row)
        if known is not row:
            if known[2:] != row[2:]:
                both = row.path if known.path == row.path else f"{row.path} (or {known.path})"
                raise UsageError(f"{path}, {row.place}: {both} is already in {known.place}, with other values")
            repeated += 1
    return list(first.values()), repeated


def _splits(path: Path, rows: Sequence[Row]) -> list[str]:
    names = [row.split for row in rows]
    if not any(names):
        return names
    if not all(names):
        row = rows[names.index("")]
        raise UsageError(f"{path}, {row.place}: the split is empty; give one in every row, or in none")
    split_of = standard_splits(names)
    return [split_of[name] for name in names]


def _folds(path: Path, rows: Sequence[Row]) -> list[str] | None:
    folds = [row.fold for row in rows]
    if any(folds) and not all(folds):
        row = rows[folds.index("")]
        raise UsageError(f"{path}, {row.place}: the fold is empty; give one in every row, or in none")
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
