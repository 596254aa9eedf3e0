"""How `samplecnn serve` copes with many clients, next to a plain server of FastAPI and PyTorch, and with hostile ones.

    python benchmarks/serve.py RECORDINGS [--minutes 10] [--clients 50] [--peer PYTHON] [--json serve.json]

First, the servers are asked in turns by clients that each send one recording after the other, and every answer is
compared with the tags of a Tagger. Then three in ten clients of `samplecnn serve` are hostile: they send files that
are not sound, damaged ones, hours of silence in a small FLAC and bodies above the limit, send slowly or never finish,
or close the connection before the answer. Every status is compared with the expected one, and the memory of the server
and its processes is measured over time. Clients and servers share the machine.

RECORDINGS is a folder of WAV files. They are sent as they are, joined to longer ones, and as FLAC, Ogg and mp3.
"""

import argparse
import asyncio
import io
import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from samplecnn.bench.rounds import machine
from samplecnn.system.files import write_json
from samplecnn.tagging.tagger import Tagger

MEGABYTES = 8  # the server's limit of a body
SECONDS = 120  # and of a recording
TOLERANCE = 2e-3  # of a score, for another batch size in bfloat16
PEER_TOLERANCE = 0.05  # float32 in place of bfloat16, and samples that are not rounded to 16 bits
ENCODINGS = (("WAV", None), ("FLAC", None), ("OGG", "VORBIS"), ("MP3", None))
HOSTILE = 0.3  # share of the clients


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


class Server:
    """A server process.

    Args:
        command: prints the address first.
        form: sends the file in a form.
    """

    def __init__(self, command: list[str], form: bool, tolerance: float) -> None:
        self.form, self.tolerance = form, tolerance
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line.startswith("http://"):
            raise SystemExit(f"{command[1]} did not start")
        self.host, _, port = line.strip().removeprefix("http://").partition(":")
        self.port = int(port)

    def memory(self) -> float:
        """MB of the process and its children, shared pages counted once (Pss)."""
        return sum(_pss(pid) for pid in _family(self.process.pid)) / 1e3

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


def _family(root: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


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


def sounds(folder: Path, count: int, model: str, engine: str, seed: int) -> tuple[list[Sound], str]:
    """Files with their expected scores, and the engine that computed them."""
    rng = random.Random(seed)
    files = sorted(folder.rglob("*.wav"))
    if len(files) < 20:
        raise SystemExit(f"{folder}: needs 20 WAV files or more")
    found = []
    for number in range(count):
        joined = 1 if number % 4 else rng.randrange(5, 20)
        waves = [soundfile.read(path, dtype="float32") for path in rng.sample(files, joined)]
        rate = waves[0][1]
        wave = np.concatenate([wave for wave, each in waves if each == rate])
        kind, subtype = ENCODINGS[number % len(ENCODINGS)] if joined == 1 else ENCODINGS[number // 4 % len(ENCODINGS)]
        file = io.BytesIO()
        soundfile.write(file, wave, rate, format=kind, subtype=subtype)
        found.append(Sound(file.getvalue(), len(wave) / rate))
    tagger = Tagger(model, engine=engine, segments=100_000)
    for sound in found:
        tags = tagger(sound.data)
        sound.scores = dict(zip(tags.classes, tags.scores.tolist(), strict=True))
    return found, f"{tagger.engine.name}, {tagger.engine.precision}"


def silence(hours: float) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 16_000, 1, format="FLAC") as flac:
        for _ in range(round(60 * hours)):
            flac.write(np.zeros(60 * 16_000, np.int16))
    return file.getvalue()


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


async def load(server: Server, known: list[Sound], clients: int, seconds: float, tally: Tally, seed: int) -> None:
    """Clients that send good requests, one after the other."""
    begun = time.perf_counter()

    async def client(number: int) -> None:
        rng, connection = random.Random(seed * 1000 + number), Connection(server)
        while time.perf_counter() - begun < seconds:
            await good(connection, rng.choice(known), tally)
        connection.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    tally.wall += time.perf_counter() - begun


async def siege(
    server: Server, known: list[Sound], clients: int, seconds: float, tally: Tally
) -> tuple[Counter[str], list[tuple[float, float]]]:
    """Good and hostile clients together; the hostile requests by kind, and (second, MB) of the server's memory."""
    hostile = Hostile(known)
    begun = time.perf_counter()
    counts: Counter[str] = Counter()
    memory: list[tuple[float, float]] = []

    async def client(number: int) -> None:
        rng, connection = random.Random(number), Connection(server)
        while time.perf_counter() - begun < seconds:
            if number >= HOSTILE * clients:
                await good(connection, rng.choice(known), tally)
                continue
            kind, right = rng.choice(hostile.kinds)
            try:
                status = await kind(connection)
            except (OSError, asyncio.IncompleteReadError) as error:
                connection.close()
                tally.wrong.append(f"{kind.__name__}: {type(error).__name__} in place of an answer")
                continue
            counts[kind.__name__] += 1
            if status not in (*right, 429):
                tally.wrong.append(f"{kind.__name__}: {status} in place of {right}")
        connection.close()

    async def watch() -> None:
        while True:
            memory.append((time.perf_counter() - begun, await asyncio.to_thread(server.memory)))
            await asyncio.sleep(2)

    watching = asyncio.ensure_future(watch())
    await asyncio.gather(*(client(number) for number in range(clients)))
    watching.cancel()
    tally.wall += time.perf_counter() - begun
    return counts, memory


def ratios(first: list[float], other: list[float]) -> list[float]:
    """Of turns that followed each other."""
    return [a / b for a, b in zip(first, other, strict=True)]


def figure(name: str, values: list[float], unit: str) -> dict[str, Any]:
    print(f"{name}: {statistics.median(values):,.3g} {unit}", flush=True)
    return {"name": name, "values": values, "unit": unit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--model", default="words")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each of the two parts")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--turn", type=float, default=20.0, help="seconds of one server at a time")
    parser.add_argument("--peer", default=sys.executable, help="Python with FastAPI, PyTorch and samplecnn")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    known, engine = sounds(options.recordings, 200, options.model, options.engine, 0)
    command = [sys.executable, "-m", "samplecnn", "serve", options.model, "--port", "0", "--engine", options.engine]
    command += ["--max-megabytes", str(MEGABYTES), "--max-seconds", str(SECONDS)]
    command += ["--max-queue", str(options.clients + 14)]
    ours = Server(command, form=True, tolerance=TOLERANCE)
    single = Server([*command, "--batch-size", "1"], form=True, tolerance=TOLERANCE)
    plain = [options.peer, str(Path(__file__).parent / "peers" / "fastapi_serve.py"), options.model]
    peer = Server(plain, form=True, tolerance=PEER_TOLERANCE)
    servers = {f"samplecnn serve ({engine})": ours, "  without batches": single, "FastAPI and PyTorch": peer}
    tallies, rates = {name: Tally() for name in servers}, {name: list[float]() for name in servers}
    for server in servers.values():  # warm-up
        asyncio.run(load(server, known, options.clients, 2, Tally(), 99))
    for turn in range(max(round(options.minutes * 60 / options.turn / len(servers)), 1)):
        for name, server in servers.items():
            tally = tallies[name]
            answered, wall = len(tally.seconds), tally.wall
            asyncio.run(load(server, known, options.clients, options.turn, tally, turn))
            rates[name].append((len(tally.seconds) - answered) / (tally.wall - wall))
    single.stop()
    peer.stop()
    figures = []
    for name, tally in tallies.items():
        figures += [
            figure(f"{name}: requests", rates[name], "/s"),
            figure("  50 % of answers within", [1e3 * tally.percentile(0.5)], "ms"),
            figure("  99 % of answers within", [1e3 * tally.percentile(0.99)], "ms"),
            figure("  wrong answers", [len(tally.wrong)], f"of {len(tally.seconds):,}"),
        ]
        print(*tally.wrong[:5], sep="\n")
    first, *others = rates.values()
    for name, other in zip(list(rates)[1:], others, strict=True):
        figures.append(figure(f"requests, times those of: {name.strip()}", ratios(first, other), "×"))
    before = ours.memory()
    tally = Tally()
    counts, memory = asyncio.run(siege(ours, known, options.clients, options.minutes * 60, tally))
    half = [value for second, value in memory if second > options.minutes * 30]
    first_half = [value for second, value in memory if second <= options.minutes * 30]
    figures += [
        figure(f"with {round(HOSTILE * options.clients)} hostile clients: good requests", [tally.rate], "/s"),
        figure("  50 % of answers within", [1e3 * tally.percentile(0.5)], "ms"),
        figure("  99 % of answers within", [1e3 * tally.percentile(0.99)], "ms"),
        figure("  wrong answers", [len(tally.wrong)], f"of {len(tally.seconds) + sum(counts.values()):,}"),
        figure("  hostile requests", [sum(counts.values())], ""),
        figure("  memory before", [before], "MB"),
        figure("  memory, mean of the first half", [statistics.mean(first_half)], "MB"),
        figure("  memory, mean of the second half", [statistics.mean(half)], "MB"),
        figure("  memory at most", [max(value for _, value in memory)], "MB"),
    ]
    print(*tally.wrong[:20], sep="\n")
    print(dict(counts), dict(tally.statuses))
    asyncio.run(load(ours, known, 4, 1, check_after := Tally(), 5))
    status = ours.stop()
    print(f"afterwards {len(check_after.wrong)} wrong of {len(check_after.seconds)}; exit status {status}")
    if options.json:
        about = machine() | {"starlette": version("starlette"), "uvicorn": version("uvicorn")}
        settings = {"rounds": len(first), "clients": options.clients, "minutes": options.minutes}
        settings |= {"model": options.model, "hostile": dict(counts)}
        write_json(options.json, {"bench": "serve", "figures": figures, "machine": about, "settings": settings})


if __name__ == "__main__":
    main()
