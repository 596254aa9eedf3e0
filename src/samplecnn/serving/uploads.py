"""Receives a recording: the body of a request, or a file in a form. Large ones go to a temporary file."""

import asyncio
import logging
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from samplecnn.serving.problems import Problem
from samplecnn.serving.settings import ServeLimits

IN_MEMORY = 1 << 18  # bytes of a file up to which it is kept in memory
MAX_FIELDS, MAX_FIELD_BYTES = 32, 10_000  # of a form, besides the file
NAME_BYTES = 255
# Types of raw bodies. curl sends the last one for --data-binary, whatever the file is.
ACCEPTED = ("audio/", "video/", "application/ogg", "application/octet-stream", "application/x-www-form-urlencoded")

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # invalid forms are reported to the client


@dataclass
class Upload:
    """A received file.

    Args:
        name: that the client gave it; it says nothing of its format.
        data: its bytes, or b"" where it is at `path`.
        size: in bytes.
        fields: further fields of a form.
    """

    name: str = ""
    data: bytes = b""
    path: str = ""
    size: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)

    def close(self) -> None:
        """Removes the temporary file."""
        if self.path:
            with suppress(OSError):
                Path(self.path).unlink()
            self.path = ""


class _Spool:
    """Gathers a file, in memory up to IN_MEMORY."""

    def __init__(self, folder: str | None) -> None:
        self.folder, self.data, self.size, self.path = folder, bytearray(), 0, ""
        self._file: Any = None

    def write(self, block: bytes) -> None:
        self.size += len(block)
        if self._file is None and self.size > IN_MEMORY:
            handle, self.path = tempfile.mkstemp(prefix="upload-", dir=self.folder)
            self._file = os.fdopen(handle, "wb")
            self._file.write(self.data)
            self.data = bytearray()
        if self._file is None:
            self.data += block
        else:
            self._file.write(block)

    def finish(self) -> Upload:
        if self._file is not None:
            self._file.close()
        return Upload(data=bytes(self.data), path=self.path, size=self.size)

    def discard(self) -> None:
        self.finish().close()


async def receive_upload(request: Request, limits: ServeLimits, folder: str | None) -> Upload:
    """Reads a request's file.

    Args:
        request: its body has not been read.
        limits: of its size and of the time it may take.
        folder: for temporary files.

    Raises:
        Problem: too large (413), too slow (408), of another type (415), no or several files in a form (400).
        ClientDisconnect: the client has closed the connection.
    """
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    is_form = kind == "multipart/form-data"
    if not is_form and not kind.startswith(ACCEPTED):
        raise Problem(415, f"{kind} is not sound; send the bytes of a recording, or multipart/form-data with one file")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise Problem(415, f"content encoding {encoding}; send the file as it is", {"Accept-Encoding": "identity"})
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limits.max_bytes:
        raise _too_large(limits)
    limited = Request(request.scope, _limited(request, limits), request._send)
    try:
        async with asyncio.timeout(limits.upload_timeout):
            upload = await (_from_form if is_form else _from_body)(limited, folder)
    except TimeoutError:
        raise Problem(408, f"the request was not complete after {limits.upload_timeout:g} s") from None
    if upload.size == 0:
        upload.close()
        raise Problem(400, "the request has no recording in it; send the bytes of one")
    return upload


def _limited(request: Request, limits: ServeLimits) -> Any:
    """The request's `receive`, which refuses more bytes than are allowed."""
    received = 0
    overhead = MAX_FIELDS * MAX_FIELD_BYTES if "multipart" in request.headers.get("content-type", "") else 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limits.max_bytes + overhead:
            raise _too_large(limits)
        return message

    return receive


async def _from_body(request: Request, folder: str | None) -> Upload:
    spool = _Spool(folder)
    try:
        async for block in request.stream():
            spool.write(block)
    except BaseException:
        spool.discard()
        raise
    return spool.finish()


async def _from_form(request: Request, folder: str | None) -> Upload:
    parser = MultiPartParser(
        request.headers, request.stream(), max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
    )
    parser.spool_max_size = IN_MEMORY
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = getattr(error, "message", "") or "it is not multipart/form-data"
        raise Problem(400, f"the form cannot be read ({reason})") from error
    try:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if len(files) != 1:
            raise Problem(400, "the form has no file in it; send one")
        spool = _Spool(folder)
        try:
            while block := await files[0].read(1 << 16):
                spool.write(block)
        except BaseException:
            spool.discard()
            raise
        upload = spool.finish()
        upload.name = files[0].filename or ""
        upload.fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        return upload
    finally:
        await form.close()


def file_name(text: str) -> str:
    """A name without folders, short, for answers and downloads."""
    name = text.replace("\\", "/").rpartition("/")[2].replace("\0", "")
    return name.encode("utf-8", "replace")[-NAME_BYTES:].decode("utf-8", "ignore") or "recording"


def _too_large(limits: ServeLimits) -> Problem:
    return Problem(413, f"more than {limits.max_megabytes:,} MiB, the limit of this server")


__all__ = ["ClientDisconnect", "Upload", "file_name", "receive_upload"]
