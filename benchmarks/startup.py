"""How long the program takes to start: a fresh process per run, files in the page cache.

    python benchmarks/startup.py [--rounds 9] [--json startup.json]

The tagged recording is a 29 s mp3, the model an untrained `se` network of MagnaTagATune's size.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from samplecnn.bench.recordings import generated_recordings
from samplecnn.bench.rounds import machine
from samplecnn.datasets import REGISTRY
from samplecnn.model_files import save
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.system.files import write_json


def commands(folder: Path) -> dict[str, list[str]]:
    """What is started, by name; makes the model and the recording."""
    recording = str(generated_recordings(folder / "raw", 1).clips[0].path)
    torch.manual_seed(0)
    save(SampleCNN(ModelConfig(num_blocks=9, num_classes=50), REGISTRY["mtt"].task()), folder / "model")
    python, command = [sys.executable], [sys.executable, "-m", "samplecnn"]
    tag = [*command, "tag", str(folder / "model"), recording, "--engine"]
    wanted = {
        "python, nothing else": [*python, "-c", "pass"],
        "import samplecnn": [*python, "-c", "import samplecnn"],
        "samplecnn --help": [*command, "--help"],
        "samplecnn tag, NumPy": [*tag, "numpy"],
        "samplecnn tag, PyTorch": [*tag, "torch"],
    }
    if find_spec("openvino"):
        wanted["samplecnn tag, OpenVINO"] = [*tag, "openvino"]
    return wanted


def measured(rounds: int) -> dict[str, Any]:
    """Seconds of every start, all commands in turn, after one round that warms up."""
    with tempfile.TemporaryDirectory() as folder:
        starts = commands(Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in starts}
        for number in range(rounds + 1):
            for name, command in starts.items():
                began = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                if number:
                    seconds[name].append(time.perf_counter() - began)
    starts_measured = [{"name": name, "seconds": taken} for name, taken in seconds.items()]
    return {"bench": "startup", "starts": starts_measured, "machine": machine(), "settings": {"rounds": rounds}}


def main() -> None:
    parser = argparse.ArgumentParser(description="How long samplecnn takes to start.")
    parser.add_argument("--rounds", type=int, default=9, help="to take medians of")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    result = measured(options.rounds)
    for start in result["starts"]:
        taken = start["seconds"]
        print(f"{start['name']:25} {statistics.median(taken):6.2f} s   ({min(taken):.2f} to {max(taken):.2f})")
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
