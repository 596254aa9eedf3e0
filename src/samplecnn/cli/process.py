"""Runs a command as a process: encoding-safe streams, signals, one-line errors, exit codes."""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from samplecnn.errors import OptionError, SampleCNNError, noted_remedy
from samplecnn.extras import from_import_error
from samplecnn.system.limits import memory_problem, spare_address_space
from samplecnn.system.log import printable

PROGRAM = "samplecnn"
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # exit codes, as shells report signals

AGAIN = "run the same command again"  # unless `errors.add_remedy` has noted another remedy
# Remedies for errors of the operating system; by default the path should be checked.
REMEDIES = {
    errno.ENOSPC: f"free some space and {AGAIN}",
    errno.EDQUOT: f"free some space and {AGAIN}",
    errno.EACCES: f"check the permissions and {AGAIN}",
    errno.EPERM: f"check the permissions and {AGAIN}",
    errno.EROFS: "choose a folder that can be written to",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ENOMEM: "close other programs, or use smaller batches",
}


def run(command: Callable[[], Any]) -> None:
    """Runs a command and ends the process; expected errors are printed as one line on stderr.

    Exit codes: 0 done, 1 some work failed, 2 usage, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
    """
    # By default PyTorch's idle threads spin, on cores that decoding and the compiled passes need: a training step took
    # a sixth longer. OpenMP reads this once, when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Those of OpenBLAS spin for 2^26 clock cycles when NumPy is imported: a fifth of its time.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")
    spare_address_space()
    prepare_streams()
    with terminate_as_interrupt() as terminated:
        try:
            command()
        except KeyboardInterrupt:
            end_interrupted(terminated())
        except SystemExit as error:
            if error.code == INTERRUPTED:  # typer's translation of a KeyboardInterrupt
                end_interrupted(terminated())
            raise
        except OptionError as error:
            fail(f"error: {error.on_command_line}", error.exit_code)
        except SampleCNNError as error:
            fail(f"error: {error}", error.exit_code)
        except (MemoryError, ImportError, RuntimeError) as error:
            problem = memory_problem(error)
            if problem:
                fail(f"error: {problem}", 1)
            if isinstance(error, RecursionError):
                fail("error: folders are nested too deeply; move them to a shorter path", 1)
            if isinstance(error, ModuleNotFoundError):  # an extra that was not checked before
                fail(f"error: {from_import_error(PROGRAM, error)}", 2)
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of stdout has closed it (`| head`)
                sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - discards buffered output
                sys.exit(0)
            fail(f"error: {os_error_message(error)}", 1)


def os_error_message(error: OSError) -> str:
    """An error of the operating system in one line: path, reason and remedy."""
    where = os.fsdecode(error.filename) + ": " if isinstance(error.filename, str | bytes | os.PathLike) else ""
    what = error.strerror or str(error) or type(error).__name__
    remedy = REMEDIES.get(error.errno or 0, f"check the path and {AGAIN}")
    return f"{where}{what}; {remedy.replace(AGAIN, noted_remedy(error) or AGAIN)}"


def end_interrupted(terminated: bool) -> NoReturn:
    fail("terminated" if terminated else "interrupted", TERMINATED if terminated else INTERRUPTED)


def fail(message: str, code: int) -> NoReturn:
    from samplecnn.processes import reports_failure

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):  # the process ends already, with this message alone
            signal.signal(number, signal.SIG_IGN)
    if reports_failure():
        print(printable(message), file=sys.stderr, flush=True)
    sys.exit(code)


def prepare_streams() -> None:
    """Lets stdout and stderr accept any text: characters missing in the encoding are escaped; closed streams discard
    it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - stays open
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[Callable[[], bool]]:
    """Handles SIGTERM like Ctrl-C for as long as the block, so that work is saved and resumable.

    Yields:
        A function: whether it was received.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        current = signal.getsignal(signal.SIGINT)
        if callable(current):
            current(signal.SIGINT, frame)
        else:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only the main thread can set signal handlers
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)  # None: not set from Python
