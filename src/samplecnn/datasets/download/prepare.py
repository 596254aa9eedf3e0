"""Brings a published data set to DATA/<name>/raw: downloads, verifies, unpacks, and tells what is still missing.

What is done is remembered in raw/.prepared, one small file per download and per archive, so that the same command goes
on after any interruption and has nothing to do when all is there. A file that was put into raw/ by hand counts as
downloaded once it is found to be right, and is never deleted.
"""

import contextlib
import errno
import json
import os
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samplecnn.datasets.base import Download, Published
from samplecnn.datasets.download.archives import Member, unpack
from samplecnn.datasets.download.http import DownloadError, Network, digest, fetch, looks_like_page
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.system.files import write_json
from samplecnn.system.locks import locked

PATIENCE = 3.0  # seconds that a run waits for the last workers of a killed one
MAGIC = {"zip": (b"PK",), "tar": (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")}


@dataclass
class PrepareReport:
    """What a run of `prepare` did and what the data set then holds.

    Args:
        raw: the data set's folder.
        downloaded: files that this run fetched.
        unpacked: files that this run brought out of each archive.
        sizes: clips per split by the label files, and `expected`, what the original has; empty where not checked.
        missing: clips whose recording is not there, with some of their paths in `examples`.
        trouble: why the labels could not be read.
        notes: what else a user should hear.
    """

    name: str
    raw: Path
    licence: str = ""
    downloaded: list[str] = field(default_factory=list)
    unpacked: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    examples: list[str] = field(default_factory=list)
    trouble: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def nothing_to_do(self) -> bool:
        return not self.downloaded and not self.unpacked

    @property
    def complete(self) -> bool:
        """Whether every clip is there and the splits have the sizes of the original."""
        return (
            not self.trouble
            and not self.missing
            and (not self.sizes or not self.expected or self.sizes == self.expected)
        )

    def text(self) -> str:
        lines = [f"downloaded {len(self.downloaded)} files"] if self.downloaded else []
        lines += [f"unpacked {archive}: {count:,} files" for archive, count in self.unpacked.items()]
        lines += self.notes
        for split, expected in (self.expected or self.sizes).items():
            if self.sizes:
                count = self.sizes.get(split, 0)
                of = "" if count == expected else f", but the original has {expected:,}"
                lines.append(f"{split}: {count:,} clips{of}")
        if self.missing:
            lines.append(f"{self.missing:,} recordings are missing, such as {', '.join(self.examples)}")
        if self.trouble:
            lines.append(self.trouble)
        if not self.complete:
            lines.append("the archives with what is missing are fetched anew by the same command with --again")
        state = "is ready" if self.complete else "is not complete"
        done = " (there was nothing to do)" if self.nothing_to_do and self.complete else ""
        lines.append(f"{self.raw} {state}{done}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Archive:
    """An archive and the ways to come by it: each way is the files that together are the archive."""

    name: str
    ways: tuple[tuple[Download, ...], ...]


def prepare(
    name: str,
    data_dir: str | Path = "./data",
    *,
    mirror: str | None = None,
    keep_archives: bool = False,
    again: bool = False,
    workers: int | None = None,
    network: Network | None = None,
    published: Published | None = None,
) -> PrepareReport:
    """Downloads, verifies and unpacks a published data set.

    Args:
        name: "mtt", "scd" or "dcs".
        data_dir: the data set goes to data_dir/<name>/raw.
        mirror: address of a folder that holds the same files under the same names; asked before all others.
        keep_archives: leave the downloaded archives in place when they are unpacked.
        again: where something is missing, do not trust the notes of earlier runs: get and unpack its archive anew.
        workers: processes for opening encrypted zips; None: as many as fit.
        published: the files to get, where not those of `name`.

    Raises:
        UsageError: an unknown data set, a mirror that is no web address, a file put there by hand that is not right.
        SampleCNNError: no mirror gave a file (the message lists each address with the reason, and what to do by hand),
            a damaged archive, not enough room. Whatever was received stays; the same command goes on from there.
    """
    if published is None:
        from samplecnn.datasets.published import PUBLISHED

        if name not in PUBLISHED:
            raise UsageError(f"{name!r} is not a published data set; expected {', '.join(sorted(PUBLISHED))}")
        published = PUBLISHED[name]
    if mirror is not None and urllib.parse.urlsplit(mirror).scheme not in ("http", "https"):
        raise UsageError(f"--mirror {mirror}: not an http:// or https:// address")
    raw = Path(data_dir) / name / "raw"
    report = PrepareReport(name, raw, published.licence, expected=dict(published.expected))
    if _is_whole(report):
        return report
    work = _Work(raw, published, mirror, keep_archives, again, workers, network or Network(), report)
    try:
        with _alone(raw):
            work.run()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space" if full else "check the folder and its permissions"
        where = error.filename or raw
        raise SampleCNNError(f"{where}: {error.strerror or error}; {remedy} and run the same command again") from error
    check(report)
    return report


def check(report: PrepareReport) -> None:
    """Fills in what the label files tell: the sizes of the splits, and the recordings that are not there."""
    from samplecnn.datasets import REGISTRY

    if report.name not in REGISTRY:
        return
    try:
        clips = REGISTRY[report.name].table(report.raw).clips
    except SampleCNNError as error:
        report.trouble = str(error)
        return
    report.sizes = dict.fromkeys(report.expected, 0)
    report.missing, report.examples = 0, []
    for clip in clips:
        report.sizes[clip.split] = report.sizes.get(clip.split, 0) + 1
        if not os.path.isfile(clip.path):  # noqa: PTH113 (100,000 of them: the plain call is twice as fast)
            report.missing += 1
            if len(report.examples) < 3:
                report.examples.append(str(clip.path.relative_to(report.raw)))


def _is_whole(report: PrepareReport) -> bool:
    """Whether all is there already, also where it was unpacked by hand and no note tells of it."""
    if not report.expected or not report.raw.is_dir():
        return False
    check(report)
    whole = report.complete and bool(report.sizes)
    if not whole:
        report.sizes, report.missing, report.examples, report.trouble = {}, 0, [], ""
    return whole


class _Work:
    def __init__(
        self,
        raw: Path,
        published: Published,
        mirror: str | None,
        keep_archives: bool,
        again: bool,
        workers: int | None,
        network: Network,
        report: PrepareReport,
    ) -> None:
        self.raw, self.published, self.mirror = raw, published, mirror
        self.keep_archives, self.again, self.workers = keep_archives, again, workers
        self.network, self.report = network, report
        self.notes = raw / ".prepared"
        self.failures: dict[str, list[tuple[str, str]]] = {}

    def run(self) -> None:
        files = [download for download in self.published.downloads if not download.unpack]
        archives = [archive for archive in _archives(self.published) if not self._is_unpacked(archive)]
        self._need_room(files, archives)
        for download in files:
            self._obtain(download.name, ((download,),))
        for archive in archives:
            way = self._obtain(archive.name, archive.ways)
            if way:
                self._unpack(archive, way)
        if self.failures:
            raise self._dead_links()

    def _obtain(self, name: str, ways: tuple[tuple[Download, ...], ...]) -> tuple[Download, ...]:
        """Sees to it that all files of one way are there, verified; () where no way works."""
        for way in ways:
            if all((self.raw / download.name).exists() for download in way):
                for download in way:
                    self._judge(download)
                return way
        reasons: list[tuple[str, str]] = []
        # The mirror first for every way: a mirror may well hold the joined file and not the parts.
        for from_mirror in (True, False) if self.mirror else (False,):
            for way in ways:
                if all(self._fetched(download, from_mirror, reasons) for download in way):
                    return way
        self.failures[name] = reasons
        return ()

    def _fetched(self, download: Download, from_mirror: bool, reasons: list[tuple[str, str]]) -> bool:
        if (self.raw / download.name).exists():
            self._judge(download)
            return True
        urls = [f"{str(self.mirror).rstrip('/')}/{urllib.parse.quote(download.name)}"] if from_mirror else download.urls
        try:
            path = fetch(
                download.name,
                urls,
                self.raw,
                size=download.size,
                checksum=download.checksum,
                magic=_magic(download),
                network=self.network,
            )
        except DownloadError as error:
            reasons += error.reasons
            return False
        self._remember(f"{download.name}.download", {"fetched": True, **_stamp(path)})
        self.report.downloaded.append(download.name)
        return True

    def _judge(self, download: Download) -> None:
        """A file that is there already: put there by hand, or by an earlier run. It must be the published one."""
        path = self.raw / download.name
        noted = self._noted(f"{download.name}.download")
        if {key: noted.get(key) for key in ("bytes", "changed")} == _stamp(path):
            return
        if not path.is_file():
            raise UsageError(f"{path}: a folder is in the place of a file; move it away and run the same command again")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
        if looks_like_page(head):
            raise UsageError(f"{path}: a web page, not the file itself; delete it and download the file again")
        if download.size is not None and size != download.size:
            hint = f", or rename it to {path.name}.part to go on from there" if size < download.size else ""
            raise UsageError(f"{path}: has {size:,} of {download.size:,} bytes; delete it{hint}, and run again")
        if size == 0 or (_magic(download) and not head.startswith(_magic(download))):
            raise UsageError(f"{path}: not an archive; delete it and run the same command again")
        if download.checksum and digest(path, download.checksum) != download.checksum.lower():
            kind = download.checksum.partition(":")[0]
            raise UsageError(f"{path}: its {kind} checksum is not the published one; delete it and run again")
        self._remember(f"{download.name}.download", {"fetched": False, **_stamp(path)})

    def _unpack(self, archive: _Archive, way: tuple[Download, ...]) -> None:
        first = way[0]
        members = unpack(
            [self.raw / download.name for download in way],
            self.raw / first.into,
            kind="tar" if first.unpack == "tar" else "zip",
            password=first.password,
            workers=self.workers,
        )
        if hasattr(os, "sync"):
            os.sync()  # the note must not outlive the files that it speaks of
        done = {"into": first.into, "keep": self.keep_archives, "files": [list(member) for member in members]}
        self._remember(f"{archive.name}.unpacked", done)
        self.report.unpacked[archive.name] = len(members)
        self._tidy(archive, self.keep_archives)

    def _tidy(self, archive: _Archive, keep: bool) -> None:
        """Deletes an unpacked archive, where it was downloaded here; what a user put there stays."""
        for download in [] if keep else [download for way in archive.ways for download in way]:
            if self._noted(f"{download.name}.download").get("fetched"):
                (self.raw / download.name).unlink(missing_ok=True)
            for left in (self.raw / f"{download.name}.part", self.raw / f"{download.name}.part.json"):
                left.unlink(missing_ok=True)

    def _is_unpacked(self, archive: _Archive) -> bool:
        """Whether an earlier run has unpacked it. Where all of it is gone since, it is due again."""
        noted = self._noted(f"{archive.name}.unpacked")
        if self.again or not noted.get("files"):
            return False
        folder = self.raw / noted.get("into", "")
        members = [Member(*entry) for entry in noted["files"]]
        gone = [member.path for member in members if not (folder / member.path).exists()]
        if gone and len(gone) < len(members):
            self.report.notes.append(
                f"{len(gone):,} of the {len(members):,} files of {archive.name} are gone: {gone[0]}"
            )
        if len(gone) < len(members):
            self._tidy(archive, noted.get("keep", False))  # an earlier run may have been stopped just before
            return True
        return False

    def _need_room(self, files: list[Download], archives: list[_Archive]) -> None:
        """Before the first byte: the downloads, and for an archive at least as much again when it is unpacked."""
        ahead = unpacked = 0
        for download in [*files, *(download for archive in archives for download in archive.ways[0])]:
            size = download.size or 0
            part = self.raw / f"{download.name}.part"
            if not (self.raw / download.name).exists():
                ahead += max(size - (part.stat().st_size if part.exists() else 0), 0)
                # Once it is here its exact size unpacked is known, and checked then, less what is unpacked already.
                unpacked += size if download.unpack and not part.exists() else 0
        free = shutil.disk_usage(self.raw).free
        if ahead + unpacked > free:
            raise SampleCNNError(
                f"{self.raw}: at least {(ahead + unpacked) / 1e9:.1f} GB are needed ({ahead / 1e9:.1f} to download, "
                f"the rest to unpack) and {free / 1e9:.1f} GB are free; free some space or choose another --data-dir"
            )

    def _dead_links(self) -> SampleCNNError:
        lines = [f"{self.report.name}: these files could not be downloaded:"]
        for name, reasons in self.failures.items():
            lines.append(f"  {name}")
            lines += [f"    {url}: {why}" for url, why in reasons] or ["    there is no address to try"]
        lines += [
            f"by hand: {self.published.by_hand}",
            f"Put the files, under exactly these names, into {self.raw} and run the same command again: it verifies "
            "and unpacks them. What was received so far is kept.",
        ]
        return SampleCNNError("\n".join(lines))

    def _remember(self, name: str, value: dict[str, Any]) -> None:
        write_json(self.notes / f"{name}.json", value)

    def _noted(self, name: str) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            value = json.loads((self.notes / f"{name}.json").read_text(encoding="utf-8"))
            if isinstance(value, dict):
                return value
        return {}


def _archives(published: Published) -> list[_Archive]:
    ways: dict[str, list[list[Download]]] = {}
    for download in published.downloads:
        if download.unpack.startswith("join:"):
            joined = ways.setdefault(download.unpack.removeprefix("join:"), [[]])
            joined[0].append(download)
        elif download.unpack:
            ways.setdefault(download.instead_of or download.name, []).append([download])
    return [
        _Archive(name, tuple(tuple(sorted(way, key=lambda part: part.name)) for way in each))
        for name, each in ways.items()
    ]


def _magic(download: Download) -> tuple[bytes, ...]:
    if download.unpack.startswith("join:"):  # of a split zip only the first part begins as a zip does
        return MAGIC["zip"] if download.name.endswith("001") else ()
    return MAGIC.get(download.unpack, ())


def _stamp(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"bytes": status.st_size, "changed": status.st_mtime_ns}


@contextmanager
def _alone(raw: Path) -> Iterator[None]:
    """Keeps a second `prepare` of the same folder out; the lock falls with the process, however that ends.

    The processes that open encrypted zips inherit it: should their parent be killed, they hold it to their own end, a
    moment later, and no two write to one file.
    """
    notes = raw / ".prepared"
    notes.mkdir(parents=True, exist_ok=True)
    busy = f"{raw}: another `samplecnn prepare` is at work here; wait for it or stop it"
    with locked(notes / "lock", busy, wait=PATIENCE, inheritable=True):
        yield
