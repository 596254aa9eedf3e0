"""How a kernel is compiled: by numba on the user's machine, to run without Python's lock, and cached on disk."""

# mypy: ignore-errors
# numba has no type annotations.

from contextlib import suppress
from pathlib import Path

from llvmlite.binding import get_host_cpu_features
from numba import njit
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache

# The sources of all kernels as of this import: file name, modification time, size.
_SOURCES = tuple(
    (path.name, path.stat().st_mtime, path.stat().st_size) for path in sorted(Path(__file__).parent.glob("*.py"))
)


class _Impl(CompileResultCacheImpl):
    """Stamps what is kept with all kernels' sources: numba's own stamp is that of the function's own file.

    A kernel has its callees compiled into it, so a change of theirs makes what was kept of it stale.
    """

    def __init__(self, py_func):
        super().__init__(py_func)
        own = self._locator.get_source_stamp()
        self._locator.get_source_stamp = lambda: (own, _SOURCES)


class _Cache(FunctionCache):
    """numba's cache; a full or read-only disk costs the compilation of the next process, and nothing else."""

    _impl_class = _Impl

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except OSError:
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError:
            self.disable()


def kernel(fastmath=False):
    """Decorates a function that numba compiles for the types of each first call.

    Args:
        fastmath: LLVM's flags for floating point that it may use, as in `numba.njit`.
    """

    def decorate(function):
        compiled = njit(nogil=True, fastmath=fastmath)(function)
        with suppress(RuntimeError):  # numba finds no folder to write to: a read-only package and no home
            compiled._cache = _Cache(function)
        return compiled

    return decorate


def target_has(feature: str) -> bool:
    """Whether numba compiles for a CPU with an instruction set, named as LLVM does; NUMBA_CPU_NAME sets another CPU."""
    if config.CPU_NAME or config.CPU_FEATURES:
        return f"+{feature}" in (config.CPU_FEATURES or "").split(",")
    return bool(get_host_cpu_features().get(feature))
