"""Thresholds that can be changed while a model listens: by a file that is read again when it changes, and by keys."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.listening.detector import Detector
from samplecnn.system import log
from samplecnn.tagging.events import EventRules, class_thresholds

CHECK_SECONDS = 0.5  # between two looks at the file
MAX_BYTES = 1 << 20
STEP = 0.05  # of a threshold, by a key


def thresholds_in(path: Path) -> dict[str, float]:
    """Thresholds in a file: CLASS=VALUE on each line, "*" for all others; empty lines and lines from # are skipped.

    Raises:
        UsageError: it cannot be read, or a line is of another form.
    """
    try:
        if path.stat().st_size > MAX_BYTES or not path.is_file():
            raise UsageError(f"{path}: not a file of thresholds; write CLASS=VALUE lines into it")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(f"{path}: {reason}; give a file of CLASS=VALUE lines") from error
    limits: dict[str, float] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                limits |= class_thresholds([line.strip()])
            except UsageError as error:
                raise UsageError(f"{path}: line {number}: {error}") from error
    return limits


class ThresholdFile:
    """Keeps a detector's thresholds as a file says.

    Args:
        path: of the file.
        detector: whose thresholds are set, now and after every change.
        default: those of classes that the file does not name, float [classes].

    Raises:
        UsageError: the file cannot be used. Later faults are told, and the thresholds stay.
    """

    def __init__(self, path: Path, detector: Detector, default: np.ndarray) -> None:
        self.path, self.detector, self.default = path, detector, default
        self._stamp: tuple[int, int] | None = None
        self._next = 0.0
        self._read()

    def look(self) -> None:
        """Reads the file again if it has changed; to be called often."""
        if time.monotonic() < self._next:
            return
        try:
            if self._stamp != self._stamp_now():
                self._read()
                log.note(f"{self.path}: thresholds changed")
        except UsageError as error:
            log.warn(f"{error}; the thresholds stay as they were")

    def _read(self) -> None:
        self._stamp = self._stamp_now()
        rules = EventRules(thresholds_in(self.path))
        self.detector.thresholds = rules.thresholds(self.detector.task.classes, list(self.default))

    def _stamp_now(self) -> tuple[int, int] | None:
        self._next = time.monotonic() + CHECK_SECONDS
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


class Keys:
    """Which class is chosen in the display, and the keys that change its threshold.

    Up and down choose, left and right (or - and +) change its threshold by `STEP`, q ends.

    Args:
        detector: whose thresholds are changed.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector, self.chosen, self.ended = detector, 0, False

    def press(self, key: str) -> None:
        """One key, as a terminal sends it: a character, or an escape sequence."""
        count = len(self.detector.task.classes)
        if key in ("\x1b[A", "\x1b[B"):
            self.chosen = (self.chosen + (1 if key == "\x1b[B" else -1)) % count
        elif key in ("\x1b[C", "+", "\x1b[D", "-"):
            change = STEP if key in ("\x1b[C", "+") else -STEP
            limits = self.detector.thresholds.copy()
            limits[self.chosen] = min(max(round(limits[self.chosen] + change, 6), STEP), 1 - STEP / 5)
            self.detector.thresholds = limits
        elif key == "q":
            self.ended = True


@contextmanager
def unbuffered(terminal: int) -> Iterator[None]:
    """Gives keys at once and without echo, as long as it is open.

    Args:
        terminal: its file descriptor.
    """
    import termios
    import tty

    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def read_keys(terminal: int) -> list[str]:
    """The keys that wait at a terminal; does not wait itself."""
    import os
    import select

    if not select.select([terminal], [], [], 0)[0]:
        return []
    text = os.read(terminal, 256).decode("utf-8", "ignore")
    keys: list[str] = []
    while text:
        length = 3 if text.startswith("\x1b[") and len(text) >= 3 else 1
        keys.append(text[:length])
        text = text[length:]
    return keys
