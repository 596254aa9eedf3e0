"""TFRecord files with TensorFlow's option GZIP: decompressed into an unnamed temporary file."""

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
MAX_OPEN_FILES = 4  # decompressed files that are cached
_lock = threading.Lock()
BLOCK_BYTES = 1 << 20
# Limit of the decompressed size: that of sound is 1 to 20 times the compressed size, that of a crafted file 1,000
# times.
SMALL_BYTES, MAX_RATIO = 256 << 20, 100


@contextmanager
def open_decompressed(path: Path) -> Iterator[BinaryIO]:
    """Opens a TFRecord file, decompressed if necessary.

    Raises:
        OSError: it cannot be read, or its compressed data is damaged.
    """
    with path.open("rb") as file, decompressed(file, path) as whole:
        yield whole


@contextmanager
def decompressed(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """Decompresses an open file if necessary; a decompressed file is locked against other readers meanwhile."""
    head = file.read(HEAD.size)
    file.seek(0)
    if not is_compressed(head):
        yield file
        return
    status = os.fstat(file.fileno())
    with _lock:
        yield _decompressed(path, status.st_size, status.st_mtime_ns)


def is_compressed(head: bytes) -> bool:
    """Whether a file is compressed, by its first 12 bytes: a length that looks like gzip's header has a valid
    checksum.
    """
    if not head.startswith(GZIP) or len(head) < HEAD.size:
        return head.startswith(GZIP)
    return masked_crc(head[:8]) != HEAD.unpack(head)[1]


@lru_cache(maxsize=MAX_OPEN_FILES)
def _decompressed(path: Path, size: int, changed: int) -> BinaryIO:
    """A decompressed file, cached until the file changes."""
    whole = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its last reference
    limit = SMALL_BYTES + size * MAX_RATIO
    try:
        with gzip.open(path) as compressed:
            while part := compressed.read(BLOCK_BYTES):
                if whole.tell() + len(part) > limit:
                    raise OSError(
                        errno.EIO, f"its decompressed data is more than {MAX_RATIO} times as large", str(path)
                    )
                whole.write(part)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        whole.close()
        raise OSError(errno.EIO, "its gzip data is damaged or cut short", str(path)) from error
    except OSError:
        whole.close()
        raise
    whole.flush()
    return whole  # type: ignore[return-value]
