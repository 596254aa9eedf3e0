"""Reading label files: BOM, CRLF, quotes and blank lines are accepted; any other fault is an error with its line."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from samplecnn.errors import UsageError
from samplecnn.parsing import decoded, require_file


def read_text(path: Path, remedy: str) -> str:
    """The text of a UTF-8 file, without BOM. Raises UsageError with the file, and with `remedy` where it is missing."""
    require_file(path, remedy, UsageError)
    return decoded(path.read_bytes(), path, "save it as UTF-8", UsageError)


def read_lines(path: Path, remedy: str) -> Iterator[tuple[int, str]]:
    """(line number, line without surrounding white space) of every line that is not blank."""
    for number, line in enumerate(io.StringIO(read_text(path, remedy), newline=None), start=1):
        line = line.strip()
        if line:
            yield number, line


def read_rows(path: Path, remedy: str, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every row of a delimited file that is not blank. Raises UsageError on broken quoting.

    Args:
        delimiter: between cells; None: a comma, or, where the first line has none, a semicolon or tab.
    """
    text = read_text(path, remedy)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or _delimiter_of(text), strict=True)
    try:
        for row in reader:
            if any(cell and not cell.isspace() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: {error}; check the quotes") from None


def _delimiter_of(text: str) -> str:
    header = text.lstrip().partition("\n")[0]
    return next((delimiter for delimiter in (",", ";", "\t") if delimiter in header), ",")
