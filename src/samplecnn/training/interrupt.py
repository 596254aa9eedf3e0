"""Ctrl-C that takes effect between two steps instead of in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def deferred_interrupt(several: bool = False) -> Iterator[Interrupt]:
    """Records the first Ctrl-C for the block to act on; a second one interrupts immediately.

    Args:
        several: of several processes, each gets a signal twice, from the system and from torchrun; all are recorded.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield interrupt
        return

    def record(number: int, frame: FrameType | None) -> None:
        interrupt.requested = True
        if not several:
            signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, record)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, previous)
