"""Which column of a table means what: usual names, and the tables of known data sets and programs by their header."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from samplecnn.errors import UsageError
from samplecnn.parsing import SHOWN, shown

# Accepted column names in lower case; of several that are there the first is used.
COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "audio_filepath"),
    "labels": ("labels", "label", "class", "classes", "category", "tags", "tag", "command", "target"),
    "split": ("split", "subset"),
    "group": ("group", "speaker"),
    "fold": ("fold",),
    "start": ("start", "start_time", "start (s)"),
    "end": ("end", "end_time", "end (s)"),
    "seconds": (),  # from start
}
REQUIRED = ("path", "labels")
FORM = "expected a table with columns path and labels and, optionally, split, group, fold, start and end"


@dataclass(frozen=True)
class Dialect:
    """The tables of a data set or program.

    Args:
        header: columns by which they are recognised, in lower case.
        columns: accepted names where they are not those of `COLUMNS`; none: the column is not read.
        folds_first: a group is one only within a fold. ESC-50 has 4 of 1,524 sources in two of its folds, over which
            published scores are.
        places: where recordings lie, relative to the table. The first with which the recording of the first row is
            found holds for all rows.
    """

    header: frozenset[str]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    places: tuple[str, ...] = ("{path}",)
    folds_first: bool = False


PLAIN = Dialect(frozenset())
DIALECTS = {
    "ESC-50": Dialect(
        frozenset({"filename", "fold", "target", "category"}),
        {"group": ("src_file",)},
        ("../audio/{path}", "audio/{path}", "{path}"),
        folds_first=True,
    ),
    "UrbanSound8K": Dialect(  # start and end are those of the slice in the recording that it was cut from
        frozenset({"slice_file_name", "fsid", "fold", "class"}),
        {"path": ("slice_file_name",), "labels": ("class",), "group": ("fsid",), "start": (), "end": ()},
        ("../audio/fold{fold}/{path}", "audio/fold{fold}/{path}", "fold{fold}/{path}", "{path}"),
        folds_first=True,
    ),
    "DCASE": Dialect(
        frozenset({"filename", "onset", "offset"}),
        {"labels": ("event_label", "event_labels"), "start": ("onset",), "end": ("offset",)},
    ),
    "NeMo": Dialect(
        frozenset({"audio_filepath", "offset", "duration"}), {"start": ("offset",), "end": (), "seconds": ("duration",)}
    ),
}


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

    def accepted(self, column: str, dialect: Dialect = PLAIN) -> tuple[str, ...]:
        """Accepted names of a column, in lower case."""
        given = {"path": self.path, "labels": self.labels}.get(column)
        return dialect.columns.get(column, COLUMNS[column]) if given is None else (given.strip().lower(),)

    def known(self) -> frozenset[str]:
        """All names that a column which is read can have."""
        named = [self.accepted(column, dialect) for column in COLUMNS for dialect in (PLAIN, *DIALECTS.values())]
        return frozenset(name for names in named for name in names).union(*(one.header for one in DIALECTS.values()))


def dialect_of(header: Sequence[str]) -> Dialect:
    """The first of `DIALECTS` whose columns are all in the header, else `PLAIN`."""
    names = {name.strip().lower() for name in header}
    return next((dialect for dialect in DIALECTS.values() if dialect.header <= names), PLAIN)


def positions(path: Path, header: Sequence[str], columns: Columns, dialect: Dialect) -> dict[str, int]:
    """Positions of the columns in the header; of those that are optional only where they are there.

    Raises:
        UsageError: paths or labels are not among them, or a column is there several times.
    """
    names = [name.strip().lower() for name in header]
    found = {}
    for column in COLUMNS:
        accepted = columns.accepted(column, dialect)
        name = next((name for name in accepted if name in names), None)
        if name is None:
            if column in REQUIRED:
                there = ", ".join(name[:SHOWN] for name in header[:8] if name) or "nothing"
                wanted = column if len(accepted) > 1 else accepted[0]
                option = {"path": "--path-column", "labels": "--label-column"}[column]
                raise UsageError(
                    f"{path}, line 1: column {wanted!r} is missing (found {there}); {FORM}, or name it with {option}"
                )
        elif names.count(name) > 1:
            raise UsageError(f"{path}, line 1: column {shown(name)} is there {names.count(name)} times; keep one")
        else:
            found[column] = names.index(name)
    return found
