"""Files over HTTP, resumed where the last attempt stopped, and in place only when whole and right.

A download grows as `NAME.part`; `NAME.part.json` beside it remembers what the server said of the file (address, entity
tag, size), so that a later run goes on from there or, where the file has changed since, starts again. Only http:// and
https:// are spoken, also after a redirect, and no name that a server gives is ever used.
"""

import contextlib
import errno
import glob
import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.system.files import write_json
from samplecnn.system.progress import Progress

MEGABYTE = 1_000_000  # as disks and servers count
CHUNK = 1 << 18  # bytes read at once: small enough that Ctrl-C and the progress line answer quickly


@dataclass(frozen=True)
class Network:
    """How patient a download is.

    Args:
        timeout: seconds of silence after which a connection counts as dead.
        attempts: failures in a row that bring no new bytes before the next mirror is tried.
        pause: seconds before the second attempt, doubled for each further one.
    """

    timeout: float = 60.0
    attempts: int = 5
    pause: float = 1.0


class DownloadError(SampleCNNError):
    """No mirror gave the file. `reasons` holds (address, why) for each that was tried."""

    def __init__(self, name: str, reasons: Sequence[tuple[str, str]]) -> None:
        self.name, self.reasons = name, list(reasons)
        tried = "".join(f"\n    {url}: {why}" for url, why in self.reasons) or " there is no address to try"
        super().__init__(f"{name} could not be downloaded:{tried}")


class _Refused(Exception):
    """This mirror will not do, however often it is asked."""


class _Broken(Exception):
    """This attempt failed; another may do better. `wait`: seconds that the server asked for."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


def fetch(
    name: str,
    urls: Sequence[str],
    folder: str | Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    magic: tuple[bytes, ...] = (),
    network: Network | None = None,
) -> Path:
    """Downloads one file into `folder` and returns its path.

    Args:
        name: the file's name here, whatever the server calls it.
        urls: mirrors, tried in order.
        size: bytes, where known; a mirror whose file has another size is passed over.
        checksum: "sha256:..." or "md5:...", where known.
        magic: what the file may begin with (b"PK"); empty accepts all but web pages.

    Raises:
        DownloadError: no mirror gave the whole, right file. What was received stays as NAME.part.
        SampleCNNError: the disk is full or the folder cannot be written.
    """
    if Path(name).name != name or name in ("", ".", ".."):
        raise UsageError(f"{name!r} is not a plain file name")
    folder = Path(folder)
    job = _Job(name, folder / f"{name}.part", size, checksum, magic, network or Network())
    reasons = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for url in urls:
            try:
                job.from_mirror(url)
            except _Refused as refusal:
                reasons.append((url, str(refusal)))
                continue
            job.part.replace(folder / name)
            job.forget()
            return folder / name
    except OSError as error:
        raise _disk_trouble(error, job) from error
    raise DownloadError(name, reasons)


def digest(path: str | Path, checksum: str) -> str:
    """The file's checksum in the form of the given one ("sha256:...", "md5:...")."""
    kind = checksum.partition(":")[0]
    value = hashlib.new(kind)
    path = Path(path)
    meter = _Meter(f"verify {path.name.removesuffix('.part')}", path.stat().st_size)
    with path.open("rb") as file, meter.progress:
        while chunk := file.read(1 << 20):
            value.update(chunk)
            meter.at(file.tell())
    return f"{kind}:{value.hexdigest()}"


def looks_like_page(head: bytes) -> bool:
    """Whether a file that begins so is a web page: what log-in and confirmation pages send in place of an archive."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<script"))


class _Job:
    """One file's download, over however many mirrors and attempts it takes."""

    def __init__(
        self, name: str, part: Path, size: int | None, checksum: str | None, magic: tuple[bytes, ...], network: Network
    ) -> None:
        self.name, self.part, self.size, self.checksum, self.magic = name, part, size, checksum, magic
        self.network = network
        self.notes = part.with_name(part.name + ".json")

    def from_mirror(self, url: str) -> None:
        """Leaves the whole, verified file at `part`; raises _Refused where this mirror cannot give it."""
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise _Refused("only http:// and https:// addresses are used")
        started_at, failures, best = self._have(), 0, self._have()
        with _Meter(self.name, self.size or self._noted().get("total") or 0, started_at).progress as progress:
            while True:
                try:
                    self._attempt(url, progress)
                    break
                except _Broken as broken:
                    have = self._have()
                    # An attempt that brought new bytes is no failure: a slow line may break a hundred times on the way.
                    failures = 1 if have > best else failures + 1
                    best = max(best, have)
                    if failures >= self.network.attempts:
                        raise _Refused(
                            f"{broken}, {failures} times in a row" if failures > 1 else str(broken)
                        ) from broken
                    progress.note = f"{broken}; trying again"
                    time.sleep(max(broken.wait, self.network.pause * 2 ** (failures - 1)))
        self._verify(url, resumed=started_at > 0)

    def _attempt(self, url: str, progress: Progress) -> None:
        have, noted = self._have(), self._noted()
        same = noted.get("url") == url
        known_total = self.size or noted.get("total")
        # Bytes from elsewhere may be continued only where the size or checksum will tell whether the halves match.
        if have and not (same or self.size or self.checksum):
            have = 0
        if have and known_total is None and not noted.get("validator"):
            have = 0
        if have and self.size and have > self.size:
            have = 0
        if have and have == self.size:
            return
        headers = {"User-Agent": "samplecnn", "Accept": "*/*", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if same and noted.get("validator"):
                headers["If-Range"] = noted["validator"]
        try:
            request = urllib.request.Request(url, headers=headers)
            response = _opener().open(request, timeout=self.network.timeout)
        except urllib.error.HTTPError as error:
            self._refusal(error, have)
            return
        except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
            raise _Broken(_why(error)) from error
        with response:
            self._receive(url, response, have, progress)

    def _refusal(self, error: urllib.error.HTTPError, have: int) -> None:
        """An answer that is no file. Returns where it says that all bytes are here already, else raises."""
        with error:
            if error.code == 416 and have:
                total = _range_total(error.headers.get("Content-Range", ""))
                if total == have and self.size in (None, have):
                    return
                if total is not None and self.size not in (None, total):
                    raise _Refused(self._other_size(total))
                self._start_again()
                raise _Broken("the file at the server has changed")
            why = f"HTTP {error.code} {error.reason}".strip()
            if error.code in (408, 425, 429) or error.code >= 500:
                after = error.headers.get("Retry-After", "")
                raise _Broken(why, wait=min(float(after), 60.0) if after.isdigit() else 0.0)
            raise _Refused(why)

    def _receive(self, url: str, response: Any, have: int, progress: Progress) -> None:
        headers = response.headers
        if headers.get("Content-Encoding", "identity") not in ("", "identity"):
            raise _Refused(f"the server changes the file on the way (Content-Encoding {headers['Content-Encoding']})")
        if headers.get_content_type() == "text/html":
            raise _Refused("a web page came in place of the file (a log-in, confirmation or error page)")
        etag = headers.get("ETag", "")
        validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
        noted = self._noted()
        length = headers.get("Content-Length", "")
        expected = int(length) if length.isdigit() else None
        if response.status == 206:
            start, total = _range(headers.get("Content-Range", ""))
            if total is not None and self.size not in (None, total):
                raise _Refused(self._other_size(total))
            changed = noted.get("url") == url and noted.get("validator") and validator != noted["validator"]
            if start != have or changed or (total is not None and noted.get("total") not in (None, total)):
                self._start_again()
                raise _Broken("the file at the server has changed")
        elif response.status == 200:  # from the beginning: nothing was asked for, or Range is not known there
            have, total = 0, expected
            if total is not None and self.size not in (None, total):
                raise _Refused(self._other_size(total))
        else:
            raise _Refused(f"HTTP {response.status} {response.reason}".strip())

        total = total if total is not None else self.size
        chunk = _read(response)
        if have == 0:
            self._judge(chunk)
        if total is not None:
            free = shutil.disk_usage(self.part.parent).free
            if free < total - have:
                raise SampleCNNError(
                    f"{self.part.parent}: {_mb(total - have)} of {self.name} are still to come, {_mb(free)} are free; "
                    "free some space and run the same command again"
                )
        write_json(self.notes, {"url": url, "validator": validator, "total": total})
        progress.total = (total or 0) // MEGABYTE
        received = 0
        with self.part.open("r+b" if have else "wb") as file:
            if have:
                file.seek(have)
                file.truncate()
            while chunk:
                file.write(chunk)
                received += len(chunk)
                _advance(progress, have + received)
                chunk = _read(response)
            file.flush()
            os.fsync(file.fileno())
        if (expected is not None and received < expected) or (total is not None and have + received < total):
            raise _Broken(
                f"the connection broke off at {_mb(have + received)} of {_mb(total or have + (expected or 0))}"
            )
        if total is not None and have + received > total:
            raise _Refused(f"{have + received:,} bytes came for a file of {total:,}")

    def _other_size(self, size: int) -> str:
        return f"the file there has {size:,} bytes, the published one {self.size:,}"

    def _judge(self, head: bytes) -> None:
        if looks_like_page(head):
            raise _Refused("a web page came in place of the file (a log-in, confirmation or error page)")
        if self.magic and not head.startswith(self.magic):
            raise _Refused("what came is not an archive" if head else "the file there is empty")

    def _verify(self, url: str, resumed: bool) -> None:
        have = self._have()
        wrong = ""
        if self.size is not None and have != self.size:
            wrong = f"{have:,} bytes came, the published file has {self.size:,}"
        elif self.checksum and digest(self.part, self.checksum) != self.checksum.lower():
            wrong = f"the {self.checksum.partition(':')[0]} checksum is not the published one"
        if not wrong:
            return
        self._start_again()
        if resumed:  # the older half may be what is wrong: once more, all from this mirror
            self.from_mirror(url)
        else:
            raise _Refused(wrong)

    def _start_again(self) -> None:
        self.part.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        """Removes the notes, and what processes left that were killed while they took them."""
        self.notes.unlink(missing_ok=True)
        for left in self.notes.parent.glob(f".{glob.escape(self.notes.name)}.*.part"):
            left.unlink(missing_ok=True)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _noted(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            noted = json.loads(self.notes.read_text(encoding="utf-8"))
            if isinstance(noted, dict):
                return noted
        return {}


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise _Refused(f"it leads to {newurl.partition(':')[0]}:, and only http:// and https:// are followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """An opener that knows HTTP alone: urllib's own would also read file:, ftp: and data: addresses."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _read(response: Any) -> bytes:
    """The next bytes of the body; b"" at its end and also where it breaks off, which the byte count then tells."""
    try:
        return response.read(CHUNK)
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_why(error)) from error


def _range(value: str) -> tuple[int, int | None]:
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", value.strip())
    if not match:
        return -1, None
    return int(match[1]), None if match[3] == "*" else int(match[3])


def _range_total(value: str) -> int | None:
    match = re.fullmatch(r"bytes \*/(\d+)", value.strip())
    return int(match[1]) if match else None


def _why(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _why(reason)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or reason or error or type(error).__name__)


def _mb(count: int) -> str:
    return f"{count / MEGABYTE:,.0f} MB" if count >= 10 * MEGABYTE else f"{count:,} bytes"


def _disk_trouble(error: OSError, job: _Job) -> SampleCNNError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SampleCNNError(
            f"{job.part}: the disk is full; free some space and run the same command again, it goes on from here"
        )
    return SampleCNNError(
        f"{error.filename or job.part}: {error.strerror or error}; check the folder and its permissions"
    )


class _Meter:
    """A progress line in whole megabytes."""

    def __init__(self, description: str, total: int, done: int = 0) -> None:
        self.progress = Progress(total // MEGABYTE, description, "MB", done=done // MEGABYTE)

    def at(self, count: int) -> None:
        _advance(self.progress, count)


def _advance(progress: Progress, count: int) -> None:
    whole = count // MEGABYTE
    if whole < progress.done:  # the server began again from the start
        progress.done = progress.start_at = whole
    elif whole > progress.done:
        progress.advance(whole - progress.done)
