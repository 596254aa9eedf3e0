"""Atomic file writes: files are written next to their destination and renamed.

The rules for all outputs are also here: links are followed; FIFOs, devices and "-" (stdout) are written to and never
replaced; an output that is an input is refused.
"""

import errno
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from samplecnn.errors import UsageError
from samplecnn.system.locks import is_free, kept_locked
from samplecnn.system.log import json_text, printable

STDOUT = "-"
SYSTEM_FOLDERS, MEMORY_FOLDER = ("/dev/", "/proc/"), "/dev/shm/"  # the last contains regular files
PART = ".part"  # suffix of files that are not complete yet
STALE_SECONDS = 3600.0
SYNC_FILE_RANGE_WRITE = 2  # Linux's fcntl.h
# Write errors, which some libraries raise without the file name.
WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def is_regular(output: str | Path) -> bool:
    """Whether an output is, or will be, a regular file, which can be replaced atomically."""
    if str(output) == STDOUT:
        return False
    path = Path(output)
    name = os.path.abspath(path)  # noqa: PTH100 - does not resolve links: /dev/stdout may link to a file
    if name.startswith(SYSTEM_FOLDERS) and not name.startswith(MEMORY_FOLDER):
        return False
    return path.is_file() or path.is_dir() or not path.exists()


def target_of(output: str | Path) -> Path:
    """The file of an output, with links resolved.

    Raises:
        UsageError: it is a folder.
    """
    path = Path(output)
    if path.is_dir():
        raise UsageError(f"{output} is a folder; use a file in it")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def refuse_inputs(output: str | Path, inputs: Iterable[str | Path], suffixes: Iterable[str] = ()) -> None:
    """Keeps an output from overwriting an input.

    Args:
        inputs: files that are read.
        suffixes: lower-case suffixes; existing files with them also count as inputs.

    Raises:
        UsageError: the output is an input, under this name or another.
    """
    path = Path(output)
    if not path.is_file():
        return
    if path.suffix.lower() in suffixes:
        raise UsageError(f"{output}: would overwrite a recording; use another file for the output")
    status = path.stat()
    for other in inputs:
        with suppress(OSError, ValueError):
            if os.path.samestat(os.stat(other), status):  # noqa: PTH116 - a Path for each of 100,000 files is slow
                raise UsageError(f"{output}: is one of the inputs ({other}); use another file for the output")


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path to write to, which is renamed to `path` if the block succeeds, else removed.

    Write from Python, or with pyarrow: other C libraries raise their own errors on a full disk, or crash. With those,
    serialise to memory and use `write_bytes`.

    Raises:
        UsageError: `path` is a folder.
        OSError: an error of the system, with `path` instead of the temporary file.
    """
    with naming(path), _aside(path) as aside:
        yield aside


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Sets the file name of write errors, such as a full disk, to `path`, which the user knows."""
    try:
        yield
    except OSError as error:
        known = None if error.filename is None else os.fsdecode(error.filename)
        if error.errno in WRITE_ERRORS and (known is None or known.endswith((PART, f"{PART}.json"))):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


@contextmanager
def _aside(path: str | Path) -> Iterator[Path]:
    if not is_regular(path):
        with tempfile.TemporaryDirectory() as folder:
            aside = Path(folder) / (Path(path).name if str(path) != STDOUT else "output")
            yield aside
            with aside.open("rb") as file:
                if str(path) == STDOUT:
                    sys.stdout.flush()
                    if sys.stdout.isatty():
                        sys.stdout.write(printable(file.read().decode(errors="backslashreplace")))
                    else:
                        shutil.copyfileobj(file, sys.stdout.buffer)
                    sys.stdout.flush()
                else:
                    with Path(path).open("wb") as stream:
                        shutil.copyfileobj(file, stream)
        return
    path = target_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    sweep(path.parent, path.name)
    try:
        with kept_locked(aside):
            mode = stat.S_IMODE(aside.stat().st_mode)  # set by the umask; some libraries make files private
            yield aside
            with aside.open("rb") as file:
                os.fsync(file.fileno())  # else a power failure can leave an empty file
            aside.chmod(mode)
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_early(descriptor: int) -> bool:
    """Starts to write what of an open file is only in memory to the disk, and does not wait for it.

    For a file that grows while something else is computed, so that the fsync at its end, which also reports errors,
    has little left to wait for.

    Returns:
        whether the system has accepted it; false except on Linux.
    """
    start = _sync_file_range()
    return start is not None and start(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE) == 0


@cache
def _sync_file_range() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function


def sweep(folder: Path, name: str | None = None) -> None:
    """Removes partial files that killed processes have left in a folder.

    The writer of a part holds its lock, which ends with the process. Without locks, a part is considered abandoned
    after an hour without writes.

    Args:
        name: name of the output whose parts are removed; None: all parts.
    """
    pattern = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.\d+\.part", re.DOTALL)
    with os.scandir(folder) as listing:
        parts = [Path(entry.path) for entry in listing if entry.name[0] == "." and pattern.fullmatch(entry.name)]
    for part in parts:
        with suppress(OSError):
            free = is_free(part)
            if free or (free is None and time.time() - part.stat().st_mtime > STALE_SECONDS):
                part.unlink()


def write_bytes(path: str | Path, data: "bytes | memoryview") -> None:
    with written_aside(path) as aside:
        aside.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, json_text(value, indent=2) + "\n")
