"""Items processed by workers, with the results in the order of the items and bounded work in flight.

A worker that dies is replaced. What is left of its items is tried again, first together and then one by one; an item
that two workers have died at on its own is given up.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from samplecnn.errors import SampleCNNError
from samplecnn.system.frames import Message
from samplecnn.system.workers import WorkerDied

GROUPS_PER_WORKER = 2  # in progress or finished and not yet taken
TOGETHER = 2  # attempts at a group, after which its items are tried one by one
DEATHS_ALLOWED = 2  # per item on its own
GIVEN_UP_ALLOWED = 5  # items in a row without a result in between: then it is not the items' fault


class AnyWorker(Protocol):
    """`Worker`, or one on another machine."""

    def ask(self, value: Any, data: Any = b"") -> Generator[Message]: ...
    def kill(self) -> None: ...
    def close(self) -> Any: ...


@dataclass
class _Group:
    items: list[str]
    results: list[Message | WorkerDied] = field(default_factory=list)  # of the first items
    deaths: int = 0
    alone: int = 0  # deaths at the first item without a result, on its own

    @property
    def left(self) -> list[str]:
        return self.items[len(self.results) :]


class OrderedPool:
    """Processes items in workers.

    Args:
        start: starts a worker, at once.
        prepare: makes a worker ready for orders; it may wait for a machine.
        order: the order for some items; its answers are theirs, one for each, in their order.
        workers: their number.
        size: items per order.
    """

    def __init__(
        self,
        start: Callable[[], AnyWorker],
        prepare: Callable[[AnyWorker], None],
        order: Callable[[list[str]], Any],
        workers: int,
        size: int,
    ) -> None:
        self.start, self.prepare, self.order, self.workers, self.size = start, prepare, order, workers, size
        self._changed = threading.Condition()
        self._waiting: deque[_Group] = deque()
        self._alive: dict[int, AnyWorker] = {}
        self._closed = False
        self._error: BaseException | None = None
        self._given_up = 0

    def run(self, items: Iterable[str]) -> Generator[tuple[str, Message | WorkerDied]]:
        """Yields every item with its answer, or with the death of the second worker that it has killed.

        `items` may be an iterator of any length, which is read in this thread.

        Raises:
            SampleCNNError: workers keep dying.
            Others: raised by a worker or its start.
        """
        source = iter(items)
        groups: deque[_Group] = deque()
        threads: list[threading.Thread] = []
        try:
            while True:
                while len(groups) < GROUPS_PER_WORKER * self.workers:
                    taken = list(islice(source, self.size))
                    if not taken:
                        break
                    group = _Group(taken)
                    groups.append(group)
                    with self._changed:
                        self._waiting.append(group)
                        self._changed.notify_all()
                    if len(threads) < self.workers:
                        threads.append(threading.Thread(target=self._serve, args=(len(threads),), daemon=True))
                        threads[-1].start()
                if not groups:
                    return
                group = groups[0]
                for number, item in enumerate(group.items):
                    result = self._result(group, number)
                    yield item, result
                groups.popleft()
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
                for worker in self._alive.values():
                    worker.kill()
            for thread in threads:
                thread.join()

    def _result(self, group: _Group, number: int) -> Message | WorkerDied:
        with self._changed:
            self._changed.wait_for(lambda: len(group.results) > number or self._error is not None)
            if self._error is not None:
                raise self._error
            return group.results[number]

    def _serve(self, number: int) -> None:
        """Processes waiting groups with one worker at a time.

        Groups wait for a worker that is ready, not with one that may never be: machines may have gone.
        """
        failures = 0  # in a row, before a worker was ready
        try:
            while not self._closed:
                try:
                    worker = self._ready(number)
                    failures = 0
                except WorkerDied as death:
                    self._end(number)
                    failures += 1
                    if failures > DEATHS_ALLOWED and not self._closed:
                        raise _all_dying(death) from death
                    continue
                group = self._next()
                if group is None:
                    return
                try:
                    self._try(worker, group)
                except WorkerDied as death:
                    self._end(number)
                    self._blame(group, death)
                if group.left:
                    with self._changed:
                        self._waiting.appendleft(group)
                        self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()
        finally:
            self._end(number)

    def _ready(self, number: int) -> AnyWorker:
        """The worker of a thread; a new one if it has none."""
        worker = self._alive.get(number)
        if worker is None:
            worker = self.start()
            with self._changed:
                self._alive[number] = worker
                if self._closed:
                    worker.kill()
            self.prepare(worker)
        return worker

    def _next(self) -> _Group | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return None if self._closed else self._waiting.popleft()

    def _try(self, worker: AnyWorker, group: _Group) -> None:
        """One attempt at what is left of a group, or at its first item."""
        wanted = group.left[:1] if group.deaths >= TOGETHER else group.left
        before = len(group.results)
        for answer in worker.ask(self.order(wanted)):
            self._add(group, answer)
        assert len(group.results) == before + len(wanted)

    def _blame(self, group: _Group, death: WorkerDied) -> None:
        group.deaths += 1
        if group.deaths <= TOGETHER or self._closed:
            return
        group.alone += 1
        if group.alone >= DEATHS_ALLOWED:
            self._add(group, death)

    def _add(self, group: _Group, result: Message | WorkerDied) -> None:
        with self._changed:
            self._given_up = self._given_up + 1 if isinstance(result, WorkerDied) else 0
            if isinstance(result, WorkerDied) and self._given_up >= GIVEN_UP_ALLOWED:
                raise _all_dying(result)
            group.results.append(result)
            group.alone = 0
            self._changed.notify_all()

    def _end(self, number: int) -> None:
        with self._changed:
            worker = self._alive.pop(number, None)
        if worker is not None:
            worker.close()


def _all_dying(last: WorkerDied) -> SampleCNNError:
    return SampleCNNError(
        f"workers keep dying (the last one {last.how}); check memory and machines, and run the same command again"
    )
