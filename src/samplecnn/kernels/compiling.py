"""Compiles kernels by numba on the user's machine, with the GIL released, and caches them on disk."""

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
    """Stamps cache entries with the sources of all kernels: numba's default stamp covers the function's own file only.

    Callees are compiled into a kernel, so a change of a callee must invalidate its entry.
    """

    def __init__(self, py_func):
        super().__init__(py_func)
        own = self._locator.get_source_stamp()
        self._locator.get_source_stamp = lambda: (own, _SOURCES)


class _Cache(FunctionCache):
    """numba's cache; with a full or read-only disk the next process compiles again, and nothing fails."""

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
    """Decorator: numba compiles the function at the first call with each combination of argument types.

    Args:
        fastmath: LLVM's floating-point flags, as in `numba.njit`.
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
