"""Downloads of single files, resumed after interruptions and renamed into place only when complete and verified.

A download grows as `NAME.part`. `NAME.part.json` next to it records what the server said about the file (address,
entity tag, size), so that a later run resumes it or, where the file has changed since, restarts. Names that a server
sends are never used.
"""

import errno
import os
import shutil
import time
import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from samplecnn.datasets.download import http
from samplecnn.datasets.download.byte_progress import MEGABYTE, ByteProgress, in_units
from samplecnn.datasets.download.http import AttemptFailed, MirrorRefused, Network
from samplecnn.datasets.download.verify import digest, looks_like_page
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.parsing import fields, find_object, line, or_null, whole
from samplecnn.system.files import sweep, write_json

# Limits for a response whose length nobody states, so that it cannot fill the disk.
MAX_UNKNOWN_SIZE = 50_000 * MEGABYTE  # bytes; the largest known file has a few thousand megabytes
FREE_RESERVE = 1_000 * MEGABYTE  # bytes of free disk space that are left
CHECK_EVERY = 16 * MEGABYTE  # bytes between two looks at the free disk space

_RECORD = fields(
    {"url": line(10_000), "validator": or_null(line(10_000)), "total": or_null(whole(0, 1 << 62))},
    optional=("validator", "total"),
)
PAGE = "a web page came in place of the file (a log-in, confirmation or error page)"


class DownloadError(SampleCNNError):
    """No mirror gave the file. `reasons` holds (address, reason) for each that was tried."""

    def __init__(self, name: str, reasons: Sequence[tuple[str, str]]) -> None:
        self.name, self.reasons = name, list(reasons)
        tried = "".join(f"\n    {url}: {why}" for url, why in self.reasons) or " there is no address to try"
        super().__init__(f"{name} could not be downloaded:{tried}")


def fetch(
    name: str,
    urls: Sequence[str],
    folder: str | Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    magic: tuple[bytes, ...] = (),
    network: Network | None = None,
    on_verified: Callable[[Path], None] | None = None,
) -> Path:
    """Downloads one file into `folder` and returns its path.

    Args:
        name: file name in `folder`, whatever the server calls it.
        urls: mirrors, tried in order.
        size: bytes, where known; a mirror whose file has another size is skipped.
        checksum: "sha256:..." or "md5:...", where known.
        magic: first bytes that the file may have (b"PK"); empty accepts everything but web pages.
        on_verified: called with NAME.part when it is complete and verified, just before it is renamed. What it records
            about the file cannot be missing later, at whatever point the process is killed.

    Raises:
        DownloadError: no mirror gave the complete, correct file. What was received stays as NAME.part.
        SampleCNNError: the disk is full or the folder cannot be written.
    """
    if Path(name).name != name or name in ("", ".", ".."):
        raise UsageError(f"{name!r} is not a plain file name")
    path = Path(folder) / name
    transfer = _Transfer(path, size, checksum, magic, network or Network())
    reasons = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            try:
                transfer.from_mirror(url)
            except MirrorRefused as refusal:
                reasons.append((url, str(refusal)))
                continue
            if on_verified is not None:
                on_verified(transfer.part)
            transfer.part.replace(path)
            remove_partial(path)
            return path
    except OSError as error:
        raise _disk_error(error, transfer.part) from error
    raise DownloadError(name, reasons)


def remove_partial(path: Path) -> None:
    """Removes NAME.part and its record, also a half-written one: a file's earlier attempts, whatever ended them."""
    part, record = _partial(path)
    part.unlink(missing_ok=True)
    record.unlink(missing_ok=True)
    sweep(path.parent, record.name)


def _partial(path: Path) -> tuple[Path, Path]:
    """Where a download grows, and its record."""
    return path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")


class _Transfer:
    """One file's download, over any number of mirrors and attempts."""

    def __init__(
        self, path: Path, size: int | None, checksum: str | None, magic: tuple[bytes, ...], network: Network
    ) -> None:
        self.path, self.name, self.network = path, path.name, network
        self.size, self.checksum, self.magic = size, checksum, magic
        self.part, self.record = _partial(path)

    def from_mirror(self, url: str) -> None:
        """Leaves the complete, verified file at `part`; raises MirrorRefused where this mirror cannot give it."""
        if not http.is_web_address(url):
            raise MirrorRefused("only http:// and https:// addresses are used")
        started_at = most = self._received()
        failures = 0
        with ByteProgress(self.name, self.size or self._recorded().get("total") or 0, started_at) as progress:
            while True:
                try:
                    self._attempt(url, progress)
                    break
                except AttemptFailed as failure:
                    received = self._received()
                    # An attempt that brought new bytes is no failure: a slow connection may break a hundred times.
                    failures = 1 if received > most else failures + 1
                    most = max(most, received)
                    if failures >= self.network.attempts:
                        raise MirrorRefused(
                            f"{failure}, {failures} times in a row" if failures > 1 else str(failure)
                        ) from failure
                    progress.note = f"{failure}; trying again"
                    time.sleep(max(failure.wait, self.network.pause * 2 ** (failures - 1)))
        self._verify(url, resumed=started_at > 0)

    def _attempt(self, url: str, progress: ByteProgress) -> None:
        resume_at = self._resume_at(url)
        if resume_at and resume_at == self.size:
            return
        headers = {}
        if resume_at:
            headers["Range"] = f"bytes={resume_at}-"
            recorded = self._recorded()
            if recorded.get("url") == url and recorded.get("validator"):
                headers["If-Range"] = recorded["validator"]
        try:
            response = http.open_url(url, headers, self.network.timeout)
        except urllib.error.HTTPError as error:
            with error:
                if self._is_complete(error, resume_at):
                    return
                raise http.error_status(error) from error
        with response:
            self._receive(url, response, resume_at, progress)

    def _resume_at(self, url: str) -> int:
        """Bytes of the part that this mirror can continue; 0 where it has to start over."""
        received, recorded = self._received(), self._recorded()
        if self.size and received > self.size:
            return 0
        # Bytes of another source are continued only where a size or checksum will tell whether the halves match.
        if not (recorded.get("url") == url or self.size or self.checksum):
            return 0
        if (self.size or recorded.get("total")) is None and not recorded.get("validator"):
            return 0
        return received

    def _is_complete(self, error: urllib.error.HTTPError, resume_at: int) -> bool:
        """Whether status 416 (range not satisfiable) says that all bytes have been received already."""
        if error.code != 416 or not resume_at:
            return False
        total = http.unsatisfied_total(error.headers)
        if total == resume_at and self.size in (None, resume_at):
            return True
        if total is not None:
            self._check_total(total)
        remove_partial(self.path)
        raise AttemptFailed("the file at the server has changed")

    def _receive(self, url: str, response: Any, resume_at: int, progress: ByteProgress) -> None:
        headers = response.headers
        if headers.get("Content-Encoding", "identity") not in ("", "identity"):
            raise MirrorRefused(f"the server sends the file encoded (Content-Encoding {headers['Content-Encoding']})")
        if headers.get_content_type() == "text/html":
            raise MirrorRefused(PAGE)
        length, validator = http.content_length(headers), http.validator_of(headers)
        if response.status == 206:
            start, total = http.content_range(headers)
            if total is not None:
                self._check_total(total)
            recorded = self._recorded()
            changed = recorded.get("url") == url and recorded.get("validator") not in (None, "", validator)
            if start != resume_at or changed or (total is not None and recorded.get("total") not in (None, total)):
                remove_partial(self.path)
                raise AttemptFailed("the file at the server has changed")
        elif response.status == 200:  # from the start: no range was asked for, or the server does not support it
            resume_at, total = 0, length
            if total is not None:
                self._check_total(total)
        else:
            raise MirrorRefused(f"HTTP {response.status} {response.reason}".strip())

        total = total if total is not None else self.size
        chunk = http.read_chunk(response)
        if resume_at == 0:
            self._check_start(chunk)
        if total is not None:
            self._check_free_space(total - resume_at)
        write_json(self.record, {"url": url, "validator": validator, "total": total})
        progress.set_total(total or 0)
        count = self._write(response, chunk, resume_at, total, progress)
        if (length is not None and count - resume_at < length) or (total is not None and count < total):
            of = in_units(total or resume_at + (length or 0))
            raise AttemptFailed(f"the connection broke off at {in_units(count)} of {of}")
        if total is not None and count > total:
            raise MirrorRefused(f"{count:,} bytes came for a file of {total:,}")

    def _write(self, response: Any, chunk: bytes, count: int, total: int | None, progress: ByteProgress) -> int:
        """Appends the response's body to the part from byte `count` on; returns the bytes that it then has."""
        checked = count
        with self.part.open("r+b" if count else "wb") as file:
            if count:
                file.seek(count)
                file.truncate()
            while chunk:
                file.write(chunk)
                count += len(chunk)
                progress.move_to(count)
                if total is None and count - checked > CHECK_EVERY:
                    checked = count
                    self._check_unknown_size(count)
                chunk = http.read_chunk(response)
            file.flush()
            os.fsync(file.fileno())
        return count

    def _check_total(self, total: int) -> None:
        if self.size not in (None, total):
            raise MirrorRefused(f"the file there has {total:,} bytes, the published one {self.size:,}")

    def _check_free_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if free < needed:
            raise SampleCNNError(
                f"{self.part.parent}: {in_units(needed)} of {self.name} are still to come, {in_units(free)} are free; "
                "free some space and run the same command again"
            )

    def _check_unknown_size(self, count: int) -> None:
        if count > MAX_UNKNOWN_SIZE:
            remove_partial(self.path)
            raise MirrorRefused(f"more than {in_units(MAX_UNKNOWN_SIZE)} came without a stated length")
        free = shutil.disk_usage(self.part.parent).free
        if free < FREE_RESERVE:
            raise SampleCNNError(
                f"{self.part.parent}: {in_units(count)} of {self.name} have come, the server does not state its size, "
                f"and only {in_units(free)} are free; free some space and run the same command again"
            )

    def _check_start(self, head: bytes) -> None:
        if looks_like_page(head):
            raise MirrorRefused(PAGE)
        if self.magic and not head.startswith(self.magic):
            raise MirrorRefused("what came is not an archive" if head else "the file there is empty")

    def _verify(self, url: str, resumed: bool) -> None:
        received = self._received()
        fault = ""
        if self.size is not None and received != self.size:
            fault = f"{received:,} bytes came, the published file has {self.size:,}"
        elif self.checksum and digest(self.part, self.checksum) != self.checksum.lower():
            fault = f"the {self.checksum.partition(':')[0]} checksum is not the published one"
        if not fault:
            return
        remove_partial(self.path)
        if resumed:  # the bytes of the earlier run may be the wrong ones: once more, all from this mirror
            self.from_mirror(url)
        else:
            raise MirrorRefused(fault)

    def _received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _recorded(self) -> dict[str, Any]:
        return find_object(self.record, _RECORD) or {}


def _disk_error(error: OSError, part: Path) -> SampleCNNError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SampleCNNError(f"{part}: the disk is full; free some space and run the same command again to resume")
    return SampleCNNError(f"{error.filename or part}: {error.strerror or error}; check the folder and its permissions")
