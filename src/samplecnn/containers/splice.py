"""A file made of pieces of another one."""

import io
from typing import Any

Pieces = tuple[bytes | range, ...]  # literal bytes, and byte ranges of the other file


class Spliced:
    """Reads pieces of a file as one file, without copying. The position of the file changes."""

    def __init__(self, file: Any, *pieces: bytes | range) -> None:
        self.file, self.pieces = file, pieces
        self.size = sum(map(len, pieces))
        self.at = 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError("before the start")
        self.at = start + offset
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, count: int = -1) -> bytes:
        count = max(self.size - self.at, 0) if count < 0 else count
        found = []
        before = 0
        for piece in self.pieces:
            begin = self.at - before
            before += len(piece)
            if not 0 <= begin < len(piece) or count <= 0:
                continue
            part = piece[begin : begin + count]
            if isinstance(part, range):
                self.file.seek(part.start)
                part = self.file.read(len(part))
            found.append(part)
            self.at += len(part)
            count -= len(part)
            if self.at < before and count > 0:
                break  # the file has become shorter
        return b"".join(found)
