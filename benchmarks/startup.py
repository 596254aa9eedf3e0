"""How long the program takes to start: a fresh process per run, files in the page cache.

    python benchmarks/startup.py [--rounds 9] [--python PYTHON] [--json startup.json]

The tagged recording is a 29 s mp3; it is tagged by an untrained `se` network of MagnaTagATune's size and by `words`.
Next to the seconds stands the processor time, user and system: its lowest depends least on what else the machine does.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from samplecnn.bench.recordings import generated_recordings
from samplecnn.bench.rounds import machine
from samplecnn.datasets import REGISTRY
from samplecnn.model_files import save
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.system.files import write_json


def commands(folder: Path, interpreter: str) -> dict[str, list[str]]:
    """What is started, by name; makes the model and the recording."""
    recording = str(generated_recordings(folder / "raw", 1).clips[0].path)
    torch.manual_seed(0)
    save(SampleCNN(ModelConfig(num_blocks=9, num_classes=50), REGISTRY["mtt"].task()), folder / "model")
    python, command = [interpreter], [interpreter, "-m", "samplecnn"]
    tag = [*command, "tag", str(folder / "model"), recording, "--engine"]
    wanted = {
        "python, nothing else": [*python, "-c", "pass"],
        "import samplecnn": [*python, "-c", "import samplecnn"],
        "samplecnn --help": [*command, "--help"],
        "samplecnn tag words, NumPy": [*command, "tag", "words", recording, "--engine", "numpy"],
        "samplecnn tag, NumPy": [*tag, "numpy"],
    }
    for title, module in (("PyTorch", "torch"), ("OpenVINO", "openvino")):
        if has(interpreter, module):
            wanted[f"samplecnn tag, {title}"] = [*tag, module]
    return wanted


def has(interpreter: str, module: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([interpreter, "-c", code], check=False).returncode == 0


def measured(rounds: int, interpreter: str) -> dict[str, Any]:
    """Seconds and processor seconds of every start, all commands in turn, after one round that warms up."""
    # As installed packages have them, modules are kept compiled.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        starts = commands(Path(folder), interpreter)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in starts}
        for number in range(rounds + 1):
            for name, command in starts.items():
                began, used = time.perf_counter(), processor_seconds()
                subprocess.run(command, check=True, capture_output=True, env=environment)
                if number:
                    found[name].append((time.perf_counter() - began, processor_seconds() - used))
        with_torch = has(interpreter, "torch")
    starts_measured = [
        {"name": name, "seconds": [run[0] for run in runs], "processor": [run[1] for run in runs]}
        for name, runs in found.items()
    ]
    about = {name: value for name, value in machine().items() if name != "torch" or with_torch}
    return {"bench": "startup", "starts": starts_measured, "machine": about, "settings": {"rounds": rounds}}


def processor_seconds() -> float:
    """User and system time of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description="How long samplecnn takes to start.")
    parser.add_argument("--rounds", type=int, default=9, help="to take medians of")
    parser.add_argument("--python", default=sys.executable, help="its samplecnn is started; by default this Python's")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    result = measured(options.rounds, options.python)
    for start in result["starts"]:
        taken, used = start["seconds"], min(start["processor"])
        print(
            f"{start['name']:27} {statistics.median(taken):6.2f} s   ({min(taken):.2f} to {max(taken):.2f}), "
            f"processor {used:.2f} s"
        )
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
