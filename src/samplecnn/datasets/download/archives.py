"""Archives unpacked safely: split zips read as one, passwords, and nothing outside the folder.

Every name is judged before anything of that name is written: all of a zip's before the first, a tar's as they go by.
Each member is written aside and renamed, and one that is there already with the right size is passed over, so an
interrupted run goes on where it stopped.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from samplecnn.errors import SampleCNNError
from samplecnn.system.progress import Progress

# An archive may grow this many times in unpacking. Recordings shrink to half at best; the slack is for small archives.
MOST_GROWTH, SLACK = 100, 100_000_000
MEGABYTE = 1_000_000
CHUNK = 1 << 20

DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    struct.error,
    OverflowError,
    ValueError,  # also an undecodable name
)


class ArchiveError(SampleCNNError):
    """An archive that is damaged, locked or not to be trusted."""


class Member(NamedTuple):
    """A file of an archive: its path under the folder ("a/b.wav") and its size in bytes."""

    path: str
    size: int


class Joined(io.RawIOBase):
    """The parts of a split archive as one file, read in place: no joined copy is written."""

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
        place = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence] + offset
        if place < 0:
            raise ValueError("a place before the beginning")
        self._position = place
        return place

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        for start, file in zip(reversed(self._starts), reversed(self._files), strict=True):
            if start <= self._position:
                file.seek(self._position - start)
                count = file.readinto(buffer)
                if count == 0 and file is not self._files[-1]:
                    continue  # unreachable while sizes stand still; a part that shrank ends the file
                self._position += count
                return count
        return 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


@contextmanager
def opened(parts: Sequence[Path]) -> Iterator["io.BufferedReader[Joined]"]:
    """The archive as one seekable file whose reads come in full, across the borders of its parts."""
    with io.BufferedReader(Joined(parts), CHUNK) as file:
        yield file


def unpack(
    parts: Sequence[str | Path],
    folder: str | Path,
    *,
    kind: str,
    password: str | Sequence[str] | None = None,
    workers: int | None = None,
) -> list[Member]:
    """Unpacks an archive into `folder` and returns its files, in the archive's order.

    Args:
        parts: the archive's file, or the parts of a split one in order.
        kind: "zip" or "tar" (plain, or packed with gzip, bzip2 or xz).
        password: of an encrypted zip; of several the one that fits is taken.
        workers: processes that open an encrypted zip; None: as many as there are processors, up to 8.

    Raises:
        ArchiveError: damaged, a password that does not fit, a name that leads out of the folder, a link, or more data
            than such an archive can honestly hold.
        SampleCNNError: there is not enough room on the disk.
    """
    paths, folder = [Path(part) for part in parts], Path(folder)
    label = str(paths[0]) if len(paths) == 1 else f"{paths[0]} to {paths[-1].name}"
    passwords = [password] if isinstance(password, str) else list(password or ())
    remedy = "delete it and run the same command again" if len(paths) == 1 else "delete these parts and run again"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "zip":
            return _unpack_zip(paths, folder, passwords, workers, label)
        return _unpack_tar(paths, folder, label)
    except NotImplementedError as error:
        raise ArchiveError(f"{label}: packed in a way that is not known here ({error}); unpack it by hand") from error
    except DAMAGE as error:
        raise ArchiveError(f"{label}: damaged archive ({str(error) or type(error).__name__}); {remedy}") from error
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise ArchiveError(f"{label}: {error.filename}: a file is in the place of a folder, or the reverse") from error


def safe_path(name: str, label: str, folder: bool = False) -> str:
    """A member's name as a path in `/` form; ArchiveError where it would lead out of the folder it is unpacked into."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in parts or "\0" in name:
        raise ArchiveError(f"{label}: {name!r} leads out of the folder; this archive is not to be trusted")
    clean = "/".join(part for part in parts if part not in ("", "."))
    if not clean and not folder:
        raise ArchiveError(f"{label}: {name!r} is no name for a file")
    return clean


def in_place(folder: Path, member: Member) -> bool:
    try:
        status = (folder / member.path).stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == member.size


def aside(target: Path) -> Path:
    """Where a member is written before it takes its name: short whatever the name, and the same in every run."""
    return target.with_name(f".{hashlib.sha1(target.name.encode()).hexdigest()[:20]}.part")


def _room(folder: Path, needed: int, label: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SampleCNNError(
            f"{folder}: unpacking {label} needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; "
            "free some space and run the same command again"
        )


def _sane(packed: int, unpacked: int, label: str) -> None:
    if unpacked > MOST_GROWTH * packed + SLACK:
        raise ArchiveError(
            f"{label}: {packed / 1e6:,.1f} MB claim to hold {unpacked / 1e9:,.1f} GB; this archive is not to be trusted"
        )


def _write(source: IO[bytes], target: Path, size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = aside(target)
    try:
        with part.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
            written = file.tell()
        if written != size:
            raise EOFError(f"{target.name} ends at {written:,} of {size:,} bytes")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _unpack_zip(parts: list[Path], folder: Path, passwords: list[str], workers: int | None, label: str) -> list[Member]:
    with opened(parts) as file, zipfile.ZipFile(file) as archive:
        entries: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            path = safe_path(info.filename, label, folder=info.is_dir())
            if stat.S_ISLNK(info.external_attr >> 16):
                raise ArchiveError(f"{label}: {info.filename!r} is a link; this archive is not to be trusted")
            if not info.is_dir() and not path.startswith("__MACOSX/"):  # a Mac's notes on the files, not files
                entries[path] = info
        members = [Member(path, info.file_size) for path, info in entries.items()]
        _sane(sum(part.stat().st_size for part in parts), sum(member.size for member in members), label)
        absent = [member for member in members if not in_place(folder, member)]
        _room(folder, sum(member.size for member in absent), label)
        locked = {member.path: entries[member.path] for member in absent if entries[member.path].flag_bits & 1}
        total, ahead = (sum(entries[member.path].compress_size for member in some) for some in (members, absent))
        with Progress(total // MEGABYTE, f"unpack {parts[0].name}", "MB", (total - ahead) // MEGABYTE) as progress:
            done = total - ahead

            def report(packed: int) -> None:
                nonlocal done
                done += packed
                if done // MEGABYTE > progress.done:
                    progress.advance(done // MEGABYTE - progress.done)

            for member in absent:
                if member.path not in locked:
                    with archive.open(entries[member.path]) as source:
                        _write(source, folder / member.path, member.size)
                    report(entries[member.path].compress_size)
            if locked:
                from samplecnn.datasets.download.zip_decrypt import unlock

                unlock(parts, folder, locked, passwords, workers, label, report)
    return members


def _unpack_tar(parts: list[Path], folder: Path, label: str) -> list[Member]:
    packed = sum(part.stat().st_size for part in parts)
    members: list[Member] = []
    total = 0
    with opened(parts) as file, Progress(packed // MEGABYTE, f"unpack {parts[0].name}", "MB") as progress:
        stream = _unpacked(file)  # not tarfile's own: where the stream is cut off that one takes the cut for the end
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for entry in archive:
                path = safe_path(entry.name, label, folder=entry.isdir())
                if entry.isdir():
                    continue
                if not entry.isreg():
                    raise ArchiveError(
                        f"{label}: {entry.name!r} is a link or device; this archive is not to be trusted"
                    )
                # Stricter than tarfile's "data" filter, which lets links pass, and without its slow look at the disk.
                member = Member(path, entry.size)
                total += member.size
                _sane(packed, total, label)
                if not in_place(folder, member):
                    _room(folder, member.size, label)
                    source = archive.extractfile(entry)
                    assert source is not None  # a regular file
                    _write(source, folder / member.path, member.size)
                members.append(member)
                done = file.tell() // MEGABYTE
                if done > progress.done:
                    progress.advance(done - progress.done, note=f"{len(members):,} files")
            while stream.read(CHUNK):  # to the end, where the checksum of the whole is
                pass
    if not members:
        raise EOFError("there is no file in it")
    return list({member.path: member for member in members}.values())


def _unpacked(file: "io.BufferedReader[Joined]") -> IO[bytes]:
    head = file.peek(6)[:6]
    openers: dict[bytes, Callable[..., IO[bytes]]] = {
        b"\x1f\x8b": lambda source: gzip.GzipFile(fileobj=source),  # type: ignore[dict-item, return-value]
        b"BZh": bz2.BZ2File,  # type: ignore[dict-item]
        b"\xfd7zXZ\0": lzma.LZMAFile,  # type: ignore[dict-item]
    }
    for magic, opener in openers.items():
        if head.startswith(magic):
            return opener(file)
    return file
