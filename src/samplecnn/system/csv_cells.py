"""CSV rows whose text cells are escaped so that spreadsheets do not execute them as formulas, and their inverse.

A spreadsheet takes a cell that begins with =, +, -, @, a tab or a carriage return for a formula: a recording called
`=HYPERLINK(...)` would become a link. Such a cell gets an apostrophe in front, which spreadsheets take for "this is
text". A text that begins with apostrophes and then such a character gets one more, so that `unguarded` always gives
back the original. Numbers are left alone.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def csv_row(values: Iterable[Any]) -> str:
    """A line of CSV, terminated by a line feed.

    Told to end lines so, the csv module leaves carriage returns unquoted, and then cannot read what it has written.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(guarded(value) for value in values)
    return line.getvalue().removesuffix("\r\n") + "\n"


def csv_rows(lines: Iterable[str]) -> Iterator[list[str]]:
    """The inverse of `csv_row`: the original rows."""
    for row in csv.reader(lines):
        yield [unguarded(cell) for cell in row]


def guarded(value: Any) -> Any:
    """Escapes a text so that no spreadsheet interprets it as a formula; other values are unchanged.

    >>> guarded("=1+1"), guarded("dog"), guarded(-0.5)
    ("'=1+1", 'dog', -0.5)
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def unguarded(cell: str) -> str:
    """The inverse of `guarded`.

    >>> unguarded("'=1+1"), unguarded("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if _GUARDED.match(cell) else cell
