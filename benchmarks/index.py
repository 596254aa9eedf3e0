"""What an index costs: updates over many files, memory, bytes, and the search for similar sounds.

    python benchmarks/index.py [--files 100000] [--windows 1000000] [--rounds 3] [--json index.json]

Updates are the command `samplecnn index update`, a process each, on recordings of a tenth of a second and a tiny
network, so that what is measured is the index and not the model. Bytes are those of 10 minutes of generated music at
a hop of 1 s, with an untrained `se` network of MagnaTagATune's size (50 classes, embeddings of 512 values). The
search runs over an index of random embeddings of that size. Files are in the page cache. Seconds of the processor are
the sum over its cores: on a busy machine, they tell more than the clock.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from samplecnn.bench.recordings import RATE, music
from samplecnn.bench.rounds import machine
from samplecnn.datasets import REGISTRY
from samplecnn.index import read_index, update_index
from samplecnn.index.entry import Entry
from samplecnn.index.packing import packed
from samplecnn.index.part_writer import write_part
from samplecnn.index.settings import IndexSettings
from samplecnn.index.similar import Query, find_similar
from samplecnn.index.summary import describe_index
from samplecnn.inference.precision import random_model
from samplecnn.model_files import save
from samplecnn.models.config import ModelConfig
from samplecnn.system.files import write_json
from samplecnn.task import Task

FEW, MANY = 1_000, 20_000  # files whose memory is compared
SAMPLES = 800  # of a recording, at 8 kHz
PER_FOLDER = 1_000
WINDOWS_PER_RECORDING, RECORDINGS_PER_PART = 600, 40  # 10 minutes at a hop of 1 s; parts of about 16 MB
TEN_MINUTES = 600
# The command, which also says its peak memory: ru_maxrss would be that of this process, from which it is started.
UPDATE = """
import sys
from samplecnn.cli.app import main
try:
    main()
finally:
    print(*(line for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


def recordings(folder: Path, first: int, last: int) -> None:
    """Recordings number `first` to `last`, all different."""
    random = np.random.default_rng(first)
    pattern = folder / "pattern.wav"
    folder.mkdir(exist_ok=True)
    soundfile.write(pattern, np.zeros(SAMPLES), 8000, subtype="PCM_16")
    header = pattern.read_bytes()[: -2 * SAMPLES]
    pattern.unlink()
    for number in range(first, last):
        place = folder / f"{number // PER_FOLDER:03d}"
        place.mkdir(exist_ok=True)
        (place / f"{number:06d}.wav").write_bytes(header + random.integers(-9000, 9000, SAMPLES, np.int16).tobytes())


def update(index: Path, *words: str) -> tuple[float, float, int]:
    """Seconds, seconds of the processor, and peak memory in bytes of `samplecnn index update`."""
    command = [sys.executable, "-c", UPDATE, "index", "update", str(index), *words, "--quiet"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read().split()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, int(said[-2]) * 1024


def tiny_model(folder: Path) -> Path:
    task = Task("tiny", ("a", "b", "c"), "multilabel", 8000, 729, std=0.2)
    save(random_model(ModelConfig(block="basic", num_blocks=4, num_classes=3, features=8), task), folder)
    return folder


def measured_updates(folder: Path, files: int, rounds: int) -> list[dict[str, Any]]:
    model, sounds, index = tiny_model(folder / "model"), folder / "sounds", folder / "sounds.index"
    words = (str(sounds), "--model", str(model), "--engine", "numpy", "--precision", "fp32")
    recordings(sounds, 0, FEW)
    *_, few = update(folder / "few.index", *words)
    recordings(sounds, FEW, MANY)
    first, _, many = update(index, *words)
    found = [
        _figure(f"first update, {MANY:,} files", [MANY / first], "files/s"),
        _figure(f"peak memory of an update with {FEW:,} new files", [few / 1e6], "MB"),
        _figure(f"peak memory of an update with {MANY:,} new files", [many / 1e6], "MB"),
    ]
    recordings(sounds, MANY, files)
    if files > MANY:
        update(index, *words)
    again = [update(index) for _ in range(rounds)]
    found.append(_figure(f"update, {files:,} unchanged files", [seconds for seconds, *_ in again], "s"))
    found.append(_figure("  the same, seconds of the processor", [seconds for _, seconds, _ in again], "s"))
    found.append(_figure(f"peak memory, {files:,} unchanged files", [memory / 1e6 for *_, memory in again], "MB"))
    return found


def music_model(folder: Path) -> Path:
    save(random_model(ModelConfig(num_blocks=9, num_classes=50), REGISTRY["mtt"].task()), folder)
    return folder


def measured_bytes(folder: Path, model: Path) -> dict[str, Any]:
    sounds = folder / "music"
    sounds.mkdir()
    clips = [music(number) for number in range(20)]
    whole = np.resize(np.concatenate(clips), TEN_MINUTES * RATE)
    soundfile.write(sounds / "music.flac", whole, RATE)
    update_index(folder / "music.index", model, [sounds], hop=1.0, precision="fp32")
    size = describe_index(folder / "music.index").bytes_per_10_minutes
    return _figure("10 minutes of music at a hop of 1 s", [(size or 0.0) / 1e6], "MB")


def measured_search(folder: Path, model: Path, windows: int, rounds: int) -> list[dict[str, Any]]:
    """Searches in an index of random embeddings, each with another query; and the command, from start to end."""
    index = folder / "random.index"
    settings = IndexSettings.read(folder / "music.index")
    index.mkdir()
    settings.write(index)
    random = np.random.default_rng(0)
    size, classes, window = settings.embedding_size, settings.task.num_classes, settings.task.window
    scores = np.zeros((WINDOWS_PER_RECORDING, classes), np.float32)
    starts = np.arange(WINDOWS_PER_RECORDING) * settings.hop_samples
    count = -(-windows // WINDOWS_PER_RECORDING)
    for part, first in enumerate(range(0, count, RECORDINGS_PER_PART), 1):
        entries = []
        for number in range(first, min(first + RECORDINGS_PER_PART, count)):
            vectors = np.maximum(random.standard_normal((WINDOWS_PER_RECORDING, size), np.float32), 0)
            facts = f"/music/{number}.flac", 1, 1, "", "numpy fp32", None, int(starts[-1]) + window, len(starts)
            entries.append(Entry(*facts, False, "", False, scores[0], starts, scores, packed(vectors)))
        write_part(index, part, entries, settings)
    known = read_index(index)
    queries = [Query(np.maximum(random.standard_normal(size, np.float32), 0)) for _ in range(rounds + 1)]
    find_similar(known, queries[0])
    spent = time.process_time()
    taken = [_seconds(lambda query=query: find_similar(known, query)) for query in queries[1:]]
    spent = (time.process_time() - spent) / rounds
    command = [sys.executable, "-m", "samplecnn", "index", "similar", str(index), "/music/7.flac@100"]
    run: Callable[[], Any] = lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: E731
    whole = [_seconds(run) for _ in range(rounds)]
    return [
        _figure(f"similar, {count * WINDOWS_PER_RECORDING:,} windows of {size} values", taken, "s"),
        _figure("  the same, seconds of the processor", [spent], "s"),
        _figure("  the same as a command, from start to end", whole, "s"),
    ]


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _figure(name: str, values: list[float], unit: str) -> dict[str, Any]:
    print(f"{name:60} {statistics.median(values):10,.2f} {unit}", flush=True)
    return {"name": name, "values": values, "unit": unit}


def main() -> None:
    parser = argparse.ArgumentParser(description="What an index costs.")
    parser.add_argument("--files", type=int, default=100_000, help="unchanged files")
    parser.add_argument("--windows", type=int, default=1_000_000, help="to search in")
    parser.add_argument("--rounds", type=int, default=3, help="to take medians of")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        model = music_model(folder / "mtt")
        figures = [
            measured_bytes(folder, model),
            *measured_search(folder, model, options.windows, options.rounds),
            *measured_updates(folder, options.files, options.rounds),
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        settings = {"rounds": options.rounds, "files": options.files, "windows": options.windows}
        write_json(options.json, {"bench": "index", "figures": figures, "machine": machine(), "settings": settings})


if __name__ == "__main__":
    main()
