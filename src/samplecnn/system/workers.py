"""Worker processes: the one protocol between this program and the Python processes that it starts.

    with Worker("samplecnn.shards.worker:build_shard") as worker:
        for value, data in worker.ask({"name": "train-00001-of-00002.arrow"}):
            ...

Parent side. `Worker` starts `python -m samplecnn.system.workers MODULE:FUNCTION`; `ask` sends an order and yields the
answers as they come. An exception of the function is raised in the parent, and a process that dies raises `WorkerDied`,
which names the cause. A worker prints nothing on the user's terminal. It ends when its parent does: it listens on its
standard input, which the system closes then.

Child side. FUNCTION(order, data, answer) does the work; `answer(value, data)` sends an answer. Orders follow each other
in one process. A program that starts workers needs no `if __name__ == "__main__"`: its own code does not run in them.

A message is a frame: two uint64 (little-endian), the lengths of a JSON text in UTF-8 and of raw bytes, then these two.
"""

import contextlib
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Generator, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from samplecnn import errors
from samplecnn.errors import SampleCNNError
from samplecnn.system.limits import SINGLE_THREADED, Limits, limit

FRAME = struct.Struct("<QQ")
LAST_WORDS_BYTES = 4096  # of a worker's complaints are looked at


class Message(NamedTuple):
    """What a frame holds: a value that JSON can represent, and raw bytes."""

    value: Any
    data: bytes = b""


class WorkerDied(SampleCNNError):
    """A worker process has ended before its order was done.

    Attributes:
        status: its exit status, negative for a signal.
        out_of_time: it was stopped by its limit of wall or processor time.
        last_words: the last line that it wrote to its standard error, or "".
    """

    def __init__(self, status: int, out_of_time: bool, last_words: str) -> None:
        self.status, self.out_of_time, self.last_words = status, out_of_time, last_words
        super().__init__(f"a worker process {self.how}")

    @property
    def how(self) -> str:
        if self.out_of_time:
            return "did not finish in time"
        if self.status < 0:
            try:
                name = signal.Signals(-self.status).name
            except ValueError:
                name = f"signal {-self.status}"
            memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
            return f"was ended by {name}{memory}"
        return f"ended with status {self.status}" + (f" ({self.last_words})" if self.last_words else "")


class Worker:
    """A process that carries out orders, one after the other. Use as a context manager.

    Args:
        target: "module:function" of the child side.
        preload: modules to import before the limits are set.
        limits: see `Limits`.
        environment: variables to set for it.
        inherit: also hand on the file handles that are inheritable: a lock is then held until the worker has ended.

    A worker computes with a single thread. Ctrl-C does not reach it: the parent stops it.
    """

    def __init__(
        self,
        target: str,
        *,
        preload: Sequence[str] = (),
        limits: Limits | None = None,
        environment: dict[str, str] | None = None,
        inherit: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self._out_of_time = False
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        paths = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        single = dict.fromkeys(SINGLE_THREADED, "1")
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, target],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                env={**os.environ, "PYTHONPATH": paths, **single, **(environment or {})},
                close_fds=not inherit,
                start_new_session=True,
            )
        except BaseException:
            self._complaints.close()
            raise
        self._send(Message({"preload": list(preload), "limits": asdict(self.limits)}))

    def ask(self, value: Any, data: bytes = b"") -> Generator[Message]:
        """Sends an order and yields its answers until it is done.

        Raises:
            WorkerDied: the process has ended.
            SampleCNNError, OSError, MemoryError: as the function raised it.
            RuntimeError: anything else that it raised, with its traceback: a bug.
        """
        assert self.process.stdout
        timer = threading.Timer(self.limits.seconds, self._time_is_up) if self.limits.seconds else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            self._send(Message(value, data))
            while True:
                kind, answer = _received(self.process.stdout) or self._dead()
                if kind == "done":
                    return
                if kind == "raised":
                    raise _exception(answer.value)
                yield answer
        finally:
            if timer:
                timer.cancel()

    def kill(self) -> None:
        """Ends the process at once; may be called from any thread. `ask` then raises WorkerDied."""
        self.process.kill()

    def close(self) -> int:
        """Lets the process end, and returns its exit status."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()
        status = self.process.wait()
        self._complaints.close()
        return status

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        self.close()

    def _send(self, message: Message) -> None:
        assert self.process.stdin
        with contextlib.suppress(OSError):  # it has died: reading its answers finds out
            _write(self.process.stdin, message.value, message.data)

    def _time_is_up(self) -> None:
        self._out_of_time = True
        self.process.kill()

    def _dead(self) -> tuple[str, Message]:
        """Raises what is known of a process whose answers have ended."""
        self.process.kill()  # it may live on with its output closed or garbled
        status = self.process.wait()
        out_of_time = self._out_of_time or -status == getattr(signal, "SIGXCPU", None)
        self._complaints.seek(max(self._complaints.seek(0, os.SEEK_END) - LAST_WORDS_BYTES, 0))
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        raise WorkerDied(status, out_of_time, lines[-1].strip() if lines else "")


def _write(file: IO[bytes], value: Any, data: bytes) -> None:
    head = json.dumps(value).encode()
    file.write(FRAME.pack(len(head), memoryview(data).nbytes) + head)
    file.write(data)
    file.flush()


def _read(file: IO[bytes]) -> Message | None:
    """The next frame; None at the end of the stream, and for what is not a frame."""
    try:
        lengths = FRAME.unpack(file.read(FRAME.size))
        head, data = (file.read(length) for length in lengths)
        if (len(head), len(data)) != lengths:
            return None
        return Message(json.loads(head), data)
    except (struct.error, ValueError, OverflowError, MemoryError, RecursionError, OSError):
        return None


def _received(file: IO[bytes]) -> tuple[str, Message] | None:
    """The kind of the next answer and the answer; None as for `_read`."""
    message = _read(file)
    if message is None or not isinstance(message.value, list) or len(message.value) != 2:
        return None
    kind, value = message.value
    return kind, Message(value, message.data)


def _described(error: BaseException) -> dict[str, Any]:
    """An exception as data; `_exception` makes one of it again."""
    filename = getattr(error, "filename", None)
    return {
        "type": type(error).__name__ if isinstance(error, SampleCNNError | MemoryError) else "",
        "text": str(error),
        "system": isinstance(error, OSError),
        "errno": getattr(error, "errno", None),
        "strerror": getattr(error, "strerror", None),
        "filename": filename if isinstance(filename, str) else None,
        "trace": traceback.format_exc(),
    }


def _exception(described: dict[str, Any]) -> Exception:
    if described["type"] == "MemoryError":
        return MemoryError(described["text"])
    if described["type"]:
        return getattr(errors, described["type"], SampleCNNError)(described["text"])
    if described["system"] and described["errno"] is not None:
        return OSError(described["errno"], described["strerror"], described["filename"])
    if described["system"]:
        return OSError(described["text"])
    return RuntimeError(f"a bug in a worker process:\n{described['trace']}")


def main(target: str) -> None:
    """The child side: carries out orders until the parent closes the pipe or ends."""
    answers = os.fdopen(os.dup(1), "wb")
    complaints = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)  # decoders print there; what matters comes as an error
    sys.stderr = complaints

    orders: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def listen() -> None:
        while message := _read(sys.stdin.buffer):
            orders.put(message)
        os._exit(0)  # what is half-written stays aside

    threading.Thread(target=listen, daemon=True).start()
    setup = orders.get().value
    module, _, name = target.partition(":")
    try:
        function = getattr(import_module(module), name)
        for needed in setup["preload"]:
            import_module(needed)
    except Exception:
        traceback.print_exc()
        complaints.flush()
        os._exit(1)  # a normal exit would wait for the thread that listens
    limit(setup["limits"]["memory"], setup["limits"]["cpu_seconds"])
    while True:
        order = orders.get()
        try:
            function(order.value, order.data, lambda value, data=b"": _write(answers, ["answer", value], data))
            _write(answers, ["done", None], b"")
        except Exception as error:
            with contextlib.suppress(OSError):  # the parent has ended
                _write(answers, ["raised", _described(error)], b"")


if __name__ == "__main__":
    # Imported under its own name: a module that runs as a program exists twice, and so would its classes.
    from samplecnn.system import workers

    workers.main(sys.argv[1])
