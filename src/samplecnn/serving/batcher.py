"""Runs a model on the windows of all requests together.

One thread calls the engine. While it computes, windows arrive; the next call takes all waiting windows, up to a batch.
So a single request is not delayed, and under load batches are full.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future

import numpy as np

from samplecnn.errors import SampleCNNError
from samplecnn.inference.base import Engine

Outputs = Future[np.ndarray]
TIMEOUT = 60.0  # seconds after which an engine is taken to hang


class Batcher:
    """An engine that any number of threads may use.

    Args:
        engine: called by the batcher's thread only, from now on.
        batch_size: windows per call at most.
        observe: called with the number of windows of each call.
    """

    def __init__(self, engine: Engine, batch_size: int, observe: Callable[[int], None] = lambda windows: None) -> None:
        self.engine, self.batch_size, self.observe = engine, batch_size, observe
        self._waiting: deque[tuple[np.ndarray, Outputs]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, segments: np.ndarray) -> Outputs:
        """Requests `Engine.columns` of windows [n, window]; their number is the caller's to bound.

        Cancelling the result before it is computed saves the work. After `close` it is cancelled at once.
        """
        outputs: Outputs = Future()
        with self._changed:
            if self._closed:
                outputs.cancel()
                return outputs
            self._waiting.append((segments, outputs))
            self._changed.notify()
        return outputs

    def close(self) -> None:
        """Ends the thread; what waits is cancelled."""
        with self._changed:
            self._closed = True
            while self._waiting:
                self._waiting.popleft()[1].cancel()
            self._changed.notify()
        self._thread.join()
        self.engine.close()

    def _run(self) -> None:
        while taken := self._take():
            try:
                parts = [segments for segments, _ in taken]
                columns = self.engine.columns(parts[0] if len(parts) == 1 else np.concatenate(parts))
                self.observe(len(columns))
            except BaseException as error:  # of every request that is in this batch
                for _, outputs in taken:
                    outputs.set_exception(error)
                continue
            done = 0
            for segments, outputs in taken:
                outputs.set_result(columns[done : done + len(segments)])
                done += len(segments)

    def _take(self) -> list[tuple[np.ndarray, Outputs]]:
        """What the next call computes: the first that wait, as many as fit into a batch; empty after `close`."""
        with self._changed:
            while True:
                taken: list[tuple[np.ndarray, Outputs]] = []
                windows = 0
                while self._waiting and (not taken or windows + len(self._waiting[0][0]) <= self.batch_size):
                    segments, outputs = self._waiting.popleft()
                    if outputs.set_running_or_notify_cancel():
                        taken.append((segments, outputs))
                        windows += len(segments)
                if taken or self._closed:
                    return taken
                self._changed.wait()


class SharedEngine(Engine):
    """An engine for one user among many: its windows are computed by a batcher. Any thread may call it."""

    def __init__(self, batcher: Batcher) -> None:
        super().__init__(batcher.engine.net, batcher.engine.precision)
        self.name, self.batcher = batcher.engine.name, batcher

    def infer(self, segments: np.ndarray) -> np.ndarray:
        try:
            return self.batcher.submit(segments).result(TIMEOUT)
        except CancelledError:
            raise SampleCNNError("the server is stopping") from None
