"""`samplecnn tag` and a plain loop over the same mp3 files: whole processes, from start to end.

    python benchmarks/tag_peers.py RECORDINGS [--files 500] [--distinct 100] [--rounds 3] [--peer-python PYTHON]

RECORDINGS is a folder of sound. Clips of 29 s are made of its recordings, one after the other, and written as mp3 at
their rate; `--distinct` of them, each under several names, as both programs treat every file anew. The plain loop is
`peers/librosa_tag.py`, which needs librosa in PYTHON. The network is `se` of MagnaTagATune's size (2.05 million
parameters) in both. Every round runs all contenders, in an order that is drawn anew. A ratio is that of the lowest
values, which a busy machine changes least.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from samplecnn.bench.rounds import machine
from samplecnn.datasets import REGISTRY
from samplecnn.inference.precision import random_model
from samplecnn.model_files import save
from samplecnn.models.config import ModelConfig
from samplecnn.recordings import Scan
from samplecnn.system.files import write_json

SECONDS = 29  # of a clip
PEER = Path(__file__).with_name("peers") / "librosa_tag.py"
PLAIN = "librosa and PyTorch, file by file"
# The command, which also says its peak memory: ru_maxrss would be that of this process, from which it is started.
TAG = """
import sys
from samplecnn.cli.app import main
try:
    main()
finally:
    print(*(line for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


def clips(source: Path, folder: Path, files: int, distinct: int) -> None:
    """Writes the mp3 files."""
    wave, made, names, wanted = np.zeros(0, np.float32), 0, iter(sorted(Scan().recordings(source))), None
    while made < distinct:
        path = next(names, None)
        if path is None:
            raise SystemExit(f"{source}: its recordings are enough for {made} clips only")
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        wanted = wanted or rate
        if rate != wanted:
            continue
        wave = np.append(wave, sound.mean(axis=1))
        if len(wave) >= SECONDS * rate:
            soundfile.write(folder / f"{made:04d}.mp3", wave[: SECONDS * rate], rate)
            wave, made = wave[SECONDS * rate :], made + 1
    for number in range(distinct, files):
        shutil.copyfile(folder / f"{number % distinct:04d}.mp3", folder / f"{number:04d}.mp3")


def run(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds, seconds of the processor, and what the program says on its standard error."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{said}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, said


def main() -> None:
    parser = argparse.ArgumentParser(description="samplecnn tag and a plain loop, side by side.")
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--distinct", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable, help="a Python with librosa and torch")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    task = REGISTRY["mtt"].task()
    measured: dict[str, dict[str, Any]] = {}
    try:
        save(random_model(ModelConfig(num_blocks=9, num_classes=50), task), folder / "model")
        (folder / "sounds").mkdir()
        clips(options.recordings, folder / "sounds", options.files, min(options.distinct, options.files))
        tag = [sys.executable, "-c", TAG, "tag", str(folder / "model"), str(folder / "sounds"), "--quiet"]
        tag += ["--format", "jsonl", "-o", str(folder / "tags.jsonl"), "--precision"]
        plain = [options.peer_python, str(PEER), str(folder / "sounds"), str(folder / "out.jsonl")]
        commands = {
            PLAIN: [*plain, str(task.sample_rate), str(task.window)],
            "samplecnn tag --precision fp32": [*tag, "fp32"],
            "samplecnn tag": [*tag, "auto"],
        }
        run([*tag, "auto"])  # measures once which precision is faster on this machine
        for number in range(options.rounds):
            for name in random.Random(number).sample(list(commands), len(commands)):
                wall, cpu, said = run(commands[name])
                row = measured.setdefault(name, {"name": name, "wall": [], "cpu": [], "memory": []})
                row["wall"].append(wall)
                row["cpu"].append(cpu)
                last = said.split()
                row["memory"].append(int(last[-2]) * 1024)
                if name == PLAIN:
                    row["parameters"] = int(last[-1])
                print(f"{name:40} {wall:8.1f} s, processor {cpu:8.1f} s, {row['memory'][-1] / 1e6:6.0f} MB", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        settings = {"rounds": options.rounds, "files": options.files, "distinct": options.distinct, "seconds": SECONDS}
        result = {"bench": "tag-peers", "programs": list(measured.values()), "machine": machine(), "settings": settings}
        write_json(options.json, result)


if __name__ == "__main__":
    main()
