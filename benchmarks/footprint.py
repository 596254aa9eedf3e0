"""Memory and processor time of the commands that need no PyTorch, on packaged models.

    python benchmarks/footprint.py [--rounds 3] [--json benchmarks/footprint.json]

Each command is a process of its own, in which sums take one thread. Its largest resident memory (without that of its
children) and its processor time (with that of its children) are what the operating system counted. Processor time,
unlike time, does not depend much on what else the machine does.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from samplecnn import __version__
from samplecnn.system.files import write_json

# The command, which also says its peak memory: that which wait4 gives can be that of this process.
COMMAND = """
import sys
from samplecnn.cli.app import main
try:
    main()
finally:
    print(*(line for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""
RATE = 16_000
MINUTES = 1
REQUESTS = 20


def sound(seconds: float, seed: int) -> np.ndarray:
    """Noise and tones that come and go, float32."""
    times = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal(len(times)) * 0.1
    tones = 0.3 * np.sin(2 * np.pi * (300 + 100 * seed) * times)
    return ((noise + tones) * (np.sin(2 * np.pi * times / 3) > 0)).astype(np.float32)


def commands(folder: Path) -> dict[str, list[str]]:
    """The arguments of `samplecnn`, by what the table calls them; makes the recordings."""
    (folder / "sounds").mkdir()
    for number in range(MINUTES):
        soundfile.write(folder / "sounds" / f"{number}.flac", sound(60, number), RATE)
    soundfile.write(folder / "one.wav", sound(1, 0), RATE)
    minute, many = str(folder / "sounds" / "0.flac"), str(folder / "sounds")
    found = {
        "`--help`": ["--help"],
        "`models`": ["models"],
        "`tag words`, 1 s, NumPy": ["tag", "words", str(folder / "one.wav"), "--engine", "numpy"],
        f"`tag words`, {MINUTES} min, NumPy": ["tag", "words", many, "--engine", "numpy"],
        "`listen words-tiny`, 1 min, NumPy": ["listen", "words-tiny", minute, "--engine", "numpy"],
    }
    if find_spec("onnxruntime"):
        found[f"`tag words`, {MINUTES} min, ONNX Runtime"] = ["tag", "words", many, "--engine", "onnx"]
        found["`listen words`, 1 min, ONNX Runtime"] = ["listen", "words", minute, "--engine", "onnx"]
        update = ["index", "update", "INDEX", "--model", "words", many, "--engine", "onnx"]
        found[f"`index update`, {MINUTES} min, ONNX Runtime"] = update
    if find_spec("onnx"):
        found["`export words --to onnx`"] = ["export", "words", str(folder / "words.onnx"), "--to", "onnx"]
    if find_spec("starlette"):
        found[f"`serve words`, {REQUESTS} requests of 1 s"] = ["serve", "words", "--port", "0"]
    return found


def measured(words: list[str], folder: Path, number: int) -> tuple[float, float]:
    """Largest memory in MB and seconds of processor time of one run."""
    words = [str(folder / f"{number}.index") if word == "INDEX" else word for word in words]
    call = [sys.executable, "-c", COMMAND, *words]
    with tempfile.TemporaryFile("w+") as said:
        out = said if words[0] == "serve" else subprocess.DEVNULL
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # others would spin while they wait
        process = subprocess.Popen(call, stdout=out, stderr=said, cwd=folder, env={**os.environ, **one_thread})
        try:
            if words[0] == "serve":
                _ask(said, (folder / "one.wav").read_bytes())
                process.terminate()
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        text = _text(said)
        if os.waitstatus_to_exitcode(status) or "VmHWM" not in text:
            raise SystemExit(f"samplecnn {' '.join(words)} failed: {text}")
    memory = int(text.rpartition("VmHWM:")[2].split()[0])
    return memory * 1024 / 1e6, usage.ru_utime + usage.ru_stime


def _ask(said: Any, data: bytes) -> None:
    """Waits until the server says where it is, and posts a recording a few times."""
    until = time.monotonic() + 120
    while "http://" not in (text := _text(said)):
        if time.monotonic() > until:
            raise SystemExit(f"samplecnn serve does not start: {text}")
        time.sleep(0.1)
    address = "http://" + text.split("http://")[1].split()[0].rstrip("/,;")
    for _ in range(REQUESTS):
        request = urllib.request.Request(f"{address}/v1/tag", data, {"Content-Type": "audio/wav"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()


def machine() -> dict[str, Any]:
    """Hardware and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    python = platform.python_version()
    return {"cpu": cpu, "cores": os.cpu_count(), "samplecnn": __version__, "numpy": np.__version__, "python": python}


def _text(said: Any) -> str:
    said.seek(0)
    return str(said.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="file for the result")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, words in commands(folder).items():
            values = [measured(words, folder, number) for number in range(options.rounds)]
            memory, processor = (list(each) for each in zip(*values, strict=True))
            rows.append({"name": name, "megabytes": memory, "seconds": processor})
            print(f"{name}: {statistics.median(memory):.0f} MB, {min(processor):.2f} s", flush=True)
    result = {"bench": "footprint", "commands": rows, "machine": machine(), "settings": {"rounds": options.rounds}}
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
