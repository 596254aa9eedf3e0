"""Builds shards in parallel worker processes; a process that dies is replaced."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path

from samplecnn.errors import SampleCNNError
from samplecnn.shards.plan import Shard
from samplecnn.system.files import written_aside
from samplecnn.system.frames import Message
from samplecnn.system.ordered_pool import AnyWorker
from samplecnn.system.read_ahead import merged
from samplecnn.system.workers import Worker, WorkerDied
from samplecnn.task import Task

TARGET = "samplecnn.shards.worker:build_shard"
SENDING = "samplecnn.shards.worker:send_shard"  # of workers that may run on other machines
CRASHES_ALLOWED = 2  # per clip; then it is the clip's fault, not the machine's
DEATHS_ALLOWED = 3  # consecutive deaths without a finished clip


@dataclass
class Advance:
    """Clips done and skipped since the last event; negative if they must be done again."""

    done: int
    skipped: int


@dataclass
class Pool:
    """Builds shards in `workers` processes, of this machine or of others.

    Others send the shards here, where they are written, so that the folder need not be shared.

    A process that dies (killed, out of memory, a crash in a decoder) is replaced and its shard is restarted; a clip
    that two processes have died at is skipped. All processes end when `run` ends or this process dies.
    """

    folder: Path
    task: Task
    format: str
    measured: bool
    workers: int
    accept_truncated: bool = False
    columns: tuple[str, ...] = ()
    start: Callable[[str], AnyWorker] = Worker
    _running: set[AnyWorker] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def run(self, shards: Sequence[Shard]) -> Generator[Advance]:
        """Yields progress until all shards are built. Raises SampleCNNError if a shard cannot be written."""
        pending = deque(shards)
        count = max(1, min(self.workers, len(shards)))
        yield from merged([self._serve(pending) for _ in range(count)], self._stop)

    def _stop(self) -> None:
        with self._lock:
            self._closed = True
            for worker in self._running:
                worker.kill()

    def _serve(self, pending: deque[Shard]) -> Generator[Advance]:
        """Builds pending shards with one worker at a time."""
        worker: AnyWorker | None = None
        try:
            while not self._closed:
                try:
                    shard = pending.popleft()
                except IndexError:
                    break
                crashes: dict[int, int] = {}
                deaths = 0
                while not self._closed:
                    worker = worker or self._start()
                    done = skipped = 0
                    try:
                        for advance in self._build(worker, shard, crashes):
                            done, skipped = done + advance.done, skipped + advance.skipped
                            yield advance
                        break
                    except WorkerDied as death:
                        self._end(worker)
                        worker = None
                        yield Advance(-done, -skipped)
                        crashes[done] = crashes.get(done, 0) + 1
                        deaths = deaths + 1 if done in (0, len(shard.clips)) else 0
                        if deaths > DEATHS_ALLOWED and not self._closed:
                            raise SampleCNNError(
                                f"{self.folder}: decoding processes keep dying (the last one {death.how}); free "
                                "some memory, use fewer --workers and run the same command again"
                            ) from death
        finally:
            if worker is not None:
                self._end(worker)

    def _start(self) -> AnyWorker:
        with self._lock:
            if self._closed:
                raise SampleCNNError("the build was stopped")
            worker = self.start(TARGET if self.start is Worker else SENDING)
            self._running.add(worker)
        return worker

    def _end(self, worker: AnyWorker) -> None:
        worker.close()
        with self._lock:
            self._running.discard(worker)

    def _build(self, worker: AnyWorker, shard: Shard, crashes: dict[int, int]) -> Generator[Advance]:
        """Builds a shard in a worker; `crashes` counts the processes that died at each of its clips."""
        order = {
            "folder": str(self.folder.resolve()),
            "started_in": str(Path.cwd()),
            "task": self.task.to_dict(),
            "format": self.format,
            "name": shard.name,
            "split": shard.split,
            "measured": self.measured and shard.split == "train",
            "accept_truncated": self.accept_truncated,
            "crashers": [at for at, count in crashes.items() if count >= CRASHES_ALLOWED],
            "columns": list(self.columns),
            "clips": [
                [
                    clip.id,
                    str(clip.path),
                    [clip.start, clip.end],
                    list(clip.labels),
                    {name: getattr(clip, name) for name in self.columns},
                ]
                for clip in shard.clips
            ],
        }
        try:
            answers = worker.ask(order)
            for skipped, _ in islice(answers, len(shard.clips)):
                yield Advance(1, skipped)
            self._receive(answers)
        except OSError as error:
            raise SampleCNNError(
                f"{self.folder}: cannot write there ({error.strerror or error}); free some space or check the disk, "
                "and run the same command again, which continues the build"
            ) from error
        except MemoryError as error:
            raise SampleCNNError(
                f"{self.folder}: not enough memory for {shard.name}; use fewer --workers and run the same command again"
            ) from error

    def _receive(self, answers: Iterator[Message]) -> None:
        """Writes the files that a worker elsewhere sends, in pieces: the shard, and then its counts, which mark it as
        complete. A worker of this machine has written them.
        """
        for name, pieces in groupby(answers, key=lambda message: message.value):
            with written_aside(self.folder / Path(name).name) as aside, aside.open("wb") as file:
                for _, data in pieces:
                    file.write(data)
