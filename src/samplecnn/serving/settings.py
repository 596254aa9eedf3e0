"""The limits and the token of a server."""

import os
from dataclasses import dataclass, fields
from pathlib import Path

from samplecnn.errors import OptionError, UsageError
from samplecnn.parsing import read_text

MEGABYTE = 1 << 20
TOKEN_VARIABLE = "SAMPLECNN_TOKEN"
SHORTEST_TOKEN = 16
ANSWER_SECONDS = 5.0  # for the answer of a request whose time is up


@dataclass(frozen=True)
class ServeLimits:
    """Limits of a server. A request that exceeds one is refused.

    Args:
        max_megabytes: size of an uploaded file (MiB).
        max_seconds: length of a decoded recording. A few kilobytes of FLAC may hold hours of silence.
        max_queue: requests that are processed or wait for it; further ones are refused with status 429.
        request_timeout: seconds for processing a request.
        upload_timeout: seconds for receiving a request.
        max_listeners: WebSocket connections at once.
        batch_size: windows of all requests that the model processes at once.
        decoders: processes that decode.

    Raises:
        OptionError: a value out of range.
    """

    max_megabytes: int = 64
    max_seconds: float = 900.0
    max_queue: int = 64
    request_timeout: float = 60.0
    upload_timeout: float = 60.0
    max_listeners: int = 16
    batch_size: int = 32
    decoders: int = max(4, os.cpu_count() or 1)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "max_listeners" else 1
            if not least <= value < 1e9:
                raise OptionError(field.name, f"must be at least {least}, not {value:g}")

    @property
    def max_bytes(self) -> int:
        return self.max_megabytes * MEGABYTE

    @property
    def grace(self) -> float:
        """Seconds that requests may still take after the server was asked to end: longer than processing one may."""
        return self.request_timeout + ANSWER_SECONDS


def read_token(path: str | None) -> str | None:
    """The token in a file, or else in the environment variable SAMPLECNN_TOKEN; None: there is none.

    Raises:
        UsageError: the file cannot be read, or a token is short or has spaces or control characters in it.
    """
    if path is None:
        token, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
        if token is None:
            return None
        del os.environ[TOKEN_VARIABLE]  # the processes that decode have no use for it
    else:
        where = f"--token-file {path}"
        token = read_text(Path(path), "write a token into it", UsageError)
    token = token.strip()
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(
            f"{where}: a token has {SHORTEST_TOKEN} or more ASCII characters and no spaces; make one with "
            "python -c 'import secrets; print(secrets.token_urlsafe(24))'"
        )
    return token
