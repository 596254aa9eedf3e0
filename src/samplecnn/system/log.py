"""Messages for people, and how many of them: results go to stdout, everything here goes to stderr.

`--quiet` hides notes and progress, `--verbose` adds details; warnings are always shown. The level belongs to the
process, like the stream it writes to: a command sets it once, before any work.
"""

import sys
from enum import IntEnum


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


def _write(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
