"""What libraries in C write to the standard error, caught so that it can be shown with a file's name."""

import io
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Messages:
    """Messages, each with the names of what was being read when it came: one name, or several where threads read.

    Args:
        file: a descriptor of the file in which messages gather; -1 for none.
    """

    def __init__(self, file: int) -> None:
        self.file = file
        self.found: dict[tuple[str, ...], list[str]] = {}  # names of what was being read, to lines
        self._seen = 0
        self._reading: list[str] = []
        self._lock = threading.Lock()

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """To be open while `name` is read."""
        with self._lock:
            self._reading.append(name)
        try:
            yield
        finally:
            self.look()
            with self._lock:
                self._reading.remove(name)

    def look(self) -> None:
        """Takes what has come since the last look."""
        with self._lock:
            size = os.fstat(self.file).st_size if self.file >= 0 else 0
            if size <= self._seen:
                return
            text = os.pread(self.file, size - self._seen, self._seen).decode(errors="replace")
            self._seen = size
            lines = self.found.setdefault(tuple(dict.fromkeys(self._reading)), [])
            lines += [line.strip() for line in text.splitlines() if line.strip()]


def attributed(messages: Messages, read: Callable[[str], object], most: int) -> dict[str, list[str]]:
    """Messages by the one name that they belong to; where several things were read at once, these are read again.

    Args:
        read: reads what has a name; it may fail as it did before.
        most: names that are read again, at most; beyond them, all the names of a message are given.
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
    """Catches all that is written to file descriptor 2 other than by Python's `sys.stderr`.

    Catches nothing where `sys.stderr` is not that descriptor, and on Windows.
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
