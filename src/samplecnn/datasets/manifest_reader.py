"""Reading the rows of a manifest: CSV in the dialects that spreadsheets write, Parquet, JSON lines, Raven tables."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from samplecnn.datasets.cells import labels_of, part_of, seconds_of, text_of
from samplecnn.datasets.columns import FORM, Columns, dialect_of, positions
from samplecnn.datasets.label_files import read_lines, read_rows
from samplecnn.datasets.label_tables import RAVEN, read_raven
from samplecnn.datasets.rows import Row
from samplecnn.datasets.splits import is_split_name
from samplecnn.errors import UsageError
from samplecnn.parsing import anything, parse_object, require_file, shown, table_of

# Of a Parquet table, whose repetitions are compressed, for each byte of its file: rows, and bytes of its columns.
ROWS_PER_BYTE, CELLS_PER_BYTE, SMALL_TABLE = 20, 200, 1 << 20
LONGEST_PATH = 4096  # characters, as systems allow

Cells = Iterator[tuple[str, Sequence[Any]]]  # place and cells of every row
Table = Callable[[Path, Columns], tuple[list[str], Cells]]  # -> header, rows
Reader = Callable[[Path, Columns], Iterator[Row]]


def is_manifest_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file is taken for a manifest."""
    return reader_of(name) is not None


def reader_of(name: str | os.PathLike[str]) -> Reader | None:
    """The reader of a file by the end of its name, in upper or lower case."""
    lower = Path(name).name.lower()
    return next((read for ending, read in READERS.items() if lower.endswith(ending) and lower != ending), None)


def stem_of(name: str | os.PathLike[str]) -> str:
    """The name of a manifest without its folder and ending."""
    whole = Path(name).name
    ending = next(ending for ending in READERS if whole.lower().endswith(ending))
    return whole[: -len(ending)]


def read_manifest(path: Path, columns: Columns | None = None) -> Iterator[Row]:
    """The rows of a manifest. Raises UsageError with the file and the line (in Parquet the row) that cannot be used."""
    read = reader_of(path)
    if read is None:
        raise UsageError(f"{path}: not a {endings()} file; {FORM}")
    return read(path, columns or Columns())


def _rows_of(table: Table, path: Path, columns: Columns) -> Iterator[Row]:
    """The rows of a table with a header."""
    header, places_and_cells = table(path, columns)
    dialect = dialect_of(header)
    where = positions(path, header, columns, dialect)
    known_labels: dict[str, tuple[str, ...]] = {}  # a million rows repeat few cells
    template = ""
    timed = not {"start", "end", "seconds"}.isdisjoint(where)
    for place, cells in places_and_cells:
        if len(cells) != len(header):
            raise UsageError(
                f"{path}, {place}: {len(cells)} columns where the header has {len(header)}; put quotes around cells "
                "that contain the separator"
            )
        values = {name: cells[position] for name, position in where.items()}
        name, fold = text_of(values["path"]), text_of(values.get("fold"))
        if not name or "\0" in name or len(name) > LONGEST_PATH or isinstance(values["path"], dict | list | bytes):
            raise UsageError(f"{path}, {place}: the path is {'empty' if not name else 'not a file name'}")
        split = text_of(values.get("split"))
        if split and not is_split_name(split):
            raise UsageError(f"{path}, {place}: unknown split {shown(split)}; expected train, val or test")
        cell = values["labels"]
        labels = known_labels.get(cell) if isinstance(cell, str) else labels_of(cell, columns.separator)
        if labels is None:
            labels = known_labels[cell] = labels_of(cell, columns.separator)
        if len(dialect.places) > 1:
            template = template or _place(path, dialect.places, name, fold)
            name = template.format(path=name, fold=fold)
        part = _part(values, f"{path}, {place}") if timed else (0.0, None)
        group = text_of(values.get("group"))
        if dialect.folds_first and group:
            group = f"{fold}-{group}"
        yield Row(place, name, labels, split, group, fold, *part)


def _place(path: Path, places: Sequence[str], name: str, fold: str) -> str:
    """The first of the places in which a recording is; the first of all where it is in none."""
    paths = (os.path.join(path.parent, place.format(path=name, fold=fold)) for place in places)  # noqa: PTH118
    return next((place for place, at in zip(places, paths, strict=True) if os.path.exists(at)), places[0])  # noqa: PTH110


def _part(values: dict[str, Any], where: str) -> tuple[float, float | None]:
    start, end, seconds = (seconds_of(values.get(name), name, where) for name in ("start", "end", "seconds"))
    if seconds is not None:
        if start is None:  # the length of a whole recording
            return 0.0, None
        end = round(start + seconds, 6)
    return part_of(start, end, where)


def _csv(path: Path, columns: Columns) -> tuple[list[str], Cells]:
    rows = read_rows(path, FORM, None)
    _, header = next(rows, (1, []))
    return header, ((f"line {line}", cells) for line, cells in rows)


def _parquet(path: Path, columns: Columns) -> tuple[list[str], Cells]:
    import pyarrow
    from pyarrow import parquet

    known = columns.known()
    size = require_file(path, FORM, UsageError)
    try:
        file = parquet.ParquetFile(path)
        table_bytes = sum(file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups))
        most = SMALL_TABLE + size * ROWS_PER_BYTE, 100 * SMALL_TABLE + size * CELLS_PER_BYTE
        if not 0 <= file.metadata.num_rows <= most[0] or not 0 <= table_bytes <= most[1]:
            raise ValueError(f"{file.metadata.num_rows:,} rows of {table_bytes:,} bytes in a file of {size:,} bytes")
        names = file.schema_arrow.names
        header = [name for name in names if name.strip().lower() in known]
        table = file.read(columns=header)
        cells = [table.column(name).to_pylist() for name in header]
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path}: not a readable Parquet table ({reason})") from None
    rows = zip(*cells, strict=True)
    return header, ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _json_lines(path: Path, columns: Columns) -> tuple[list[str], Cells]:
    """One JSON object a line, as NeMo and Hugging Face write them; a key that an object lacks is an empty cell."""
    known = columns.known()
    form, objects = table_of(anything()), []
    for line, text in read_lines(path, FORM):
        remedy = 'expected one JSON object a line, such as {"path": "a.wav", "labels": "rain"}'
        values = parse_object(text, f"{path}, line {line}", remedy, form, UsageError)
        objects.append((line, {key: value for key, value in values.items() if key.strip().lower() in known}))
    header = list(dict.fromkeys(key for _, values in objects for key in values))
    return header, ((f"line {line}", [values.get(key) for key in header]) for line, values in objects)


TABLES: dict[str, Table] = {
    **dict.fromkeys((".csv", ".tsv"), _csv),
    **dict.fromkeys((".parquet", ".pq"), _parquet),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), _json_lines),
}
READERS: dict[str, Reader] = {
    **{ending: partial(_rows_of, table) for ending, table in TABLES.items()},
    RAVEN: read_raven,
}


def header_of(path: Path) -> list[str]:
    """The names of a table's columns in lower case; none of a file that is no table."""
    try:
        header, _ = TABLES[path.suffix.lower()](path, Columns())
    except (UsageError, OSError):
        return []
    return [name.strip().lower() for name in header]


def endings() -> str:
    """The endings of manifests' names, for messages."""
    names = list(READERS)
    return f"{', '.join(names[:-1])} or {names[-1]}"
