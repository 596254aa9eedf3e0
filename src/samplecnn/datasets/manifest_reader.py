"""Reading the rows of a manifest: CSV in the dialects that spreadsheets write, or Parquet."""

import ast
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from samplecnn.datasets.label_files import read_rows
from samplecnn.datasets.splits import is_split_name
from samplecnn.errors import UsageError
from samplecnn.parsing import SHOWN, require_file, shown

CSV, PARQUET = (".csv", ".tsv"), (".parquet", ".pq")
# Accepted column names in lower case; of several that are there the first is used.
COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path"),
    "labels": ("labels", "label", "class", "classes", "category", "tags"),
    "split": ("split", "subset"),
    "group": ("group", "speaker"),
    "fold": ("fold",),
}
FORM = "expected a CSV or Parquet table with columns path and labels and, optionally, split, group and fold"
# Of a Parquet table, whose repetitions are compressed, for each byte of its file: rows, and bytes of its columns.
ROWS_PER_BYTE, CELLS_PER_BYTE, SMALL_TABLE = 20, 200, 1 << 20
LONGEST_PATH = 4096  # characters, as systems allow
LONGEST_LIST = 10_000  # characters of a cell that is parsed as a list


class Row(NamedTuple):
    """One row of a manifest, cells as written.

    Args:
        place: where it is, for messages ("line 7"; in Parquet "row 7").
        path: of the recording, relative to the manifest or absolute.
        labels: each once.
        split: a name for which `splits.is_split_name` holds, or "".
        group: such as a speaker, or "".
        fold: of a cross-validation, or "".
    """

    place: str
    path: str
    labels: tuple[str, ...]
    split: str
    group: str
    fold: str = ""


@dataclass(frozen=True)
class Columns:
    """Which columns are read, and how a cell with several labels is split.

    Args:
        path, labels: names of the columns; None: the usual ones.
        separator: between several labels in a cell.
    """

    path: str | None = None
    labels: str | None = None
    separator: str = "|"

    def accepted(self, column: str) -> tuple[str, ...]:
        """Accepted names of a column, in lower case."""
        given = {"path": self.path, "labels": self.labels}.get(column)
        return COLUMNS[column] if given is None else (given.strip().lower(),)

    def option(self, column: str) -> str:
        """The option that names a column."""
        return {"path": "--path-column", "labels": "--label-column"}[column]


def is_manifest_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file is taken for a manifest."""
    return Path(name).suffix.lower() in CSV + PARQUET


def read_manifest(path: Path, columns: Columns | None = None) -> Iterator[Row]:
    """The rows of a manifest. Raises UsageError with the file and the line (in Parquet the row) that cannot be used."""
    columns = columns or Columns()
    suffix = path.suffix.lower()
    if suffix in PARQUET:
        header, places_and_cells = _parquet(path, columns)
    elif suffix in CSV:
        header, places_and_cells = _csv(path)
    else:
        raise UsageError(f"{path}: not a .csv or .parquet file; {FORM}")
    positions = _positions(path, header, columns)
    labels_of: dict[str, tuple[str, ...]] = {}  # a million rows repeat few cells
    for place, cells in places_and_cells:
        if len(cells) != len(header):
            raise UsageError(
                f"{path}, {place}: {len(cells)} columns where the header has {len(header)}; put quotes around cells "
                "that contain the separator"
            )
        values = {name: cells[position] for name, position in positions.items()}
        name = _text(values["path"])
        if not name or "\0" in name or len(name) > LONGEST_PATH:
            raise UsageError(f"{path}, {place}: the path is {'empty' if not name else 'not a file name'}")
        split = _text(values.get("split"))
        if split and not is_split_name(split):
            raise UsageError(f"{path}, {place}: unknown split {shown(split)}; expected train, val or test")
        cell = values["labels"]
        labels = labels_of.get(cell) if isinstance(cell, str) else _labels(cell, columns.separator)
        if labels is None:
            labels = labels_of[cell] = _labels(cell, columns.separator)
        yield Row(place, name, labels, split, _text(values.get("group")), _text(values.get("fold")))


def _csv(path: Path) -> tuple[list[str], Iterator[tuple[str, Sequence[Any]]]]:
    rows = read_rows(path, FORM, None)
    _, header = next(rows, (1, []))
    return header, ((f"line {line}", cells) for line, cells in rows)


def _parquet(path: Path, columns: Columns) -> tuple[list[str], Iterator[tuple[str, Sequence[Any]]]]:
    import pyarrow
    from pyarrow import parquet

    accepted = {name for column in COLUMNS for name in columns.accepted(column)}
    size = require_file(path, FORM, UsageError)
    try:
        file = parquet.ParquetFile(path)
        table_bytes = sum(file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups))
        most = SMALL_TABLE + size * ROWS_PER_BYTE, 100 * SMALL_TABLE + size * CELLS_PER_BYTE
        if not 0 <= file.metadata.num_rows <= most[0] or not 0 <= table_bytes <= most[1]:
            raise ValueError(f"{file.metadata.num_rows:,} rows of {table_bytes:,} bytes in a file of {size:,} bytes")
        names = file.schema_arrow.names
        header = [name for name in names if name.strip().lower() in accepted]
        table = file.read(columns=header)
        cells = [table.column(name).to_pylist() for name in header]
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path}: not a readable Parquet table ({reason})") from None
    rows = zip(*cells, strict=True)
    return header, ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _positions(path: Path, header: Sequence[str], columns: Columns) -> dict[str, int]:
    """Positions of the columns in the header; of those that are optional only where they are there."""
    names = [name.strip().lower() for name in header]
    positions = {}
    for column in COLUMNS:
        accepted = columns.accepted(column)
        name = next((name for name in accepted if name in names), None)
        if name is None:
            if column in ("path", "labels"):
                there = ", ".join(name[:SHOWN] for name in header[:8] if name) or "nothing"
                wanted = column if len(accepted) > 1 else accepted[0]
                raise UsageError(
                    f"{path}, line 1: column {wanted!r} is missing (found {there}); {FORM}, "
                    f"or name it with {columns.option(column)}"
                )
        elif names.count(name) > 1:
            raise UsageError(f"{path}, line 1: column {shown(name)} is there {names.count(name)} times; keep one")
        else:
            positions[column] = names.index(name)
    return positions


def _text(value: Any) -> str:
    """A cell as text; null and NaN are empty."""
    if value is None or value != value:
        return ""
    return value.strip() if isinstance(value, str) else str(value)


def _labels(value: Any, separator: str) -> tuple[str, ...]:
    """Labels of a cell, each once: ``a|b``, a list in Parquet, or a list as Python prints it (``['a', 'b']``)."""
    parts = value if isinstance(value, list) else _printed_list(_text(value))
    if parts is None:
        parts = _text(value).split(separator)
    return tuple(dict.fromkeys(text for part in parts if (text := _text(part))))


def _printed_list(text: str) -> list[Any] | None:
    """The items of a list of texts or numbers as Python prints it; None for anything else, such as ``[noise]``."""
    if not (text.startswith("[") and text.endswith("]")) or len(text) > LONGEST_LIST:
        return None
    try:
        items = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if not isinstance(items, list) or not all(isinstance(item, str | int | float) for item in items):
        return None
    return items
