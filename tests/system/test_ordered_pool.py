"""Work in worker processes with results in order: deaths, and items that cause them."""

import itertools
import signal
import threading

import pytest

from samplecnn.errors import SampleCNNError
from samplecnn.system import ordered_pool
from samplecnn.system.frames import Message
from samplecnn.system.ordered_pool import OrderedPool
from samplecnn.system.workers import WorkerDied


class Scripted:
    """A worker in this process that dies at some items, the first `times` times."""

    def __init__(self, deaths: dict[str, int], log: list[list[str]]) -> None:
        self.deaths, self.log, self.killed = deaths, log, False

    def ask(self, value, data=b""):
        self.log.append(value)
        for item in value:
            if self.deaths.get(item, 0) > 0:
                self.deaths[item] -= 1
                raise WorkerDied(-signal.SIGKILL, False, "")
            yield Message(item.upper())

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        pass


def ready(worker) -> None:
    pass


def run(items, deaths=None, workers=2, size=3):
    log: list[list[str]] = []
    pool = OrderedPool(lambda: Scripted(deaths or {}, log), ready, lambda group: group, workers, size)
    return list(pool.run(items)), log


def test_results_are_in_the_order_of_the_items():
    items = [f"item {number}" for number in range(20)]
    found, log = run(items, workers=3)
    assert found == [(item, Message(item.upper())) for item in items]
    assert sorted(len(order) for order in log) == [2, *[3] * 6]
    assert run([])[0] == []


def test_what_is_left_of_a_dead_worker_is_tried_again():
    found, log = run(list("abcdef"), {"b": 1})
    assert [result.value for _, result in found] == list("ABCDEF")
    assert ["b", "c"] in log  # a is not done again


def test_an_item_that_kills_two_workers_on_its_own_is_given_up():
    found, log = run(list("abcdef"), {"b": 99})
    assert [item for item, _ in found] == list("abcdef")
    assert [isinstance(result, WorkerDied) for _, result in found] == [False, True, False, False, False, False]
    # Twice together, then on its own; what follows is not blamed for it.
    assert [order for order in log if "b" in order] == [["a", "b", "c"], ["b", "c"], ["b"], ["b"]]


def test_workers_that_keep_dying_end_the_work():
    with pytest.raises(SampleCNNError, match="workers keep dying"):
        run([str(number) for number in range(40)], {str(number): 99 for number in range(40)})


def test_only_a_few_groups_are_read_ahead_and_workers_end_with_the_iterator():
    read = itertools.count()
    source = (str(next(read)) for _ in range(1000))
    workers: list[Scripted] = []

    def start() -> Scripted:
        workers.append(Scripted({}, []))
        return workers[-1]

    results = OrderedPool(start, ready, lambda group: group, 2, 3).run(source)
    assert next(results)[0] == "0"
    assert next(read) <= ordered_pool.GROUPS_PER_WORKER * 2 * 3
    results.close()
    assert workers and all(worker.killed for worker in workers)


def test_a_worker_that_never_gets_ready_holds_nothing_up():
    waiting, numbers = threading.Event(), itertools.count()

    class Pending(Scripted):
        def kill(self) -> None:
            waiting.set()

    def prepare(worker) -> None:
        if isinstance(worker, Pending):
            waiting.wait(60)
            raise WorkerDied(-signal.SIGKILL, False, "")

    def start():
        return Pending({}, []) if next(numbers) == 0 else Scripted({}, [])

    found = list(OrderedPool(start, prepare, lambda group: group, 2, 2).run("abcdefgh"))
    assert [result.value for _, result in found] == list("ABCDEFGH")


def test_an_error_of_a_worker_is_raised():
    def start():
        raise SampleCNNError("no such machine")

    with pytest.raises(SampleCNNError, match="no such machine"):
        list(OrderedPool(start, ready, lambda group: group, 1, 1).run("ab"))
