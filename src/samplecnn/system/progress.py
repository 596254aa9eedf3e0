"""Progress of long work: a live bar with rate and remaining time on a terminal, else a line every few seconds."""

import sys
import time
from types import TracebackType
from typing import Any

from samplecnn.system import log


def duration(seconds: float) -> str:
    """Formats a duration: 42s, 3m07s, 2h05m."""
    seconds = round(max(seconds, 0))
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes}m{seconds:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


class Progress:
    """Counts `total` items of `unit`, shown on stderr.

    with Progress(total=1000, description="build train", unit="clips") as progress:
        progress.advance(10, note="2 skipped")

    `done` items were finished by an earlier, interrupted run; they do not count towards the rate. With --quiet
    nothing is shown.
    """

    LINE_INTERVAL = 15.0  # seconds between lines without a terminal

    def __init__(self, total: int, description: str, unit: str, done: int = 0) -> None:
        self.total, self.description, self.unit = total, description, unit
        self.start_at = self.done = done
        self.note = ""
        self.live: Any = None

    def __enter__(self) -> "Progress":
        self.began = self.last_line = time.monotonic()
        if sys.stderr is not None and sys.stderr.isatty() and not log.is_quiet():
            from rich.console import Console
            from rich.live import Live
            from rich.text import Text

            def line() -> Text:  # as Text: a description such as "build [noise]" is not markup
                return Text(log.printable(self._line()))

            self.live = Live(get_renderable=line, console=Console(stderr=True), refresh_per_second=4)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()
        elif self.last_line != self.began or kind is not None or self.elapsed > 1:
            log.note(self._line())

    def advance(self, count: int = 1, note: str | None = None) -> None:
        self.done += count
        if note is not None:
            self.note = note
        if self.live is None and time.monotonic() - self.last_line > self.LINE_INTERVAL:
            self.last_line = time.monotonic()
            log.note(self._line())

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @property
    def rate(self) -> float:
        """Items per second, excluding those of an earlier run."""
        return (self.done - self.start_at) / max(self.elapsed, 1e-9)

    def _line(self) -> str:
        rate = self.rate
        left = f"{duration((self.total - self.done) / rate)} left" if rate > 0 and self.done < self.total else ""
        if self.done >= self.total:
            left = f"in {duration(self.elapsed)}"
        width = 24
        filled = width * min(self.done, self.total) // max(self.total, 1)
        parts = [
            f"{self.description} {'━' * filled}{'╌' * (width - filled)} {self.done:,}/{self.total:,} {self.unit}",
            f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s",
            left,
            self.note,
        ]
        return "  ".join(part for part in parts if part)
