"""Bounds on what a process may use."""

import contextlib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Bounds on a worker; None is no bound.

    Args:
        memory: bytes of address space beyond what the process takes once its modules are imported.
        cpu_seconds: of processor time beyond that.
        seconds: of wall time, for each order.
    """

    memory: int | None = None
    cpu_seconds: int | None = None
    seconds: float | None = None


def limit(memory: int | None, cpu_seconds: int | None) -> None:
    """Bounds this process to so many bytes and seconds of work beyond what it has taken, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if cpu_seconds is not None:
            _lower(resource, resource.RLIMIT_CPU, math.ceil(time.process_time()) + cpu_seconds)
        if memory is not None:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            _lower(resource, resource.RLIMIT_AS, taken + memory)


def _lower(resource: Any, what: int, bound: int) -> None:
    hard = resource.getrlimit(what)[1]
    if hard == resource.RLIM_INFINITY or bound < hard:
        resource.setrlimit(what, (bound, hard))
