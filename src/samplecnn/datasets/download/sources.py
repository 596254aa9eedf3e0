"""Which downloads make up an archive, and whether a file placed by hand is the published one."""

from dataclasses import dataclass
from pathlib import Path

from samplecnn.datasets.base import Download, Published
from samplecnn.datasets.download.verify import digest, looks_like_page
from samplecnn.errors import UsageError

MAGIC = {"zip": (b"PK",), "tar": (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")}  # first bytes by kind of archive
HEAD = 512  # bytes that are read to recognise a web page or an archive


@dataclass(frozen=True)
class Archive:
    """An archive and its alternative sources, in order; each source is the files that together are the archive."""

    name: str
    sources: tuple[tuple[Download, ...], ...]

    @property
    def downloads(self) -> list[Download]:
        """The files of all sources."""
        return [download for source in self.sources for download in source]


def archives_of(published: Published) -> list[Archive]:
    """The archives of a data set, the parts of split ones in order."""
    sources: dict[str, list[list[Download]]] = {}
    for download in published.downloads:
        if download.unpack.startswith("join:"):
            joined = sources.setdefault(download.unpack.removeprefix("join:"), [[]])
            joined[0].append(download)
        elif download.unpack:
            sources.setdefault(download.instead_of or download.name, []).append([download])
    return [
        Archive(name, tuple(tuple(sorted(source, key=lambda part: part.name)) for source in alternatives))
        for name, alternatives in sources.items()
    ]


def magic_of(download: Download) -> tuple[bytes, ...]:
    """First bytes that the file may have; empty where they are unknown."""
    if download.unpack.startswith("join:"):  # only the first part of a split zip starts like a zip
        return MAGIC["zip"] if download.name.endswith("001") else ()
    return MAGIC.get(download.unpack, ())


def check_manual_file(path: Path, download: Download) -> None:
    """Checks that a file which is already there is the published one.

    Raises:
        UsageError: a folder, a web page, not an archive, or another size or checksum; the message says what to do.
    """
    if not path.is_file():
        raise UsageError(f"{path}: a folder is in the place of a file; move it away and run the same command again")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
    if looks_like_page(head):
        raise UsageError(f"{path}: a web page, not the file itself; delete it and download the file again")
    if download.size is not None and size != download.size:
        hint = f", or rename it to {path.name}.part to resume the download" if size < download.size else ""
        raise UsageError(f"{path}: has {size:,} of {download.size:,} bytes; delete it{hint}, and run again")
    if size == 0 or (magic_of(download) and not head.startswith(magic_of(download))):
        raise UsageError(f"{path}: not an archive; delete it and run the same command again")
    if download.checksum and digest(path, download.checksum) != download.checksum.lower():
        kind = download.checksum.partition(":")[0]
        raise UsageError(f"{path}: its {kind} checksum is not the published one; delete it and run again")
