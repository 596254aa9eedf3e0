"""Labels of parts of recordings, as people make them in Raven and Audacity: a table next to each recording, or one of
Raven for several recordings.

- Raven: a header, then a row for each selection, separated by tabs. The label is in a column that the user named.
- Audacity: start, end and label, separated by tabs, without header. A line that begins with a backslash holds the
  frequencies of the label before it.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from samplecnn.datasets.cells import labels_of, part_of, seconds_of
from samplecnn.datasets.columns import Columns
from samplecnn.datasets.label_files import read_lines, read_rows
from samplecnn.datasets.rows import Row
from samplecnn.datasets.splits import is_split_name
from samplecnn.errors import UsageError
from samplecnn.parsing import SHOWN, shown
from samplecnn.recordings import counted, listed

RAVEN, AUDACITY = ".selections.txt", ".txt"
ENDINGS = (RAVEN, ".labels.txt", AUDACITY)
# What Raven appends to the recording's name, and the columns that users label selections in, in lower case.
TABLE_NUMBER = re.compile(r"\.Table\.\d+(-.*)?$", re.IGNORECASE)
RAVEN_LABELS = (
    "annotation", "annotations", "label", "labels", "class", "species", "species code", "common name", "tag", "tags",
    "type", "call type", "sound type", "call", "event",
)  # fmt: skip
BEGIN, END, OFFSET = "begin time (s)", "end time (s)", "file offset (s)"
RECORDING = ("begin path", "begin file")
RAVEN_REMEDY = "expected a selection table of Raven"
AUDACITY_REMEDY = "expected start, end and label, separated by tabs, as Audacity exports labels"
LABEL_LINE = re.compile(r"\s*\d+([.,]\d+)?\t\d+([.,]\d+)?(\t|$)")
LOOKED_AT = 20  # files of which one must be a label file of Audacity, else texts are taken for something else


def read_raven(path: Path, columns: Columns, recording: str | None = None) -> Iterator[Row]:
    """The rows of a selection table; a selection that is shown in several views counts once, see `table_of_rows`.

    Args:
        columns: `labels` and `path` name the columns of labels and recordings.
        recording: that the table is next to; None: the rows name their recordings, and where several are in one table
            the time in each is the file offset.

    Raises:
        UsageError: a column is missing, or a row cannot be used.
    """
    rows = read_rows(path, RAVEN_REMEDY, "\t")
    _, header = next(rows, (1, []))
    names = [name.strip().lower() for name in header]

    def position(wanted: Sequence[str], remedy: str) -> int:
        for name in wanted:
            if name in names:
                return names.index(name)
        there = ", ".join(name.strip()[:SHOWN] for name in header[:12]) or "nothing"
        raise UsageError(f"{path}, line 1: column {wanted[0]!r} is missing (found {there}); {remedy}")

    begin, end = (position([name], RAVEN_REMEDY) for name in (BEGIN, END))
    given = None if columns.labels is None else [columns.labels.strip().lower()]
    label = position(given or RAVEN_LABELS, "name the column of the labels with --label-column")
    source = offset = -1
    if recording is None:
        given = None if columns.path is None else [columns.path.strip().lower()]
        remedy = "put the table next to its recording, or name the column of the recordings with --path-column"
        source = position(given or RECORDING, remedy)
        offset = names.index(OFFSET) if OFFSET in names else -1
    for line, cells in rows:
        where = f"{path}, line {line}"
        if len(cells) != len(header):
            count = f"{len(cells)} columns where the header has {len(header)}"
            raise UsageError(f"{where}: {count}; export the table again")
        start, stop = _span(cells[begin], cells[end], where)
        if offset >= 0 and cells[offset].strip():
            within = seconds_of(cells[offset], "file offset", where) or 0.0
            start, stop = within, round(within + stop - start, 6)
        name = recording if recording is not None else cells[source].strip()
        if not name or "\0" in name:
            raise UsageError(f"{where}: the recording is {'empty' if not name else 'not a file name'}")
        yield Row(f"line {line}", name, labels_of(cells[label], columns.separator), start=start, end=stop)


def read_audacity(path: Path, columns: Columns, recording: str) -> Iterator[Row]:
    """The labels of an exported label track; points have an end that is their start.

    Raises:
        UsageError: a line that is none.
    """
    for number, line in read_lines(path, AUDACITY_REMEDY):
        if line.startswith("\\"):
            continue
        where = f"{path}, line {number}"
        cells = [*line.split("\t"), "", ""]
        if len(cells) < 4:
            raise UsageError(f"{where}: {shown(line)}; {AUDACITY_REMEDY}, or rename the file if it holds no labels")
        start, end = _span(cells[0], cells[1], where)
        yield Row(f"line {number}", recording, labels_of(cells[2], columns.separator), start=start, end=end)


def _span(start: str, end: str, where: str) -> tuple[float, float]:
    first, last = seconds_of(start, "start", where), seconds_of(end, "end", where)
    if first is None or last is None:
        raise UsageError(f"{where}: the {'start' if first is None else 'end'} is empty; give seconds, such as 12.5")
    if last != first:
        part_of(first, last, where)
    return first, last


def tables_next_to(root: Path, recordings: Sequence[str], texts: Sequence[str]) -> dict[str, list[str]] | None:
    """The label tables of each recording that has some, by name; None where the texts are no label tables.

    `song.selections.txt`, `song.Table.1.selections.txt`, `song.labels.txt` and `song.txt` belong to `song.wav`; so do
    they with `song.wav` in place of `song`.

    Args:
        recordings, texts: paths relative to the folder `root`, with forward slashes.

    Raises:
        UsageError: a table that may belong to several recordings.
    """
    by_name: dict[str, list[str]] = {}
    for name in recordings:
        by_name.setdefault(name, []).append(name)
        by_name.setdefault(name[: -len(PurePosixPath(name).suffix)], []).append(name)
    tables: dict[str, list[str]] = {}
    for text in sorted(texts):
        ending = next(ending for ending in ENDINGS if text.lower().endswith(ending))
        found = by_name.get(TABLE_NUMBER.sub("", text[: -len(ending)]), [])
        if len(found) > 1:
            raise UsageError(f"{root / text}: it may be of {listed(found)}; rename one of them")
        if found:
            tables.setdefault(found[0], []).append(text)
    every = [text for texts in tables.values() for text in texts]
    is_raven = any(text.lower().endswith(RAVEN) for text in every)
    return tables if is_raven or any(_is_audacity(root / text) for text in every[:LOOKED_AT]) else None


def _is_audacity(path: Path) -> bool:
    with path.open("rb") as file:
        return LABEL_LINE.match(file.read(1000).decode("utf-8-sig", "replace")) is not None


def rows_next_to(
    root: Path, recordings: Sequence[str], tables: dict[str, list[str]], columns: Columns
) -> tuple[list[Row], list[str]]:
    """All labels in the tables, and notes on what is left out. Folders named like splits give the split."""
    rows: list[Row] = []
    points = 0
    tops = {name.partition("/")[0] for name in tables}
    are_splits = all(is_split_name(top) for top in tops)
    for name, texts in tables.items():
        split = name.partition("/")[0] if are_splits else ""
        for text in texts:
            read = read_raven if text.lower().endswith(RAVEN) else read_audacity
            for row in read(root / text, columns, name):
                if row.start == row.end:
                    points += 1
                else:
                    rows.append(row._replace(place=f"{text} {row.place}", split=split))
    notes = []
    without = len(recordings) - len(tables)
    if without:
        notes.append(
            f"{counted(without, 'recording has', 'recordings have')} no table of labels next to it and "
            f"{'is' if without == 1 else 'are'} skipped"
        )
    if points:
        notes.append(f"{counted(points, 'label', 'labels')} without duration skipped; give them a start and an end")
    return rows, notes
