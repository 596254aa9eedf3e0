"""The live display for people: level, scores against their thresholds, and what was heard last."""

import os
import sys
from collections import deque
from contextlib import ExitStack, suppress

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text as Line

from samplecnn.listening.detector import Detector, is_rejection
from samplecnn.listening.listener import Counts, Moment
from samplecnn.listening.outputs import Finished, text_of
from samplecnn.listening.sensitivity import Keys, read_keys, unbuffered
from samplecnn.system import log

ROWS = 16  # classes shown at most
FADING = 0.95  # by which a class's peak falls after every window, so that rows keep still
LAST = 8  # events and near misses shown
BAR = 30  # characters
LOWEST_DB = -60.0  # left end of the level meter
REFRESH = 10  # times a second


class Display:
    """A display that is redrawn in place on a terminal.

    Args:
        title: its first line.
        detector: whose scores and thresholds it shows; keys change the thresholds, where stdin is a terminal.
        counts: of the listener.
        console: where it is drawn; None: stdout.
    """

    def __init__(self, title: str, detector: Detector, counts: Counts, console: Console | None = None) -> None:
        self.title, self.detector, self.counts = log.one_line(title), detector, counts
        self.keys = Keys(detector)
        self._last: deque[Line] = deque(maxlen=LAST)
        self._level = LOWEST_DB
        self._peaks = detector.averaged
        self._opened = ExitStack()
        self._terminal: int | None = None
        self._live = Live(console=console or Console(), refresh_per_second=REFRESH, transient=False)
        self._opened.enter_context(self._live)
        if sys.stdin is not None and sys.stdin.isatty() and os.name == "posix":
            with suppress(OSError):
                self._opened.enter_context(unbuffered(sys.stdin.fileno()))
                self._terminal = sys.stdin.fileno()

    def show(self, moment: Moment) -> None:
        for key in read_keys(self._terminal) if self._terminal is not None else []:
            self.keys.press(key)
        for heard in moment.heard:
            if heard.kind != "end":
                style = "bold green" if heard.kind == "event" else "dim"
                self._last.append(Line(text_of(heard), style))
        self._level = max(moment.level, LOWEST_DB)
        self._live.update(self.drawn(moment))
        if self.keys.ended:
            raise Finished

    def close(self) -> None:
        self._opened.close()

    def drawn(self, moment: Moment) -> Group:
        """The display after a moment."""
        filled = round(BAR * (self._level - LOWEST_DB) / -LOWEST_DB)
        lost = f"   {self.counts.lost:.1f} s lost" if self.counts.lost else ""
        head = Line(f"{self.title}\n{moment.time:9.1f} s  level {_bar(filled / BAR, None)} {self._level:4.0f} dB{lost}")
        return Group(head, self._scores(), *self._last)

    def _rows(self) -> list[int]:
        """The classes shown: where there are too many, those around the chosen one, or the highest lately."""
        count = len(self._peaks)
        if count <= ROWS:
            return list(range(count))
        if self._terminal is None:
            return [int(index) for index in (-self._peaks).argsort()[:ROWS]]
        first = min(max(self.keys.chosen - ROWS // 2, 0), count - ROWS)
        return list(range(first, first + ROWS))

    def _scores(self) -> Table:
        table = Table.grid(padding=(0, 1))
        averaged, limits = self.detector.averaged, self.detector.thresholds
        self._peaks = np.maximum(self._peaks * FADING, averaged)
        for index in self._rows():
            name = self.detector.task.classes[index]
            if is_rejection(name):
                table.add_row("", Line(log.one_line(name), "dim"), Line(_bar(averaged[index], None), "dim"), "")
                continue
            style = "green" if averaged[index] > limits[index] else ""
            mark = ">" if self._terminal is not None and index == self.keys.chosen else ""
            bar = Line(_bar(averaged[index], limits[index]), style)
            table.add_row(mark, Line(log.one_line(name)), bar, f"{averaged[index]:.2f} / {limits[index]:.2f}")
        return table


def _bar(score: float, limit: float | None) -> str:
    """A score as a bar of BAR characters, its threshold as a stroke.

    Example:
        >>> _bar(0.5, 0.8)
        '███████████████·········|·····'
    """
    filled = round(BAR * min(max(score, 0), 1))
    bar = "█" * filled + "·" * (BAR - filled)
    if limit is None:
        return bar
    at = min(round(BAR * limit), BAR - 1)
    return f"{bar[:at]}|{bar[at + 1 :]}"
