"""One HTTP request for a file: http:// and https:// only, also after redirects; errors sorted by what to do next."""

import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

CHUNK = 1 << 18  # bytes read at once: small enough that Ctrl-C and the progress line answer quickly
SCHEMES = ("http", "https")


@dataclass(frozen=True)
class Network:
    """Time limits and retries of a download.

    Args:
        timeout: seconds without data after which a connection counts as dead.
        attempts: consecutive failures that bring no new bytes before the next mirror is tried.
        pause: seconds before the second attempt, doubled for each further one.
    """

    timeout: float = 60.0
    attempts: int = 5
    pause: float = 1.0


class MirrorRefused(Exception):
    """This mirror cannot give the file, however often it is asked."""


class AttemptFailed(Exception):
    """This attempt failed and another may succeed. `wait`: seconds that the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def is_web_address(url: str) -> bool:
    return urllib.parse.urlsplit(url).scheme in SCHEMES


def open_url(url: str, headers: dict[str, str], timeout: float) -> Any:
    """Sends a GET request and returns the response, a context manager.

    Args:
        headers: in addition to those that every request has.
        timeout: seconds without data after which the connection counts as dead.

    Raises:
        urllib.error.HTTPError: the server answered with an error status.
        MirrorRefused: a redirect to a scheme that is not followed.
        AttemptFailed: the connection failed.
    """
    always = {"User-Agent": "samplecnn", "Accept": "*/*", "Accept-Encoding": "identity"}
    try:
        return _opener().open(urllib.request.Request(url, headers={**always, **headers}), timeout=timeout)
    except urllib.error.HTTPError:
        raise
    except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
        raise AttemptFailed(_reason(error)) from error


def read_chunk(response: Any) -> bytes:
    """The next bytes of the body; b"" at its end, also where it breaks off, which the number of bytes then shows."""
    try:
        return response.read(CHUNK)
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException) as error:
        raise AttemptFailed(_reason(error)) from error


def error_status(error: urllib.error.HTTPError) -> MirrorRefused | AttemptFailed:
    """What an error status means: a temporary failure (408, 425, 429, 5xx), or a refusal."""
    reason = f"HTTP {error.code} {error.reason}".strip()
    if error.code in (408, 425, 429) or error.code >= 500:
        after = error.headers.get("Retry-After", "")
        return AttemptFailed(reason, wait=min(float(after), 60.0) if after.isdigit() else 0.0)
    return MirrorRefused(reason)


def content_range(headers: Any) -> tuple[int, int | None]:
    """First byte and total size of a partial response; -1 where the header is absent or malformed."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
    if not match:
        return -1, None
    return int(match[1]), None if match[3] == "*" else int(match[3])


def unsatisfied_total(headers: Any) -> int | None:
    """The file's size as stated by status 416 (range not satisfiable)."""
    match = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", "").strip())
    return int(match[1]) if match else None


def content_length(headers: Any) -> int | None:
    """Bytes of the response's body; None where the server does not state them."""
    length = headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def validator_of(headers: Any) -> str | None:
    """What identifies this version of the file in If-Range: a strong entity tag, or the date of its last change."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_web_address(newurl):
            raise MirrorRefused(f"it redirects to {newurl.partition(':')[0]}:, only http:// and https:// are followed")
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise MirrorRefused("it redirects from https:// to http://, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """An opener for HTTP alone: urllib's default one also reads file:, ftp: and data: addresses."""
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


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _reason(reason)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or reason or error or type(error).__name__)
