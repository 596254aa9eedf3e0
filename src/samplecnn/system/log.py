"""Messages and verbosity: results go to stdout, all messages go to stderr.

`--quiet` hides notes and progress, `--verbose` adds details; warnings are always shown. The level belongs to the
process, like the stream it writes to: a command sets it once, before any work.
"""

import io
import json
import sys
from enum import IntEnum
from typing import IO, Any


class Verbosity(IntEnum):
    SILENT = -1  # of several processes with the same messages, all but one
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
    """Whether progress and notes are hidden."""
    return _verbosity <= Verbosity.QUIET


def warn(text: str) -> None:
    """Prints a warning."""
    _write(f"warning: {text}")


def note(text: str) -> None:
    """Prints information for the user: what is used, what was written where."""
    if not is_quiet():
        _write(text)


def detail(text: str) -> None:
    """Prints a detail, with `--verbose` only."""
    if _verbosity == Verbosity.VERBOSE:
        _write(text)


def printable(text: str) -> str:
    """Escapes control characters, since a file name could clear the screen.

    >>> print(printable("line 1\\nline 2: caf\u00e9\\x1b[2J"))
    line 1
    line 2: café\\x1b[2J
    """
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """`printable` for a name within a line: line breaks and tabs are also escaped.

    >>> print(one_line("a\\tb\\nc"))
    a\\tb\\nc
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON with escaped control characters, and escaped bytes of file names that are not UTF-8; other characters are
    kept.

    >>> print(json_text({"name": "caf\u00e9\x1b[2J\u202e"}))
    {"name": "café\\u001b[2J\\u202e"}
    """
    lines = json.dumps(value, ensure_ascii=False, indent=indent).split("\n")
    return "\n".join(line if line.isprintable() else _escaped(line) for line in lines)


def _escaped(line: str) -> str:
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


class PlainTerminal(io.TextIOBase):
    """A text stream that escapes control characters.

    Args:
        stream: a text stream.
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
    if _verbosity > Verbosity.SILENT:
        print(printable(text), flush=True)


def report(text: str) -> None:
    """Prints to stderr regardless of the verbosity."""
    _write(text)


def _write(text: str) -> None:
    if sys.stderr is not None and _verbosity > Verbosity.SILENT:
        print(printable(text), file=sys.stderr, flush=True)
