"""Resource limits: set for workers, and handled in processes that were started with limits."""

import contextlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplecnn.errors import UsageError

SINGLE_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SCARCE = 4 << 30  # bytes of address space, below which the libraries' threads, of tens of megabytes each, may not fit
# Bytes for scoring and for training the smallest network; with less, PyTorch's compiled code can crash or hang.
PYTORCH_SPACE, TRAINING_SPACE = 1_250_000_000, 1_400_000_000
# Parts of the messages of libraries that cannot allocate memory.
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
    """Limits of a worker; None: unlimited.

    Args:
        memory: bytes of address space beyond what the process takes once its modules are imported.
        cpu_seconds: additional processor time.
        seconds: wall time per order.
        waiting: wall time until the next answer, not counting the time in which none is awaited.
    """

    memory: int | None = None
    cpu_seconds: int | None = None
    seconds: float | None = None
    waiting: float | None = None


def limit(memory: int | None, cpu_seconds: int | None) -> None:
    """Limits this process to an additional number of bytes and CPU seconds, if the system supports it."""
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
    """Bytes that this process may map (`ulimit -v`); None: unlimited."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def require_address_space(what: str, needed: int) -> None:
    """Refuses work that would crash in a library due to too little address space.

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
    """Limits numeric libraries to one thread each if address space is scarce; call it before they are loaded.

    OpenBLAS interrupts the process if it cannot start its threads, and hangs later.
    """
    limited = address_space()
    if limited is not None and limited < SCARCE:
        for name in SINGLE_THREADED:
            os.environ.setdefault(name, "1")


def memory_problem(error: BaseException) -> str:
    """A message for an error due to a lack of memory; "" for any other.

    The import of a library that cannot be mapped completely may fail with unrelated errors.
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
