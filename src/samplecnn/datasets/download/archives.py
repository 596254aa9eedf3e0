"""Unpacking archives safely: split and encrypted zips, packed tars, and nothing written outside the target folder.

Every name is checked before anything is written under it: all names of a zip before its first file, those of a tar as
they are read. Each file is written under a temporary name and renamed. A file that is there already with the right size
is skipped, so an interrupted run resumes where it stopped.
"""

import bz2
import gzip
import io
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from samplecnn.datasets.download.archive_parts import (
    CHUNK,
    DAMAGE,
    ArchiveError,
    SplitFile,
    open_parts,
    temporary_path,
)
from samplecnn.datasets.download.byte_progress import ByteProgress
from samplecnn.errors import SampleCNNError

# Largest plausible size of an unpacked archive: MAX_GROWTH times the packed size plus SLACK bytes. Recordings shrink to
# a half at best; the slack is for small archives.
MAX_GROWTH, SLACK = 100, 100_000_000
MAX_TAR_HEADER = 1_000_000  # bytes of an extended header, which tarfile reads into memory; real ones hold long names
UNSAFE = "this archive is not safe to unpack"


class Member(NamedTuple):
    """A file of an archive: its path relative to the target folder ("a/b.wav") and its size in bytes."""

    path: str
    size: int


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
        parts: the archive's file, or the parts of a split archive in order.
        kind: "zip" or "tar" (plain, or packed with gzip, bzip2 or xz).
        password: of an encrypted zip; several are tried in order.
        workers: processes that decrypt an encrypted zip; None: one per processor, up to 8.

    Raises:
        ArchiveError: damaged, no password fits, a path outside the folder, a link, or an implausible amount of data.
        SampleCNNError: not enough free disk space.
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
        raise ArchiveError(f"{label}: unsupported compression or encryption ({error}); unpack it by hand") from error
    except DAMAGE as error:
        raise ArchiveError(f"{label}: damaged archive ({str(error) or type(error).__name__}); {remedy}") from error
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise ArchiveError(
            f"{label}: {error.filename}: a file is in the place of a folder, or the reverse; move it away"
        ) from error


def safe_path(name: str, label: str, folder: bool = False) -> str:
    """A member's name as a relative path with forward slashes; ArchiveError where it points outside the folder."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in parts or "\0" in name:
        raise ArchiveError(f"{label}: {name!r} points outside the target folder; {UNSAFE}")
    clean = "/".join(part for part in parts if part not in ("", "."))
    if not clean and not folder:
        raise ArchiveError(f"{label}: {name!r} is not a file name; {UNSAFE}")
    return clean


def is_unpacked(folder: Path, member: Member) -> bool:
    """Whether the member is there as a regular file of the right size."""
    try:
        status = (folder / member.path).stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == member.size


def _check_free_space(folder: Path, needed: int, label: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SampleCNNError(
            f"{folder}: unpacking {label} needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; "
            "free some space and run the same command again"
        )


def _check_growth(packed: int, unpacked: int, label: str) -> None:
    if unpacked > MAX_GROWTH * packed + SLACK:
        raise ArchiveError(f"{label}: {packed / 1e6:,.1f} MB unpack to {unpacked / 1e9:,.1f} GB or more; {UNSAFE}")


def _write(source: IO[bytes], target: Path, size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = temporary_path(target)
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
    with open_parts(parts) as file, zipfile.ZipFile(file) as archive:
        entries = _zip_entries(archive, label)
        members = [Member(path, info.file_size) for path, info in entries.items()]
        _check_growth(sum(part.stat().st_size for part in parts), sum(member.size for member in members), label)
        absent = [member for member in members if not is_unpacked(folder, member)]
        _check_free_space(folder, sum(member.size for member in absent), label)
        encrypted = {member.path: entries[member.path] for member in absent if entries[member.path].flag_bits & 1}
        total, remaining = (sum(entries[member.path].compress_size for member in some) for some in (members, absent))
        done = total - remaining
        with ByteProgress(f"unpack {parts[0].name}", total, done) as progress:

            def on_read(packed: int) -> None:
                nonlocal done
                done += packed
                progress.move_to(done)

            for member in absent:
                if member.path not in encrypted:
                    with archive.open(entries[member.path]) as source:
                        _write(source, folder / member.path, member.size)
                    on_read(entries[member.path].compress_size)
            if encrypted:
                from samplecnn.datasets.download.zip_decrypt import decrypt_members

                decrypt_members(parts, folder, encrypted, passwords, workers, label, on_read)
    return members


def _zip_entries(archive: zipfile.ZipFile, label: str) -> dict[str, zipfile.ZipInfo]:
    """The zip's files by safe path, folders and the metadata that macOS adds left out."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        is_folder = info.filename.endswith("/")
        path = safe_path(info.filename, label, folder=is_folder)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ArchiveError(f"{label}: {info.filename!r} is a link; {UNSAFE}")
        if not is_folder and not path.startswith("__MACOSX/"):
            entries[path] = info
    return entries


def _unpack_tar(parts: list[Path], folder: Path, label: str) -> list[Member]:
    packed = sum(part.stat().st_size for part in parts)
    members: list[Member] = []
    total = 0
    with open_parts(parts) as file, ByteProgress(f"unpack {parts[0].name}", packed) as progress:
        # Not tarfile's own decompression, which takes the end of a truncated stream for the end of the archive.
        stream = _BoundedStream(_decompressed(file), packed, label)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_BoundedTarInfo) as archive:
            for entry in archive:
                path = safe_path(entry.name, label, folder=entry.isdir())
                if entry.isdir():
                    continue
                if not entry.isreg():
                    raise ArchiveError(f"{label}: {entry.name!r} is a link or device; {UNSAFE}")
                # Stricter than tarfile's "data" filter, which accepts links, and without its slow look at the disk.
                member = Member(path, entry.size)
                total += member.size
                _check_growth(packed, total, label)
                if not is_unpacked(folder, member):
                    _check_free_space(folder, member.size, label)
                    source = archive.extractfile(entry)
                    assert source is not None  # a regular file
                    _write(source, folder / member.path, member.size)
                members.append(member)
                progress.move_to(file.tell(), note=f"{len(members):,} files")
            while stream.read(CHUNK):  # to the end, where the checksum of the whole is
                pass
    if not members:
        raise EOFError("it holds no files")
    return list({member.path: member for member in members}.values())


class _BoundedTarInfo(tarfile.TarInfo):
    """A tar header that refuses what would make tarfile read without bound: giant extended headers, sparse files."""

    EXTENDED = (
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    )

    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> "tarfile.TarInfo":  # type: ignore[override]
        header = super().frombuf(buf, encoding, errors)
        if header.type in cls.EXTENDED and header.size > MAX_TAR_HEADER:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"{header.name} is a sparse file")
        return header


class _BoundedStream(io.RawIOBase):
    """The decompressed bytes of an archive, refused beyond what its packed size can plausibly hold."""

    def __init__(self, source: IO[bytes], packed: int, label: str) -> None:
        super().__init__()
        self._source, self._packed, self._label, self._count = source, packed, label, 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._count += len(data)
        _check_growth(self._packed, self._count, self._label)
        return data


def _decompressed(file: "io.BufferedReader[SplitFile]") -> IO[bytes]:
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
