"""Results that are whole or absent: written next to their place, then renamed into it.

This is also the one place that decides where output goes: links are followed, what is not a regular file (a FIFO, a
device, "-" for the standard output) is written into and never replaced, and an output that is an input is refused.
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
from pathlib import Path
from typing import Any

from samplecnn.errors import UsageError
from samplecnn.system.locks import is_free, kept_locked
from samplecnn.system.log import json_text, printable

STDOUT = "-"
SYSTEM_FOLDERS, MEMORY_FOLDER = ("/dev/", "/proc/"), "/dev/shm/"  # the last holds files like any other
PART = ".part"  # ends the name of a file that is not whole yet
STALE_SECONDS = 3600.0
# Errors of writing, which some libraries raise without the name of the file.
WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def is_regular(output: str | Path) -> bool:
    """Whether an output is, or will be, a regular file, which can be replaced as a whole."""
    if str(output) == STDOUT:
        return False
    path = Path(output)
    name = os.path.abspath(path)  # noqa: PTH100 - links stay: /dev/stdout may lead to a file
    if name.startswith(SYSTEM_FOLDERS) and not name.startswith(MEMORY_FOLDER):
        return False
    return path.is_file() or path.is_dir() or not path.exists()


def target_of(output: str | Path) -> Path:
    """The file that an output names, links followed.

    Raises:
        UsageError: it is a folder.
    """
    path = Path(output)
    if path.is_dir():
        raise UsageError(f"{output} is a folder; name a file in it")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def refuse_inputs(output: str | Path, inputs: Iterable[str | Path], suffixes: Iterable[str] = ()) -> None:
    """Keeps an output from overwriting what is read.

    Args:
        inputs: files that are read.
        suffixes: in lower case; an existing file with one of them is an input too.

    Raises:
        UsageError: the output is one of them, under this name or another.
    """
    path = Path(output)
    if not path.is_file():
        return
    if path.suffix.lower() in suffixes:
        raise UsageError(f"{output}: would overwrite a recording; name another file for the output")
    status = path.stat()
    for other in inputs:
        with suppress(OSError, ValueError):
            if os.path.samestat(os.stat(other), status):  # noqa: PTH116 - for 100,000 files a Path each takes its time
                raise UsageError(f"{output}: is one of the inputs ({other}); name another file for the output")


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path to write to; what is there becomes `path` when the block ends well, else it is removed.

    Write from Python, or with pyarrow: other libraries in C report a full disk by errors of their own, or crash. They
    serialise to memory, and `write_bytes` writes the result.

    Raises:
        UsageError: `path` is a folder.
        OSError: of the system; it names `path`, not the temporary file.
    """
    with naming(path), _aside(path) as aside:
        yield aside


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Gives an error of writing, such as a full disk, the name of the file that a user knows: `path`."""
    try:
        yield
    except OSError as error:
        known = None if error.filename is None else os.fsdecode(error.filename)
        if error.errno in WRITE_ERRORS and (known is None or known.endswith(PART)):
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
            mode = stat.S_IMODE(aside.stat().st_mode)  # by the umask; some libraries make files private
            yield aside
            with aside.open("rb") as file:
                os.fsync(file.fileno())  # else a power cut can leave the new name on an empty file
            aside.chmod(mode)
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def sweep(folder: Path, name: str | None = None) -> None:
    """Removes what killed processes have left half-written in a folder.

    Whoever writes a part holds its lock, which ends with the process. Where there are no locks, a part counts as left
    behind once it has not been written to for an hour.

    Args:
        name: of the output whose parts are meant; None means all.
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
