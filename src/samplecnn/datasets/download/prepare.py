"""Brings a published data set to DATA/<name>/raw: downloads, verifies, unpacks, and reports what is still missing.

raw/.prepared records what is finished, one small file per download and per archive, so that the same command resumes
after any interruption and does nothing when everything is there. A file that was placed in raw/ by hand counts as
downloaded once it has been verified, and is never deleted.
"""

import errno
import os
import shutil
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

from samplecnn.datasets.base import Download, Published
from samplecnn.datasets.download.archives import Member, unpack
from samplecnn.datasets.download.fetch import DownloadError, fetch, remove_partial
from samplecnn.datasets.download.http import Network, is_web_address
from samplecnn.datasets.download.records import Records, exclusive, file_stamp
from samplecnn.datasets.download.report import PrepareReport
from samplecnn.datasets.download.sources import Archive, archives_of, check_manual_file, magic_of
from samplecnn.errors import SampleCNNError, UsageError


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
        keep_archives: keep the downloaded archives after they are unpacked.
        again: where something is missing, ignore the records of earlier runs: download and unpack its archive again.
        workers: processes that decrypt encrypted zips; None: one per processor, up to 8.
        network: time limits and retries.
        published: the files to get, where not those of `name`.

    Raises:
        UsageError: an unknown data set, a mirror that is not a web address, or a wrong file that was placed by hand.
        SampleCNNError: no mirror gave a file (the message lists each address with the reason, and what to do by hand),
            a damaged archive, too little free space. What was received stays; the same command resumes from there.
    """
    if published is None:
        from samplecnn.datasets.published import PUBLISHED

        if name not in PUBLISHED:
            raise UsageError(f"{name!r} is not a published data set; expected {', '.join(sorted(PUBLISHED))}")
        published = PUBLISHED[name]
    if mirror is not None and not is_web_address(mirror):
        raise UsageError(f"--mirror {mirror}: not an http:// or https:// address")
    raw = Path(data_dir) / name / "raw"
    report = PrepareReport(name, raw, published.licence, expected=dict(published.expected))
    run = _Run(published, report, mirror, keep_archives, again, workers, network or Network())
    if run.is_complete_already():
        return report
    try:
        with exclusive(raw):
            run.all_files()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space" if full else "check the folder and its permissions"
        where = error.filename or raw
        raise SampleCNNError(f"{where}: {error.strerror or error}; {remedy} and run the same command again") from error
    report.count()
    return report


@dataclass
class _Run:
    """One run of `prepare`: its options, its report, and the addresses that failed for each file."""

    published: Published
    report: PrepareReport
    mirror: str | None
    keep_archives: bool
    again: bool
    workers: int | None
    network: Network
    failures: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.raw = self.report.raw
        self.records = Records(self.raw / ".prepared")

    def is_complete_already(self) -> bool:
        """Whether all recordings are there, also where they were unpacked by hand and there are no records.

        Not where an archive is still to be deleted: the run that unpacked it was killed just before.
        """
        if not self.published.expected or not self.raw.is_dir():
            return False
        self.report.count()
        if not (self.report.complete and self.report.sizes):
            return False
        return not any(
            (self.raw / download.name).exists()
            for archive in archives_of(self.published)
            for download in archive.downloads
            if self._is_fetched_here(download) and not self._is_kept(archive)
        )

    def all_files(self) -> None:
        files = [download for download in self.published.downloads if not download.unpack]
        archives = [archive for archive in archives_of(self.published) if not self._is_unpacked(archive)]
        self._check_free_space(files, archives)
        for download in files:
            self._obtain(download.name, ((download,),))
        for archive in archives:
            source = self._obtain(archive.name, archive.sources)
            if source:
                self._unpack(archive, source)
        if self.failures:
            raise self._download_error()

    def _obtain(self, name: str, sources: tuple[tuple[Download, ...], ...]) -> tuple[Download, ...]:
        """Gets and verifies all files of one of the sources and returns it; () where no source is complete."""
        for source in sources:
            if all((self.raw / download.name).exists() for download in source):
                for download in source:
                    self._check_existing(download)
                return source
        reasons: list[tuple[str, str]] = []
        # The mirror first for every source: it may hold the joined file and not the parts.
        for from_mirror in (True, False) if self.mirror else (False,):
            for source in sources:
                if all(self._is_fetched(download, from_mirror, reasons) for download in source):
                    return source
        self.failures[name] = reasons
        return ()

    def _is_fetched(self, download: Download, from_mirror: bool, reasons: list[tuple[str, str]]) -> bool:
        """Downloads a file unless it is there; where that fails, adds the reasons and returns False."""
        if (self.raw / download.name).exists():
            self._check_existing(download)
            return True

        def record(part: Path) -> None:
            self.records.write(f"{download.name}.download", {"fetched": True, **file_stamp(part)})

        urls = [f"{str(self.mirror).rstrip('/')}/{urllib.parse.quote(download.name)}"] if from_mirror else download.urls
        try:
            fetch(
                download.name,
                urls,
                self.raw,
                size=download.size,
                checksum=download.checksum,
                magic=magic_of(download),
                network=self.network,
                on_verified=record,
            )
        except DownloadError as error:
            reasons += error.reasons
            return False
        self.report.downloaded.append(download.name)
        return True

    def _check_existing(self, download: Download) -> None:
        """Verifies a file that is there already, unless an earlier run has verified it and it has not changed."""
        path = self.raw / download.name
        recorded = self.records.read(f"{download.name}.download")
        if {key: recorded.get(key) for key in ("bytes", "changed")} != file_stamp(path):
            check_manual_file(path, download)
            self.records.write(f"{download.name}.download", {"fetched": False, **file_stamp(path)})
        remove_partial(path)  # a run may have been killed just after it renamed the file

    def _unpack(self, archive: Archive, source: tuple[Download, ...]) -> None:
        first = source[0]
        members = unpack(
            [self.raw / download.name for download in source],
            self.raw / first.into,
            kind="tar" if first.unpack == "tar" else "zip",
            password=first.password,
            workers=self.workers,
        )
        if hasattr(os, "sync"):
            os.sync()  # the record must not reach the disk before the files it lists
        done = {"into": first.into, "keep": self.keep_archives, "files": [list(member) for member in members]}
        self.records.write(f"{archive.name}.unpacked", done)
        self.report.unpacked[archive.name] = len(members)
        self._delete(archive)

    def _delete(self, archive: Archive) -> None:
        """Deletes an unpacked archive that was downloaded here; a file that a user placed there stays."""
        for download in [] if self._is_kept(archive) else archive.downloads:
            if self._is_fetched_here(download):
                (self.raw / download.name).unlink(missing_ok=True)
            remove_partial(self.raw / download.name)

    def _is_kept(self, archive: Archive) -> bool:
        return self.keep_archives or self.records.read(f"{archive.name}.unpacked").get("keep", False)

    def _is_fetched_here(self, download: Download) -> bool:
        return self.records.read(f"{download.name}.download").get("fetched", False)

    def _is_unpacked(self, archive: Archive) -> bool:
        """Whether an earlier run has unpacked it; not where none of its files is left."""
        recorded = self.records.read(f"{archive.name}.unpacked")
        if self.again or not recorded.get("files"):
            return False
        folder = self.raw / recorded.get("into", "")
        try:
            members = [Member(str(path), int(size)) for path, size in recorded["files"]]
        except (TypeError, ValueError):  # a damaged record is none
            return False
        gone = [member.path for member in members if not (folder / member.path).exists()]
        if len(gone) == len(members):
            return False
        if gone:
            self.report.notes.append(
                f"{len(gone):,} of the {len(members):,} files of {archive.name} are missing, for example {gone[0]}"
            )
        self._delete(archive)  # an earlier run may have been stopped just before
        return True

    def _check_free_space(self, files: list[Download], archives: list[Archive]) -> None:
        """Before the first byte: the downloads, and for an archive at least the same again for its contents."""
        to_download = to_unpack = 0
        for download in [*files, *(download for archive in archives for download in archive.sources[0])]:
            size = download.size or 0
            part = self.raw / f"{download.name}.part"
            if not (self.raw / download.name).exists():
                to_download += max(size - (part.stat().st_size if part.exists() else 0), 0)
                # `unpack` checks the exact size of what is not yet unpacked.
                to_unpack += size if download.unpack and not part.exists() else 0
        free = shutil.disk_usage(self.raw).free
        if to_download + to_unpack > free:
            raise SampleCNNError(
                f"{self.raw}: at least {(to_download + to_unpack) / 1e9:.1f} GB are needed ({to_download / 1e9:.1f} to "
                f"download, the rest to unpack) and {free / 1e9:.1f} GB are free; free some space or choose another "
                "--data-dir"
            )

    def _download_error(self) -> SampleCNNError:
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
