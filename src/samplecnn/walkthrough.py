"""The steps of `samplecnn demo`: end to end on generated recordings, each step with its command."""

import time
from pathlib import Path
from typing import Any

from samplecnn.datasets.generated import generate
from samplecnn.evaluation.run_eval import run_eval
from samplecnn.shards import build
from samplecnn.system.progress import duration
from samplecnn.tagging.tag_files import tag_paths
from samplecnn.tagging.writers import Selection
from samplecnn.training import train

# Of the 30 epochs that the recipe would take: enough for ten kinds of sound, in about a minute without a GPU.
SETTINGS: dict[str, Any] = {"max_epochs": 12}


def run_demo(data_dir: str, log_dir: str, seed: int) -> Path:
    """Generates, builds, trains, evaluates and tags, and prints the command of each step; returns the run directory."""
    began = time.monotonic()
    raw = Path(data_dir) / "demo" / "raw"
    step(1, "generating recordings of ten kinds of sound", f"ls {raw}")
    generate(raw, seed=seed)
    step(2, "building shards from the recordings", f"samplecnn build demo --data-dir {data_dir}")
    for line in build("demo", data_dir).lines(shown=5):
        print(line)
    words = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in SETTINGS.items())
    step(3, "training", f"samplecnn train demo {words} --data-dir {data_dir} --log-dir {log_dir}")
    result = train("demo", data_dir=data_dir, log_dir=log_dir, seed=seed, **SETTINGS)
    step(4, "scores on the test recordings", f"samplecnn eval demo {result.run} --data-dir {data_dir}")
    run_eval("demo", str(result.run), data_dir)
    recording = raw / "bell" / "0000.wav"
    step(5, "tags for a recording", f"samplecnn tag {result.run} {recording}")
    tag_paths(str(result.run), [str(recording)], "table", None, Selection(5, None, False))
    print(f"\nfinished in {duration(time.monotonic() - began)}; learning curves: {result.run / 'curves.png'}")
    return result.run


def step(number: int, what: str, command: str) -> None:
    print(f"\n[{number}/5] {what}\n$ {command}", flush=True)
