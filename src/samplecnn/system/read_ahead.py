"""Work in threads: ahead of its use in order and bounded (`read_ahead`, `map_ahead`), or as it completes (`merged`)."""

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

DEPTH = 2  # parts that wait of every source
THREAD_NAME = "read-ahead"


class End:
    """A source is at its end."""


END = End()


class _Failure(NamedTuple):
    error: BaseException


def read_ahead(
    sources: Iterable[In], read: Callable[[In], Iterator[Part]], threads: int
) -> Generator[tuple[In, Part | AudioError | End]]:
    """The parts of every source, source by source in order, each followed by END or by the error that stopped it.

    At most 2 * `threads` sources are open or read at a time, with `DEPTH` parts of each in memory, however many sources
    there are and however long they are. An iterator that is closed early stops its threads.
    """
    with closing(_ahead(sources, read, threads, 2 * threads)) as parts:
        for source, part in parts:
            if not isinstance(part, _Failure):
                yield source, part
            elif isinstance(part.error, AudioError):
                yield source, part.error
            elif isinstance(part.error, Exception):  # one file must not stop ten thousand, whatever a codec raises
                reason = f"{type(part.error).__name__}: {part.error}"
                yield source, AudioError(f"{source}: cannot be read ({reason}); leave it out")
            else:
                raise part.error


def map_ahead(work: Callable[[In], Out], items: Iterable[In], threads: int) -> Generator[Out]:
    """`map(work, items)` in order, with up to `threads` + 1 results made ahead of their use.

    An iterator that is closed early stops the work that has not begun.

    Example:
        >>> list(map_ahead(len, ["a", "bc", ""], threads=2))
        [1, 2, 0]
    """
    # One item more than that, since the item in use counts until the next one is asked for.
    with closing(_ahead(items, lambda item: iter((work(item),)), threads, threads + 2)) as parts:
        for _, part in parts:
            if isinstance(part, _Failure):
                raise part.error
            if not isinstance(part, End):
                yield part


def _ahead(
    sources: Iterable[In], read: Callable[[In], Iterator[Part]], threads: int, most: int
) -> Generator[tuple[In, Part | _Failure | End]]:
    """The parts of every source in order, each followed by END or what was raised; `most` sources are open at once."""
    stop = threading.Event()

    def work(source: In, line: "queue.Queue[Part | _Failure | End]") -> None:
        try:
            for part in read(source):
                if stop.is_set():
                    return
                line.put(part)
            line.put(END)
        except BaseException as error:
            line.put(_Failure(error))

    source_list = iter(sources)
    waiting: deque[tuple[In, queue.Queue[Part | _Failure | End]]] = deque()

    with ThreadPoolExecutor(threads, thread_name_prefix=THREAD_NAME) as pool:

        def begin(count: int) -> None:
            for source in islice(source_list, count):
                line: queue.Queue[Part | _Failure | End] = queue.Queue(DEPTH)
                waiting.append((source, line))
                pool.submit(work, source, line)  # first come, first served: the head of the line never starves

        try:
            begin(most)
            while waiting:
                source, line = waiting[0]
                part = line.get()
                if isinstance(part, _Failure | End):
                    waiting.popleft()
                    begin(1)
                yield source, part
        finally:
            stop.set()
            for _, line in waiting:
                _make_room(line)
            pool.shutdown(wait=True, cancel_futures=True)


def _make_room(line: "queue.Queue[Any]") -> None:
    """Lets a thread that waits to add a part go on: it looks at `stop` before it adds another."""
    while True:
        try:
            line.get_nowait()
        except queue.Empty:
            return


def merged(streams: Sequence[Iterable[Item]], stop: Callable[[], None]) -> Generator[Item]:
    """The items of several streams as they come, each stream read in its own thread.

    The first exception in a stream is raised. However this ends, `stop` is called, which must make the streams end.
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
