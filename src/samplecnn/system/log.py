"""Messages for people, and how many of them: results go to stdout, everything here goes to stderr.

`--quiet` hides notes and progress, `--verbose` adds details; warnings are always shown. The level belongs to the
process, like the stream it writes to: a command sets it once, before any work.
"""

import io
import json
import sys
from enum import IntEnum
from typing import IO, Any


class Verbosity(IntEnum):
    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


_verbosity = Verbosity.NORMAL


def set_verbosity(level: Verbosity) -> None:
    global _verbosity
    _verbosity = level


def verbosity() -> Verbosity:
    return _verbosity


def is_quiet() -> bool:
    """Whether progress and notes are to be left out."""
    return _verbosity == Verbosity.QUIET


def warn(text: str) -> None:
    """Shows a problem that does not stop the work."""
    _write(f"warning: {text}")


def note(text: str) -> None:
    """Shows what a user should know: what is used, what was written where."""
    if not is_quiet():
        _write(text)


def detail(text: str) -> None:
    """Shows what helps to understand a run, with `--verbose` only."""
    if _verbosity == Verbosity.VERBOSE:
        _write(text)


def printable(text: str) -> str:
    """A text with control characters shown instead of sent: a file's name could clear the screen.

    >>> print(printable("line 1\\nline 2: caf\u00e9\\x1b[2J"))
    line 1
    line 2: café\\x1b[2J
    """
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """The same for a name among other text: line breaks and tabs are shown too.

    >>> print(one_line("a\\tb\\nc"))
    a\\tb\\nc
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON in which characters that a terminal or a reader could obey are escaped, as are parts of a file's name that
    are not UTF-8; everything else stays readable.

    >>> print(json_text({"name": "caf\u00e9\x1b[2J\u202e"}))
    {"name": "café\\u001b[2J\\u202e"}
    """
    lines = json.dumps(value, ensure_ascii=False, indent=indent).split("\n")
    return "\n".join(line if line.isprintable() else _escaped(line) for line in lines)


def _escaped(line: str) -> str:
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


class PlainTerminal(io.TextIOBase):
    """A terminal that shows control characters instead of obeying them.

    Args:
        stream: open for text.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(printable(text))

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return True


def show(text: str) -> None:
    """Prints a result on stdout as plain text."""
    print(printable(text), flush=True)


def report(text: str) -> None:
    """Shows on stderr what nobody should miss, whatever the verbosity."""
    _write(text)


def _write(text: str) -> None:
    if sys.stderr is not None:
        print(printable(text), file=sys.stderr, flush=True)
