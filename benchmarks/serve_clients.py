"""Clients of a server of models, for `serve.py`: good requests, whose answers are checked, and hostile ones."""

import asyncio
import io
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import soundfile
from serve_process import Server


@dataclass
class Sound:
    """A file and the scores that it should get."""

    data: bytes
    seconds: float
    scores: dict[str, float] = field(default_factory=dict)


@dataclass
class Tally:
    """What clients have seen."""

    seconds: list[float] = field(default_factory=list)  # of good requests
    audio: float = 0.0
    wrong: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wall: float = 0.0

    def percentile(self, share: float) -> float:
        return float(np.percentile(self.seconds, 100 * share)) if self.seconds else float("nan")

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.wall


class Connection:
    """A client's connection: HTTP/1.1 with as little work as possible, since it takes from the servers' time."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.reader is None or self.writer is None or self.writer.is_closing():
            self.reader, self.writer = await asyncio.open_connection(self.server.host, self.server.port)
        return self.reader, self.writer

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None

    async def post(self, body: bytes, pace: float = 0.0, length: int | None = None) -> tuple[int, bytes]:
        """Sends a recording and returns status and body.

        Args:
            body: the file.
            pace: seconds between tenths of it.
            length: that is announced; by default that of the body.
        """
        kind = "application/octet-stream"
        if self.server.form:
            part = b'--B\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
            body, kind = part + body + b"\r\n--B--\r\n", "multipart/form-data; boundary=B"
        reader, writer = await self.open()
        size = len(body) if length is None else length
        head = f"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
        writer.write(head.encode())
        if pace:
            step = max(len(body) // 10, 1)
            for first in range(0, len(body), step):
                writer.write(body[first : first + step])
                await asyncio.sleep(pace)
        else:
            writer.write(body)
        return await self.answer(reader)

    async def answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        content = await reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), content


async def good(connection: Connection, sound: Sound, tally: Tally) -> None:
    """One good request."""
    begun = time.perf_counter()
    status, content = await connection.post(sound.data)
    tally.statuses[status] += 1
    if status == 429:  # more clients than the queue takes: the client tries again
        await asyncio.sleep(0.2)
        return
    if status != 200:
        tally.wrong.append(f"{status} for a good recording: {content[:200]!r}")
        return
    tally.seconds.append(time.perf_counter() - begun)
    tally.audio += sound.seconds
    found = json.loads(content)
    check(found.get("tags", found), sound, connection.server.tolerance, tally)


def check(found: dict[str, float], sound: Sound, tolerance: float, tally: Tally) -> None:
    off = max(abs(found.get(name, 9.0) - score) for name, score in sound.scores.items())
    if off > tolerance:
        tally.wrong.append(f"scores are off by {off:.4f}")


def silence(hours: float) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 16_000, 1, format="FLAC") as flac:
        for _ in range(round(60 * hours)):
            flac.write(np.zeros(60 * 16_000, np.int16))
    return file.getvalue()


class Hostile:
    """Requests that a server must refuse or survive, each with the statuses that are right for it."""

    def __init__(self, known: list[Sound]) -> None:
        self.known, self.bomb = known, silence(6)
        self.kinds: list[tuple[Callable[[Connection], Awaitable[int | None]], tuple[int | None, ...]]] = [
            (self.no_sound, (422,)),
            (self.damaged, (422,)),
            (self.empty, (400,)),
            (self.silence_bomb, (422,)),
            (self.oversized, (413,)),
            (self.unannounced, (413,)),
            (self.slow, (200,)),
            (self.never_ends, (408,)),
            (self.goes, (None,)),
            (self.nonsense, (400,)),
        ]
        self.rng = random.Random(1)

    async def no_sound(self, connection: Connection) -> int:
        return (await connection.post(self.rng.randbytes(50_000)))[0]

    async def damaged(self, connection: Connection) -> int:
        data = next(each.data for each in self.known if each.data[:4] == b"RIFF")
        return (await connection.post(data[: len(data) // 2]))[0]

    async def empty(self, connection: Connection) -> int:
        return (await connection.post(b""))[0]

    async def silence_bomb(self, connection: Connection) -> int:
        return (await connection.post(self.bomb))[0]

    async def oversized(self, connection: Connection) -> int:
        status, _ = await connection.post(bytes(1 << 16), length=1 << 34)
        connection.close()
        return status

    async def unannounced(self, connection: Connection) -> int:
        """A chunked body that does not end."""
        reader, writer = await connection.open()
        writer.write(b"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = asyncio.ensure_future(connection.answer(reader))
        block = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        while not answer.done():
            try:
                writer.write(block)
                await asyncio.wait_for(writer.drain(), 5)
            except (OSError, TimeoutError):
                break
            await asyncio.sleep(0)
        status, _ = await answer
        connection.close()
        return status

    async def slow(self, connection: Connection) -> int:
        return (await connection.post(self.rng.choice(self.known).data, pace=0.3))[0]

    async def never_ends(self, connection: Connection) -> int:
        reader, writer = await connection.open()
        writer.write(b"POST /v1/tag HTTP/1.1\r\nHost: localh")
        status, _ = await connection.answer(reader)
        connection.close()
        return status

    async def goes(self, connection: Connection) -> None:
        _, writer = await connection.open()
        data = self.rng.choice(self.known).data
        writer.write(b"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        await asyncio.sleep(self.rng.random() * 0.05)
        connection.close()

    async def nonsense(self, connection: Connection) -> int:
        connection.close()
        reader, writer = await connection.open()
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        status, _ = await connection.answer(reader)
        connection.close()
        return status
