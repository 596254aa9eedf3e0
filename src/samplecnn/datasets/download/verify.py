"""Checks of a downloaded file: checksum, first bytes, and web pages that came in place of the file."""

import hashlib
from pathlib import Path

from samplecnn.datasets.download.byte_progress import ByteProgress

CHUNK = 1 << 20  # bytes read at once


def digest(path: str | Path, checksum: str) -> str:
    """The file's checksum in the form and with the algorithm of the given one ("sha256:...", "md5:...")."""
    kind = checksum.partition(":")[0]
    value = hashlib.new(kind)
    path = Path(path)
    progress = ByteProgress(f"verify {path.name.removesuffix('.part')}", path.stat().st_size)
    with path.open("rb") as file, progress:
        while chunk := file.read(CHUNK):
            value.update(chunk)
            progress.move_to(file.tell())
    return f"{kind}:{value.hexdigest()}"


def looks_like_page(head: bytes) -> bool:
    """Whether a file with these first bytes is a web page: servers answer so with a log-in or confirmation page."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<script"))
