"""NumPy engine for a few recordings: no start-up time, while importing PyTorch takes longer than tagging a song.

fp32 is exact up to rounding, on any CPU. In bf16 the operands of the convolutions are rounded to bfloat16 and summed in
float32, as on CPUs with bfloat16 instructions: slower than fp32, to reproduce the bf16 scores of other engines.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from samplecnn.inference.base import Engine
from samplecnn.inference.pooled_arrays import PooledArrays, RoundedArrays
from samplecnn.models.graph import Graph, run


class _Blas:
    """The threads of NumPy's BLAS, which belong to the whole process."""

    def __init__(self) -> None:
        self._lock, self._callers, self._usual = threading.Lock(), 0, 1
        self._limit: Any = None

    @cached_property
    def _library(self) -> Any:
        from threadpoolctl import ThreadpoolController

        return ThreadpoolController().select(user_api="blas")

    @contextmanager
    def one_thread(self) -> Iterator[int]:
        """Limits BLAS to one thread until the last caller has left; yields how many it has otherwise."""
        with self._lock:
            if not self._callers:
                self._usual = max((library["num_threads"] for library in self._library.info()), default=1)
                self._limit = self._library.limit(limits=1)
            self._callers += 1
        try:
            yield self._usual
        finally:
            with self._lock:
                self._callers -= 1
                if not self._callers:
                    self._limit.restore_original_limits()


BLAS = _Blas()


class NumpyEngine(Engine):
    """NumPy on the CPU."""

    name = "numpy"
    survives_fork = True

    def __init__(self, net: Graph, precision: str) -> None:
        super().__init__(net, precision)
        self.operations = PooledArrays() if precision == "fp32" else RoundedArrays()

    @classmethod
    def open(cls, net: Graph, precision: str, device: Any = None, few: bool = False) -> "NumpyEngine":
        return cls(net, precision)

    def infer(self, segments: np.ndarray) -> np.ndarray:
        # One segment per thread at a time: larger batches exceed the caches. A thread has all of a segment, because the
        # threads of BLAS wait for each other in every product, spinning: on a busy machine one window took ten times as
        # long with two of them.
        with BLAS.one_thread() as usual:
            threads = min(usual, len(segments))
            if threads == 1:
                return np.concatenate([self._one(wave) for wave in segments])
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(threads) as pool:
                return np.concatenate(list(pool.map(self._one, segments)))

    def _one(self, wave: np.ndarray) -> np.ndarray:
        return run(self.net, self.operations, wave[None], len(wave))
