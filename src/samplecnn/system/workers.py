"""Worker processes, and their protocol.

    with Worker("samplecnn.shards.worker:build_shard") as worker:
        for value, data in worker.ask({"name": "train-00001-of-00002.arrow"}):
            ...

Parent side. `Worker` starts `python -m samplecnn.system.workers MODULE:FUNCTION`; `ask` sends an order and yields the
answers as they arrive. An exception of the function is raised in the parent, and a process that dies raises
`WorkerDied` with the cause. A worker prints nothing on the user's terminal. It ends with its parent, because the system
then closes its standard input.

Child side. FUNCTION(order, data, answer) does the work; `answer(value, data)` sends an answer. Orders are processed
sequentially. A program that starts workers needs no `if __name__ == "__main__"`, since its own code does not run in
them.

Messages are frames, see `frames`.
"""

import contextlib
import os
import queue
import signal
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
from typing import Any

from samplecnn.errors import SampleCNNError
from samplecnn.system.frames import Message, exception, read, received, to_data, write
from samplecnn.system.limits import SINGLE_THREADED, Limits, limit

CANCEL = "cancel"  # key of a message that ends the order with this number
LAST_WORDS_BYTES = 4096  # bytes at the end of a worker's stderr that are read


class WorkerDied(SampleCNNError):
    """A worker process has died before its order was done.

    Attributes:
        status: exit status, negative for a signal.
        out_of_time: whether it exceeded its limit of wall or processor time.
        last_words: the last line of its stderr, or "".
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
    """A process that executes orders sequentially. Use as a context manager.

    Args:
        target: "module:function" of the child side.
        preload: modules to import before the limits are set.
        limits: see `Limits`.
        environment: environment variables to set.
        inherit: also passes on inheritable file handles; a lock is then held until the worker has ended.

    A worker computes with a single thread. It does not receive Ctrl-C; the parent stops it.
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
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._orders = 0
        self.busy = False  # whether an order is being processed
        paths = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        single = dict.fromkeys(SINGLE_THREADED, "1")
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, target],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**os.environ, "PYTHONPATH": paths, **single, **(environment or {})},
                close_fds=not inherit,
                start_new_session=True,
            )
        except BaseException:
            self._stderr.close()
            raise
        self._send(Message({"preload": list(preload), "limits": asdict(self.limits)}))

    def ask(self, value: Any, data: bytes = b"") -> Generator[Message]:
        """Sends an order and yields its answers until it is done.

        Raises:
            WorkerDied: the process has ended.
            SampleCNNError, OSError, MemoryError: raised by the function.
            RuntimeError: any other exception of the function, with its traceback: a bug.
        """
        with self._within(self.limits.seconds):
            self._orders += 1
            self.busy = True
            self._send(Message(value, data))
            while True:
                kind, answer = self._next()
                if kind == "done":
                    return
                if kind == "raised":
                    raise exception(answer.value)
                yield answer

    def skip_rest(self) -> None:
        """Ends the current order early and discards its answers, so that the worker can take another order.

        Raises:
            WorkerDied: the process has ended.
        """
        self._send(Message({CANCEL: self._orders}))
        while self.busy:
            self._next()

    def _next(self) -> tuple[str, Message]:
        """The next answer and its kind."""
        assert self.process.stdout
        with self._within(self.limits.waiting):
            kind, answer = received(self.process.stdout) or self._dead()
        self.busy = kind == "answer"
        return kind, answer

    @contextlib.contextmanager
    def _within(self, seconds: float | None) -> Generator[None]:
        """Kills the process if the block takes longer."""
        if seconds is None:
            yield
            return
        timer = threading.Timer(seconds, self._time_is_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def kill(self) -> None:
        """Kills the process; may be called from any thread. `ask` then raises WorkerDied."""
        self.process.kill()

    def close(self) -> int:
        """Lets the process end, and returns its exit status."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()
        status = self.process.wait()
        self._stderr.close()
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
        with contextlib.suppress(OSError):  # it has died, which is noticed when its answers are read
            write(self.process.stdin, message.value, message.data)

    def _time_is_up(self) -> None:
        self._out_of_time = True
        self.process.kill()

    def _dead(self) -> tuple[str, Message]:
        """Raises WorkerDied for a process whose answers have ended."""
        self.process.kill()  # it may still run, with its output closed or corrupt
        status = self.process.wait()
        out_of_time = self._out_of_time or -status == getattr(signal, "SIGXCPU", None)
        self._stderr.seek(max(self._stderr.seek(0, os.SEEK_END) - LAST_WORDS_BYTES, 0))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        raise WorkerDied(status, out_of_time, lines[-1].strip() if lines else "")


def enter(folder: str) -> None:
    """Makes relative paths those of the parent, which may run on another machine.

    Raises:
        SampleCNNError: there is no such folder here.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise SampleCNNError(
            f"{folder}: not on the worker's machine ({error.strerror}); start the command in a folder that all "
            "machines share, with recordings there or in object storage (s3://...)"
        ) from error


class _Cancelled(BaseException):
    """Ends an order early. Not an Exception, so that no function handles it as a failure."""


def main(target: str) -> None:
    """The child side: executes orders until the parent closes the pipe or ends."""
    answers = os.fdopen(os.dup(1), "wb")
    stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)  # discards what decoders print; errors are sent as exceptions
    sys.stderr = stderr

    orders: queue.SimpleQueue[Message] = queue.SimpleQueue()

    cancelled = 0  # the number of the last order that is to end early

    def listen() -> None:
        nonlocal cancelled
        while message := read(sys.stdin.buffer):
            if isinstance(message.value, dict) and CANCEL in message.value:
                cancelled = message.value[CANCEL]
            else:
                orders.put(message)
        os._exit(0)  # partial files keep their temporary names

    threading.Thread(target=listen, daemon=True).start()
    setup = orders.get().value
    module, _, name = target.partition(":")
    try:
        function = getattr(import_module(module), name)
        for needed in setup["preload"]:
            import_module(needed)
    except Exception:
        traceback.print_exc()
        stderr.flush()
        os._exit(1)  # a normal exit would wait for the listening thread
    limit(setup["limits"]["memory"], setup["limits"]["cpu_seconds"])
    number = 0

    def answer(value: Any, data: bytes = b"") -> None:
        if cancelled == number:
            raise _Cancelled
        write(answers, ["answer", value], data)

    while True:
        order = orders.get()
        number += 1
        try:
            with contextlib.suppress(_Cancelled):
                function(order.value, order.data, answer)
            write(answers, ["done", None], b"")
        except Exception as error:
            with contextlib.suppress(OSError):  # the parent has ended
                write(answers, ["raised", to_data(error)], b"")


if __name__ == "__main__":
    # Imported by its name, since a module that runs as a program has a second copy of its classes.
    from samplecnn.system import workers

    workers.main(sys.argv[1])
