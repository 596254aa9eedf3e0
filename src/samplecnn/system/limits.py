"""Bounds on what a process may use: set for workers, and met in a process that was started with them."""

import contextlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplecnn.errors import UsageError

SINGLE_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SCARCE = 4 << 30  # bytes of address space in which every library's threads, of tens of megabytes each, have room
# Bytes that scoring and training the smallest network take; in less, PyTorch's compiled parts can crash or hang.
PYTORCH_SPACE, TRAINING_SPACE = 1_250_000_000, 1_400_000_000
# What libraries say where memory is refused them.
MEMORY_MESSAGES = (
    "annot allocate memory",
    "can't allocate memory",
    "failed to map segment",
    "can't start new thread",
    "bad_alloc",
    "bad allocation",
    "not enough memory",
    "Unable to allocate",
)


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


def address_space() -> int | None:
    """Bytes that this process may map (`ulimit -v`); None where that is not limited."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def require_address_space(what: str, needed: int) -> None:
    """Refuses work that would crash inside a library for want of address space.

    Raises:
        UsageError: less than `needed` bytes are allowed.
    """
    limited = address_space()
    if limited is not None and limited < needed:
        raise UsageError(
            f"{what} needs {needed / 1e9:.1f} GB of address space, but it is limited to {limited / 1e9:.1f} GB; raise "
            "the limit (ulimit -v)"
        )


def spare_address_space() -> None:
    """Gives numeric libraries one thread each where address space is scarce; to be called before they are loaded.

    OpenBLAS interrupts a process in which it cannot start its threads, and hangs later.
    """
    limited = address_space()
    if limited is not None and limited < SCARCE:
        for name in SINGLE_THREADED:
            os.environ.setdefault(name, "1")


def memory_problem(error: BaseException) -> str:
    """What to tell of an error that comes from a lack of memory; "" for any other.

    A library whose parts cannot all be mapped fails to import in ways that do not say so.
    """
    limited = address_space()
    chain, link = [], error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__  # type: ignore[assignment]
    lacking = any(
        isinstance(link, MemoryError) or any(words in str(link) for words in MEMORY_MESSAGES) for link in chain
    )
    halfway = isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError)
    if not lacking and not (halfway and limited is not None and limited < SCARCE):
        return ""
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    if limited is None:
        return f"not enough memory ({reason}); close other programs, or use smaller batches"
    return f"not enough memory ({reason}); the address space is limited to {limited / 1e9:.1f} GB: raise it (ulimit -v)"
