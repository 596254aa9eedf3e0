"""Work in threads: ordered and bounded ahead of its use (`read_ahead`, `map_ahead`), or as completed (`merged`)."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from samplecnn.errors import AudioError

In = TypeVar("In")
Part = TypeVar("Part")
Out = TypeVar("Out")
Item = TypeVar("Item")

DEPTH = 2  # queued parts per source
THREAD_NAME = "read-ahead"


class End:
    """Marks the end of a source."""


END = End()


class _Failure(NamedTuple):
    error: BaseException


def read_ahead(
    sources: Iterable[In], read: Callable[[In], Iterator[Part]], threads: int
) -> Generator[tuple[In, Part | AudioError | End]]:
    """Yields the parts of all sources, in order, each source followed by END or by the error that stopped it.

    At max_open 2 * `threads` sources are open or read at a time, with `DEPTH` parts of each in memory, regardless of
    the number and length of the sources. Closing the iterator early stops its threads.
    """
    with closing(_ahead(sources, read, threads, 2 * threads)) as parts:
        for source, part in parts:
            if not isinstance(part, _Failure):
                yield source, part
            elif isinstance(part.error, AudioError):
                yield source, part.error
            elif isinstance(part.error, Exception):  # no exception of a codec may stop the other files
                reason = f"{type(part.error).__name__}: {part.error}"
                yield source, AudioError(f"{source}: cannot be read ({reason}); remove it")
            else:
                raise part.error


def map_ahead(work: Callable[[In], Out], items: Iterable[In], threads: int) -> Generator[Out]:
    """`map(work, items)` in order, with up to `threads` + 1 results computed ahead.

    Closing the iterator early cancels pending work.

    Example:
        >>> list(map_ahead(len, ["a", "bc", ""], threads=2))
        [1, 2, 0]
    """
    # One more, since the item in use counts until the next one is requested.
    with closing(_ahead(items, lambda item: iter((work(item),)), threads, threads + 2)) as parts:
        for _, part in parts:
            if isinstance(part, _Failure):
                raise part.error
            if not isinstance(part, End):
                yield part


def _ahead(
    sources: Iterable[In], read: Callable[[In], Iterator[Part]], threads: int, max_open: int
) -> Generator[tuple[In, Part | _Failure | End]]:
    """The parts of every source in order, each followed by END or what was raised; at most `max_open` sources are
    open.
    """
    stop = threading.Event()

    def work(source: In, part_queue: "queue.Queue[Part | _Failure | End]") -> None:
        try:
            for part in read(source):
                if stop.is_set():
                    return
                part_queue.put(part)
            part_queue.put(END)
        except BaseException as error:
            part_queue.put(_Failure(error))

    source_list = iter(sources)
    pending: deque[tuple[In, queue.Queue[Part | _Failure | End]]] = deque()

    with ThreadPoolExecutor(threads, thread_name_prefix=THREAD_NAME) as pool:

        def begin(count: int) -> None:
            for source in islice(source_list, count):
                part_queue: queue.Queue[Part | _Failure | End] = queue.Queue(DEPTH)
                pending.append((source, part_queue))
                pool.submit(work, source, part_queue)  # started in this order, so the first pending one never starves

        try:
            begin(max_open)
            while pending:
                source, part_queue = pending[0]
                part = part_queue.get()
                if isinstance(part, _Failure | End):
                    pending.popleft()
                    begin(1)
                yield source, part
        finally:
            stop.set()
            for _, part_queue in pending:
                _unblock(part_queue)
            pool.shutdown(wait=True, cancel_futures=True)


def _unblock(part_queue: "queue.Queue[Any]") -> None:
    """Wakes a producer that is blocked on a full queue; it checks `stop` before it adds another part."""
    while True:
        try:
            part_queue.get_nowait()
        except queue.Empty:
            return


def merged(streams: Sequence[Iterable[Item]], stop: Callable[[], None]) -> Generator[Item]:
    """Yields the items of several streams as they arrive; each stream is read in its own thread.

    The first exception in a stream is raised. At the end `stop` is always called, which must end the streams.
    """
    events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def read(stream: Iterable[Item]) -> None:
        try:
            for item in stream:
                events.put(("item", item))
            events.put(("end", None))
        except BaseException as error:
            events.put(("error", error))

    threads = [threading.Thread(target=read, args=(stream,), daemon=True) for stream in streams]
    try:
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            kind, item = events.get()
            if kind == "error":
                raise item
            if kind == "end":
                running -= 1
            else:
                yield item
    finally:
        stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
