"""A table of one's own: CSV or Parquet with columns path, labels and, where wanted, split and group."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from samplecnn.datasets.base import Published, Table
from samplecnn.datasets.custom import SPLIT_NAMES, CustomOptions, custom_table
from samplecnn.datasets.label_files import read_rows
from samplecnn.errors import UsageError
from samplecnn.task import Kind, Task

CSV, PARQUET = (".csv",), (".parquet", ".pq")
COLUMNS = {"path": ("path",), "labels": ("labels", "label"), "split": ("split",), "group": ("group", "speaker")}
FORM = "expected a CSV or Parquet table with columns path,labels and, where wanted, split and group"


class Row(NamedTuple):
    """One row: `place` is where it stands, for messages ("line 7")."""

    place: str
    path: str
    labels: tuple[str, ...]
    split: str
    group: str


class Manifest:
    """Paths are relative to the manifest's folder or absolute; several labels are separated by ``|``.

    A row without label is a clip in which none of the classes is heard. Where every row has exactly one label the task
    is multi-class, else multi-label.
    """

    clips_per_shard = 300
    published: Published | None = None

    def __init__(self, name: str, path: Path, options: CustomOptions | None = None) -> None:
        self.name, self.path, self.options = name, path, options or CustomOptions()

    def task(self) -> Task:
        return self.table(self.path.parent).task

    def table(self, raw: Path) -> Table:
        """All rows in the manifest's order, paths taken from `raw`; a clip's id is its path as written."""
        rows, repeated = _unique(self.path, read_manifest(self.path))
        if not rows:
            raise UsageError(f"{self.path}: it has no rows; {FORM}")
        several = next((row for row in rows if len(row.labels) != 1), None)
        if several is not None and self.options.kind == "multiclass":
            raise UsageError(
                f"{self.path}, {several.place}: {len(several.labels)} labels, but multi-class tasks need exactly one"
            )
        classes = sorted({label for row in rows for label in row.labels})
        kind: Kind = "multiclass" if several is None else "multilabel"
        if len(classes) < (2 if (self.options.kind or kind) == "multiclass" else 1):
            raise UsageError(f"{self.path}: {len(classes)} classes in the labels column; more are needed")
        index_of = {name: index for index, name in enumerate(classes)}
        labels_of: dict[tuple[str, ...], tuple[int, ...]] = {}  # equal label sets share one tuple
        for row in rows:
            if row.labels not in labels_of:
                labels_of[row.labels] = tuple(sorted(index_of[label] for label in row.labels))
        return custom_table(
            self.options.task(self.name, classes, kind),
            [row.path for row in rows],
            [raw / row.path for row in rows],
            [labels_of[row.labels] for row in rows],
            _splits(self.path, rows),
            self.options.seed,
            [row.group for row in rows] if any(row.group for row in rows) else None,
            [f"{repeated:,} rows are repetitions and are left out"] if repeated else [],
        )


def read_manifest(path: Path) -> Iterator[Row]:
    """The rows of a manifest. Raises UsageError naming file and line (in Parquet the row) that cannot be used."""
    suffix = path.suffix.lower()
    if suffix in PARQUET:
        header, places_and_cells = _parquet(path)
    elif suffix in CSV:
        header, places_and_cells = _csv(path)
    else:
        raise UsageError(f"{path}: not a .csv or .parquet file; {FORM}")
    columns = _columns(path, header)
    labels_of: dict[str, tuple[str, ...]] = {}  # a million rows repeat few cells
    for place, cells in places_and_cells:
        if len(cells) != len(header):
            raise UsageError(
                f"{path}, {place}: {len(cells)} columns where the header has {len(header)}; put quotes around commas"
            )
        values = {name: cells[position] for name, position in columns.items()}
        name = _text(values["path"])
        if not name or "\0" in name:
            raise UsageError(f"{path}, {place}: the path is {'empty' if not name else 'not a file name'}")
        split = _text(values.get("split"))
        if split and split.lower() not in SPLIT_NAMES:
            raise UsageError(f"{path}, {place}: unknown split {split!r}; expected train, val or test")
        cell = values["labels"]
        labels = labels_of.get(cell) if isinstance(cell, str) else _labels(cell)
        if labels is None:
            labels = labels_of[cell] = _labels(cell)
        yield Row(place, name, labels, SPLIT_NAMES.get(split.lower(), ""), _text(values.get("group")))


def _csv(path: Path) -> tuple[list[str], Iterator[tuple[str, Sequence[Any]]]]:
    rows = read_rows(path, FORM, ",")
    _, header = next(rows, (1, []))
    return header, ((f"line {line}", cells) for line, cells in rows)


def _parquet(path: Path) -> tuple[list[str], Iterator[tuple[str, Sequence[Any]]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        header = [name for name in names if _known(name)]
        table = file.read(columns=header)
        columns = [table.column(name).to_pylist() for name in header]
    except FileNotFoundError:
        raise UsageError(f"{path}: not found; {FORM}") from None
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path}: not a readable Parquet table ({reason})") from None
    rows = zip(*columns, strict=True)
    return header, ((f"row {number}", cells) for number, cells in enumerate(rows, start=1))


def _known(name: str) -> bool:
    return any(name.strip().lower() in accepted for accepted in COLUMNS.values())


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    columns = {}
    for column, accepted in COLUMNS.items():
        name = next((name for name in accepted if name in names), None)
        if name is None:
            if column in ("path", "labels"):
                shown = ", ".join(name for name in header[:8] if name) or "nothing"
                raise UsageError(f"{path}, line 1: column {column!r} is missing (found {shown}); {FORM}")
        elif names.count(name) > 1:
            raise UsageError(f"{path}, line 1: column {name!r} is there {names.count(name)} times; keep one")
        else:
            columns[column] = names.index(name)
    return columns


def _text(value: Any) -> str:
    """A cell as text; null and NaN are empty."""
    if value is None or value != value:
        return ""
    return value.strip() if isinstance(value, str) else str(value)


def _labels(value: Any) -> tuple[str, ...]:
    """Labels of a cell, each once: ``a|b`` or, in Parquet, a list."""
    parts = value if isinstance(value, list) else _text(value).split("|")
    return tuple(dict.fromkeys(text for part in parts if (text := _text(part))))


def _unique(path: Path, rows: Iterator[Row]) -> tuple[list[Row], int]:
    """Rows without repetitions, and how many there were; a path listed twice with different words is an error."""
    first: dict[str, Row] = {}
    repeated = 0
    for row in rows:
        known = first.setdefault(row.path, row)
        if known is not row:
            if known[2:] != row[2:]:
                raise UsageError(f"{path}, {row.place}: {row.path} is already in {known.place}, with other values")
            repeated += 1
    return list(first.values()), repeated


def _splits(path: Path, rows: Sequence[Row]) -> list[str]:
    splits = [row.split for row in rows]
    if any(splits) and not all(splits):
        row = rows[splits.index("")]
        raise UsageError(f"{path}, {row.place}: the split is empty; give one in every row, or in none")
    return splits


def is_manifest_name(name: str | os.PathLike[str]) -> bool:
    return Path(name).suffix.lower() in CSV + PARQUET
