"""Reading ahead: recordings are decoded in threads while the model works, in order and within bounds."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from samplecnn.errors import AudioError

In = TypeVar("In")
Part = TypeVar("Part")
Item = TypeVar("Item")

DEPTH = 2  # parts that wait of every source


class End:
    """A source is at its end."""


END = End()


def read_ahead(
    sources: Iterable[In], read: Callable[[In], Iterator[Part]], threads: int
) -> Iterator[tuple[In, Part | AudioError | End]]:
    """The parts of every source, source by source in order, each followed by END or by the error that stopped it.

    At most 2 * `threads` sources are open or read at a time, with `DEPTH` parts of each in memory, however many sources
    there are and however long they are. An iterator that is closed early stops its threads.
    """
    stop = threading.Event()

    def put(line: "queue.Queue[Part | AudioError | End]", part: Part | AudioError | End) -> bool:
        while not stop.is_set():
            try:
                line.put(part, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work(source: In, line: "queue.Queue[Part | AudioError | End]") -> None:
        try:
            for part in read(source):
                if not put(line, part):
                    return
            put(line, END)
        except AudioError as error:
            put(line, error)
        except Exception as error:  # one file must not stop ten thousand, whatever a codec may come up with
            put(line, AudioError(f"{source}: cannot be read ({type(error).__name__}: {error}); leave it out"))

    source_list = iter(sources)
    waiting: deque[tuple[In, queue.Queue[Part | AudioError | End]]] = deque()

    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:

        def begin(count: int) -> None:
            for source in islice(source_list, count):
                line: queue.Queue[Part | AudioError | End] = queue.Queue(DEPTH)
                waiting.append((source, line))
                pool.submit(work, source, line)  # first come, first served: the head of the line is never left waiting

        try:
            begin(2 * threads)
            while waiting:
                source, line = waiting[0]
                part = line.get()
                if isinstance(part, AudioError | End):
                    waiting.popleft()
                    begin(1)
                yield source, part
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


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
