"""Reading ahead: in order, bounded in sources, parts and threads, and stopped when its reader stops."""

import threading
import time

import pytest

from samplecnn.errors import AudioError, SampleCNNError
from samplecnn.system.read_ahead import DEPTH, END, THREAD_NAME, map_ahead, read_ahead


def test_map_ahead_keeps_the_order_and_its_bounds():
    begun = []

    def work(item):
        begun.append(item)
        return item * item

    results = map_ahead(work, iter(range(1000)), threads=3)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    results.close()
    assert len(begun) <= 5 + 4, "no more than threads + 1 beyond what was taken"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]
    assert list(map_ahead(work, range(100), threads=3)) == [n * n for n in range(100)]


def test_an_error_in_map_ahead_reaches_the_caller():
    def work(item):
        if item == 3:
            raise SampleCNNError("damaged shard")
        return item

    results = map_ahead(work, range(10), threads=2)
    with pytest.raises(SampleCNNError, match="damaged shard"):
        list(results)


def test_read_ahead_is_bounded_in_sources_and_parts():
    opened, made = [], []

    def read(source):
        opened.append(source)
        for part in range(1000):
            made.append(part)
            yield part

    parts = read_ahead(iter(range(1000)), read, threads=2)
    assert [next(parts) for _ in range(3)] == [(0, 0), (0, 1), (0, 2)]
    parts.close()
    assert len(opened) <= 4 and len(made) < 20


def test_an_unforeseen_failure_of_a_decoder_stops_that_file_only():
    def read(source):
        yield source
        if source == 1:
            raise ZeroDivisionError("what a codec")

    outcomes = list(read_ahead(range(3), read, threads=2))
    assert [source for source, _ in outcomes] == [0, 0, 1, 1, 2, 2]
    assert isinstance(outcomes[3][1], AudioError) and "what a codec" in str(outcomes[3][1])
    assert outcomes[5] == (2, END)


@pytest.mark.parametrize("slow", ["reader", "source"])
def test_the_bounds_hold_whoever_is_slow(slow):
    """Parts that exist at a time: DEPTH waiting of each open source, and one that each thread holds."""
    lock, alive, most, threads = threading.Lock(), 0, 0, 3

    def change(by):
        nonlocal alive, most
        with lock:
            alive += by
            most = max(most, alive)

    def read(source):
        for part in range(20):
            if slow == "source":
                time.sleep(0.0002)
            change(1)
            yield part

    taken = 0
    for _, part in read_ahead(iter(range(50)), read, threads):
        if part is not END:
            change(-1)
            taken += 1
            if slow == "reader":
                time.sleep(0.0002)
    assert taken == 1000 and most <= 2 * threads * DEPTH + threads + 1


def test_closing_frees_threads_that_wait_for_room():
    parts = read_ahead(iter(range(100)), lambda source: iter(range(100)), threads=4)
    next(parts)
    parts.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


def test_an_interrupt_in_a_thread_is_not_taken_for_a_bad_file():
    def read(source):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(read_ahead([1], read, threads=1))
