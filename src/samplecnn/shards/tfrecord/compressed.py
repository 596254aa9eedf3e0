"""TFRecords that TensorFlow has compressed as a whole (its option GZIP): decompressed into a file without name."""

import errno
import gzip
import os
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from samplecnn.shards.tfrecord.frames import HEAD, masked_crc

GZIP = b"\x1f\x8b\x08"
KEPT_OPEN = 4  # decompressed files
_lock = threading.Lock()
COPIED = 1 << 20  # bytes at a time
# What a file may hold once it is decompressed: sound takes 1 to 20 times its bytes, a crafted file 1,000 times.
SMALL_BYTES, MOST_PER_BYTE = 256 << 20, 100


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file of TFRecords, decompressed where it is compressed.

    Raises:
        OSError: it cannot be read, or its compressed data are damaged.
    """
    with path.open("rb") as file, unpacked(file, path) as whole:
        yield whole


@contextmanager
def unpacked(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """The same of an open file and its path; nothing else reads a decompressed one meanwhile."""
    head = file.read(HEAD.size)
    file.seek(0)
    if not is_compressed(head):
        yield file
        return
    status = os.fstat(file.fileno())
    with _lock:
        yield _decompressed(path, status.st_size, status.st_mtime_ns)


def is_compressed(head: bytes) -> bool:
    """By the first 12 bytes: a length whose bytes happen to be gzip's has its checksum behind it."""
    if not head.startswith(GZIP) or len(head) < HEAD.size:
        return head.startswith(GZIP)
    return masked_crc(head[:8]) != HEAD.unpack(head)[1]


@lru_cache(maxsize=KEPT_OPEN)
def _decompressed(path: Path, size: int, changed: int) -> BinaryIO:
    """For as long as the file stays as it is."""
    whole = tempfile.TemporaryFile()  # noqa: SIM115 - closed when nothing refers to it any more
    most = SMALL_BYTES + size * MOST_PER_BYTE
    try:
        with gzip.open(path) as compressed:
            while part := compressed.read(COPIED):
                if whole.tell() + len(part) > most:
                    raise OSError(errno.EIO, f"its gzip data are more than {MOST_PER_BYTE} times as large", str(path))
                whole.write(part)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        whole.close()
        raise OSError(errno.EIO, "its gzip data are damaged or cut short", str(path)) from error
    except OSError:
        whole.close()
        raise
    whole.flush()
    return whole  # type: ignore[return-value]
