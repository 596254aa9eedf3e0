"""Locks on files and folders, which are released when the process that holds them ends for any reason."""

import contextlib
import os
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from samplecnn.errors import UsageError

CHECK_SECONDS = 0.1  # polling interval while waiting for a lock
CAN_LOCK = find_spec("fcntl") is not None


@contextlib.contextmanager
def locked(path: str | Path, busy: str, *, wait: float = 0.0, inheritable: bool = False) -> Iterator[int]:
    """Holds the lock on `path`; yields the open file's descriptor.

    Args:
        path: a folder, or a file, which is created if necessary. The lock belongs to the file and not to its name: a
            locked file may be renamed.
        busy: the error message if another process holds the lock.
        wait: seconds to wait for the lock first.
        inheritable: whether a `Worker` that inherits handles also holds the lock, until it ends.

    Without support by the system or the file system, nothing is locked.

    Raises:
        UsageError: another process holds the lock.
    """
    path = Path(path)
    deadline = time.monotonic() + wait
    while True:
        descriptor = os.open(path, os.O_RDONLY) if path.is_dir() else os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(descriptor):
                if time.monotonic() >= deadline:
                    raise UsageError(busy)
                time.sleep(CHECK_SECONDS)
            elif _is_at(descriptor, path):  # otherwise its holder has renamed it since it was opened
                os.set_inheritable(descriptor, inheritable)
                yield descriptor
                return
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def kept_locked(path: Path) -> Iterator[None]:
    """Creates a file and holds its lock while it is written, so that `is_free` can distinguish it from a leftover."""
    if not CAN_LOCK:  # Windows, which also cannot rename open files
        path.touch()
        yield
        return
    with locked(path, f"{path}: another process is writing it; run the same command again", wait=10.0):
        yield


def is_free(path: Path) -> bool | None:
    """Whether no process holds the lock of an existing file; None without support for locks."""
    if not CAN_LOCK:
        return None
    import fcntl

    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(descriptor)
    return True


def _lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
