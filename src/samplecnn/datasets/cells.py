"""What cells of label tables hold: texts, labels, times."""

import ast
from typing import Any

from samplecnn.errors import UsageError
from samplecnn.parsing import is_number, shown

LONGEST_LIST = 10_000  # characters of a cell that is parsed as a list
MOST_SECONDS = 1e8  # of a recording: three years


def text_of(value: Any) -> str:
    """A cell as text; null and NaN are empty."""
    if value is None or value != value:
        return ""
    return value.strip() if isinstance(value, str) else str(value)


def labels_of(value: Any, separator: str) -> tuple[str, ...]:
    """Labels of a cell, each once: ``a|b``, a list in Parquet, or a list as Python prints it (``['a', 'b']``)."""
    parts = value if isinstance(value, list) else _printed_list(text_of(value))
    if parts is None:
        parts = text_of(value).split(separator)
    return tuple(dict.fromkeys(text for part in parts if (text := text_of(part))))


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


def seconds_of(value: Any, what: str, where: str) -> float | None:
    """A time in seconds, rounded to a microsecond: a number or its text, with point or comma. None where empty.

    Args:
        what: of the time, for messages.
        where: file and place, for messages.

    Raises:
        UsageError: anything else, or a negative or endless time.
    """
    number = value
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        try:
            number = float(text if "." in text else text.replace(",", ".", 1))
        except ValueError:
            number = None
    elif value is None:
        return None
    if not is_number(number) or not 0 <= number <= MOST_SECONDS:
        raise UsageError(f"{where}: the {what} is {shown(value)}; give seconds, such as 12.5")
    return round(float(number), 6)


def part_of(start: float | None, end: float | None, where: str) -> tuple[float, float | None]:
    """Start and end of a clip. Raises UsageError where the end is not after the start."""
    start = start or 0.0
    if end is not None and end <= start:
        raise UsageError(f"{where}: the end, {brief(end)} s, is not after the start, {brief(start)} s; correct them")
    return start, end


def brief(seconds: float) -> str:
    """Seconds with at most 6 decimals."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
