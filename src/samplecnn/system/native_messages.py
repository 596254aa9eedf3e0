"""Captures what C libraries write to stderr, so that it can be shown with a file's name."""

import io
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Messages:
    """Captured messages with the names that were being read at the time: one, or several with reading threads.

    Args:
        file: descriptor of the file that messages are written to; -1: none.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self.found: dict[tuple[str, ...], list[str]] = {}  # names that were being read -> lines
        self._seen = 0
        self._reading: list[str] = []
        self._lock = threading.Lock()

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Context manager during which `name` is read."""
        with self._lock:
            self._reading.append(name)
        try:
            yield
        finally:
            self.look()
            with self._lock:
                self._reading.remove(name)

    def look(self) -> None:
        """Reads the messages since the last call."""
        with self._lock:
            size = os.fstat(self.file).st_size if self.file >= 0 else 0
            if size <= self._seen:
                return
            text = os.pread(self.file, size - self._seen, self._seen).decode(errors="replace")
            self._seen = size
            lines = self.found.setdefault(tuple(dict.fromkeys(self._reading)), [])
            lines += [line.strip() for line in text.splitlines() if line.strip()]


def attributed(messages: Messages, read: Callable[[str], object], most: int) -> dict[str, list[str]]:
    """Attributes each message to one name; if several were being read at the time, they are read again.

    Args:
        read: reads by name; it may fail as before.
        most: maximum number of names that are read again; beyond it, messages keep all their names.
    """
    found: dict[str, list[str]] = {}
    for names, lines in messages.found.items():
        alone: dict[str, list[str]] = {}
        if 1 < len(names) <= most:
            most -= len(names)
            for name in names:
                with caught() as again, suppress(Exception):
                    read(name)
                if again.found:
                    alone[name] = [line for more in again.found.values() for line in more]
        for name, said in (alone or {", ".join(names): lines}).items():
            known = found.setdefault(name, [])
            known += [line for line in said if line not in known]
    return found


@contextmanager
def caught() -> Iterator[Messages]:
    """Captures everything that is written to file descriptor 2 except by Python's `sys.stderr`.

    Captures nothing if `sys.stderr` is not that descriptor, or on Windows.
    """
    stream = sys.stderr
    try:
        catches = os.name == "posix" and stream.fileno() == 2
    except (AttributeError, OSError, ValueError):
        catches = False
    if not catches:
        yield Messages(-1)
        return
    stream.flush()
    with tempfile.TemporaryFile(buffering=0) as file, os.fdopen(os.dup(2), "wb") as terminal:
        os.dup2(file.fileno(), 2)
        sys.stderr = io.TextIOWrapper(
            terminal, encoding=stream.encoding, errors=stream.errors, line_buffering=True, write_through=True
        )
        messages = Messages(file.fileno())
        try:
            yield messages
        finally:
            messages.look()
            messages.file = -1
            sys.stderr.flush()
            os.dup2(terminal.fileno(), 2)
            sys.stderr = stream
