"""Files in object storage, read in place: s3://BUCKET/KEY, gs://BUCKET/KEY, by pyarrow's file systems.

Names travel through the program as text or as `Path`, which makes "s3:/BUCKET/KEY" of them; both are understood here.
Credentials, region and endpoint come from the environment and the files of the providers' own tools: for S3
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_PROFILE, and AWS_ENDPOINT_URL for servers that are compatible
with it. Nothing here imports pyarrow before a function that needs it is called.
"""

import io
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from samplecnn.errors import SampleCNNError

_REMOTE = re.compile(r"(s3|gs):/+(?=[^/])")
CONNECT_SECONDS, REQUEST_SECONDS = 10, 60
READ_BYTES = 1 << 20  # read ahead of a decoder

AnyPath = str | os.PathLike[str]


class Status(NamedTuple):
    """As much of `os.stat_result` as is used."""

    st_size: int
    st_mtime_ns: int
    st_ino: int = 0
    st_dev: int = 0


def is_remote(path: object) -> bool:
    """Whether a path names something in object storage."""
    return isinstance(path, str | os.PathLike) and _REMOTE.match(os.fspath(path)) is not None


def address(path: AnyPath) -> str:
    """The path as people write it: s3://BUCKET/KEY."""
    return _REMOTE.sub(lambda match: f"{match[1]}://", os.fspath(path), count=1)


def status(path: AnyPath) -> Status | None:
    """Size and time of a file in object storage; None if there is no such file.

    Raises:
        SampleCNNError: the storage cannot be reached, or refuses.
    """
    from pyarrow.fs import FileType

    with _errors(path):
        found = _file_system(path).get_file_info(_key(path))
    if found.type != FileType.File:
        return None
    return Status(found.size, found.mtime_ns or 0)


def is_folder(path: AnyPath) -> bool:
    """Whether there are files below a path. Raises as `status`."""
    from pyarrow.fs import FileType

    with _errors(path):
        return bool(_file_system(path).get_file_info(_key(path)).type == FileType.Directory)


def names(folder: AnyPath, pattern: str = "*") -> list[str]:
    """The names of the files directly in a folder that match a pattern, sorted. Raises as `status`."""
    return sorted(name for path in _below(folder, False) if fnmatchcase(name := path.rpartition("/")[2], pattern))


def files_below(folder: AnyPath) -> Iterator[str]:
    """The addresses of all files below a folder, sorted. Raises as `status`."""
    scheme = address(folder).partition(":")[0]
    yield from (f"{scheme}://{path}" for path in sorted(_below(folder, True)))


def _below(folder: AnyPath, recursive: bool) -> list[str]:
    from pyarrow.fs import FileSelector, FileType

    with _errors(folder):
        selector = FileSelector(_key(folder), recursive=recursive)
        return [info.path for info in _file_system(folder).get_file_info(selector) if info.type == FileType.File]


def read_bytes(path: AnyPath) -> bytes:
    """The content of a file. Raises FileNotFoundError, or as `status`."""
    with _errors(path), _file_system(path).open_input_file(_key(path)) as file:
        return bytes(file.read())


class RemoteFile(io.RawIOBase):
    """A file in object storage, open for reading at any position, with bytes read ahead.

    Args:
        path: its address.

    Raises:
        FileNotFoundError: there is no such file.
        SampleCNNError: the storage cannot be reached, or refuses.
    """

    def __init__(self, path: AnyPath) -> None:
        self.path = self.name = address(path)
        with _errors(path):
            self._file = _file_system(path).open_input_file(_key(path))
            self.size = int(self._file.size())
        self._at = self._start = 0
        self._buffer = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        wanted = max(min(self.size - self._at, self.size if size is None or size < 0 else size), 0)
        skipped = self._at - self._start
        if not 0 <= skipped <= len(self._buffer) - wanted:
            with _errors(self.path):
                count = min(max(wanted, READ_BYTES), self.size - self._at)
                self._start, self._buffer, skipped = self._at, bytes(self._file.read_at(count, self._at)), 0
        found = self._buffer[skipped : skipped + wanted]
        self._at += len(found)
        return found

    def readinto(self, out: Any) -> int:
        view = memoryview(out).cast("B")
        found = self.read(len(view))
        view[: len(found)] = found
        return len(found)

    def read_at(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, fewer at the end; may be called from several threads."""
        with _errors(self.path):
            return bytes(self._file.read_at(size, offset))

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


_lock = threading.Lock()


def _file_system(path: AnyPath) -> Any:
    scheme = address(path).partition(":")[0]
    with _lock:  # the first call connects
        return _opened(scheme, os.getpid(), os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


@cache
def _opened(scheme: str, process: int, endpoint: str | None) -> Any:
    """The file system of a scheme; a new one in a forked process."""
    import pyarrow.fs as fs

    if scheme == "gs":
        return fs.GcsFileSystem()
    where = {}
    if endpoint:
        scheme_of_endpoint, _, host = endpoint.rpartition("://")
        where = {"endpoint_override": host.rstrip("/"), "scheme": scheme_of_endpoint or "https"}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return fs.S3FileSystem(
        **where,
        **({"region": region} if region else {}),
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
    )


def _key(path: AnyPath) -> str:
    return address(path).partition("://")[2].rstrip("/")


@contextmanager
def _errors(path: AnyPath) -> Iterator[None]:
    """Turns the errors of a storage into one line that names the address and the remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(2, "no such file", address(path)) from error
    except (OSError, ValueError) as error:
        raise SampleCNNError(f"{address(path)}: {_reason(path, str(error))}") from error


def _reason(path: AnyPath, text: str) -> str:
    """What is wrong, and the remedy, from a message of the storage."""
    bucket = _key(path).partition("/")[0]
    known = (
        ("NO_SUCH_BUCKET|NoSuchBucket|bucket does not exist", f"there is no bucket {bucket}; check its name"),
        (
            "ACCESS_DENIED|AccessDenied|Forbidden|HTTP response code 40[13]|ACCESS DENIED|SIGNATURE|INVALID_ACCESS_KEY",
            "access is denied; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, of an account that may "
            f"read bucket {bucket}",
        ),
        (
            "NETWORK_CONNECTION|curlCode|connect|resolve|timed? ?out|REQUEST_TIMEOUT",
            "the storage cannot be reached; check the network, AWS_REGION and AWS_ENDPOINT_URL",
        ),
        ("PermanentRedirect|HTTP response code 301", f"bucket {bucket} is in another region; set AWS_REGION"),
    )
    for pattern, reason in known:
        if re.search(pattern, text, re.IGNORECASE):
            return reason
    return f"cannot be read ({' '.join(text.split())[:200]})"


def local_or_remote_exists(path: AnyPath) -> bool:
    """Whether a file or folder exists. Raises as `status` for one in object storage."""
    if not is_remote(path):
        return Path(path).exists()
    return status(path) is not None or is_folder(path)
