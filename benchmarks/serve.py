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
import random
import statistics
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from serve_clients import Connection, Hostile, Sound, Tally, good
from serve_process import Server

from samplecnn.bench.rounds import machine
from samplecnn.system.files import write_json
from samplecnn.tagging.tagger import Tagger

MEGABYTES = 8  # the server's limit of a body
SECONDS = 120  # and of a recording
TOLERANCE = 2e-3  # of a score, for another batch size in bfloat16
PEER_TOLERANCE = 0.05  # float32 in place of bfloat16, and samples that are not rounded to 16 bits
ENCODINGS = (("WAV", None), ("FLAC", None), ("OGG", "VORBIS"), ("MP3", None))
HOSTILE = 0.3  # share of the clients


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
