"""What reading any archive needs: split archives as one file, temporary names, and the errors of a damaged one."""

import gzip
import hashlib
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from samplecnn.errors import SampleCNNError

CHUNK = 1 << 20  # bytes read at once

# What the standard library raises for a damaged archive.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    struct.error,
    OverflowError,
    ValueError,  # also a name that cannot be decoded
)


class ArchiveError(SampleCNNError):
    """An archive that is damaged, encrypted with an unknown password, or unsafe to unpack."""


class SplitFile(io.RawIOBase):
    """The parts of a split archive as one file, read in place without a joined copy."""

    def __init__(self, parts: Sequence[Path]) -> None:
        super().__init__()
        self._files = [part.open("rb") for part in parts]
        self._starts, self.size = [], 0
        for file in self._files:
            self._starts.append(self.size)
            self.size += os.fstat(file.fileno()).st_size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence] + offset
        if position < 0:
            raise ValueError("a position before the start of the file")
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        for start, file in zip(reversed(self._starts), reversed(self._files), strict=True):
            if start <= self._position:
                file.seek(self._position - start)
                count = file.readinto(buffer)
                if count == 0 and file is not self._files[-1]:
                    continue  # only where a part shrank while it was read: the file ends there
                self._position += count
                return count
        return 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


@contextmanager
def open_parts(parts: Sequence[Path]) -> Iterator["io.BufferedReader[SplitFile]"]:
    """The archive as one seekable file; a read across the border of two parts returns all the bytes asked for."""
    with io.BufferedReader(SplitFile(parts), CHUNK) as file:
        yield file


def temporary_path(target: Path) -> Path:
    """Where a member is written before it is renamed to `target`: short for any name, and the same in every run."""
    return target.with_name(f".{hashlib.sha1(target.name.encode()).hexdigest()[:20]}.part")
