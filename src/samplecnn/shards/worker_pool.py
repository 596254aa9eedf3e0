"""The worker processes, seen from the parent: orders out, progress in, and a new process where one has died."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from samplecnn.errors import SampleCNNError
from samplecnn.shards.plan import Shard
from samplecnn.task import Task

CRASHES_ALLOWED = 2  # at one clip; then the clip is to blame, not the machine
DEATHS_ALLOWED = 3  # in a row, without a clip done


@dataclass
class Advance:
    """Clips done (negative: to be done again) and skipped since the last one."""

    done: int
    skipped: int


@dataclass
class Pool:
    """Builds shards in `workers` processes.

    A process that dies (killed, out of memory, a crash inside a decoder) is replaced and its shard begun anew; a clip
    at which two have died is skipped. All end when `run` ends or this process dies.
    """

    folder: Path
    task: Task
    format: str
    measured: bool
    workers: int
    _events: "queue.Queue[Advance | BaseException | None]" = field(default_factory=queue.Queue)
    _processes: set[subprocess.Popen] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def run(self, shards: Sequence[Shard]) -> Generator[Advance]:
        """Yields progress until all are built. Raises SampleCNNError where a shard cannot be written."""
        pending = deque(shards)
        threads = [
            threading.Thread(target=self._serve, args=(pending,), daemon=True)
            for _ in range(max(1, min(self.workers, len(shards))))
        ]
        try:
            for thread in threads:
                thread.start()
            serving = len(threads)
            while serving:
                event = self._events.get()
                if isinstance(event, BaseException):
                    raise event
                if event is None:
                    serving -= 1
                else:
                    yield event
        finally:
            with self._lock:
                self._closed = True
                for process in self._processes:
                    process.kill()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()

    def _serve(self, pending: deque[Shard]) -> None:
        """One thread for one process: takes shards until none is left."""
        process: subprocess.Popen | None = None
        try:
            while not self._closed:
                try:
                    shard = pending.popleft()
                except IndexError:
                    break
                crashes: dict[int, int] = {}
                deaths = 0
                while not self._closed:
                    process = process or self._start()
                    reached = self._build(process, shard, [at for at, n in crashes.items() if n >= CRASHES_ALLOWED])
                    if reached is None:
                        break
                    code = self._end(process)
                    process = None
                    crashes[reached] = crashes.get(reached, 0) + 1
                    deaths = deaths + 1 if reached in (0, len(shard.clips)) else 0
                    if deaths > DEATHS_ALLOWED and not self._closed:
                        raise SampleCNNError(
                            f"{self.folder}: the processes that decode keep dying (status {code}); free some memory, "
                            "use fewer --workers and run the same command again"
                        )
        except BaseException as error:
            self._events.put(error)
        finally:
            if process is not None:
                self._end(process)
            self._events.put(None)

    def _start(self) -> subprocess.Popen:
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path))
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = "1"  # the processes share the cores among themselves
        with self._lock:
            if self._closed:
                raise SampleCNNError("the build was stopped")
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "samplecnn.shards.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends them
            )
            self._processes.add(process)
        setup = {"folder": str(self.folder.resolve()), "task": self.task.to_dict(), "format": self.format}
        _send(process, setup)
        return process

    def _end(self, process: subprocess.Popen) -> int:
        """Closes its orders, upon which it ends; returns its exit status."""
        assert process.stdin and process.stdout
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        code = process.wait()
        with self._lock:
            self._processes.discard(process)
        return code

    def _build(self, process: subprocess.Popen, shard: Shard, crashers: list[int]) -> int | None:
        """Has a process build a shard. Returns None when it is whole, or the clip it was at when it died."""
        assert process.stdout
        order = {
            "name": shard.name,
            "split": shard.split,
            "measured": self.measured and shard.split == "train",
            "crashers": crashers,
            "clips": [[clip.id, str(clip.path), list(clip.labels)] for clip in shard.clips],
        }
        _send(process, order)
        done = skipped = 0
        for line in process.stdout:
            word, _, rest = line.partition(" ")
            if word == "done\n":
                return None
            if word == "error":
                told = json.loads(rest)
                if told["errno"] is None:
                    raise RuntimeError(f"a bug while building {shard}:\n{told['trace']}")
                raise SampleCNNError(
                    f"{self.folder}: cannot write there ({told['said']}); free some space or mend it, "
                    "and run the same command again: it goes on where it stopped"
                )
            done += 1
            skipped += int(rest)
            self._events.put(Advance(1, int(rest)))
        self._events.put(Advance(-done, -skipped))
        return done


def _send(process: subprocess.Popen, order: object) -> None:
    assert process.stdin
    with contextlib.suppress(OSError):  # it has died: reading its answers will tell
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
