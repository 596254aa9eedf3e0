"""Small generated data sets, and builds in separate processes."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from samplecnn.datasets.base import Clip, Table
from samplecnn.task import Task

sys.path.insert(0, str(Path(__file__).parent))  # for small_builds.py

CLASSES = ("low", "high", "noise")


@pytest.fixture
def recordings(tmp_path):
    """recordings(clips=30, ...) -> Table of tones and noise under tmp_path/raw, 8 kHz, of various lengths."""

    def make(clips: int = 30, measured: bool = True, clip_seconds: float | None = None, seconds: float = 0.5) -> Table:
        random = np.random.default_rng(7)
        rows = []
        (tmp_path / "raw").mkdir(exist_ok=True)
        for number in range(clips):
            label = number % 3
            time = np.arange(int(8000 * seconds * random.uniform(0.5, 2))) / 8000
            sound = random.uniform(-0.2, 0.2, len(time)) + (label < 2) * 0.3 * np.sin(time * (500 if label else 3000))
            path = tmp_path / "raw" / f"{number:03d}.{('wav', 'flac')[number % 2]}"
            if not path.exists():
                soundfile.write(path, sound, 8000)
            split = {8: "val", 9: "test"}.get(number % 10, "train")
            rows.append(Clip(f"{number:03d}", path, split, (label,)))
        task = Task("made", CLASSES, sample_rate=8000, window=2000, clip_seconds=clip_seconds)
        return Table(task, rows, measured=measured)

    return make


@pytest.fixture
def digests():
    """digests(folder) -> {file name: digest of its bytes}."""

    def make(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}

    return make


@pytest.fixture
def start_build(tmp_path):
    """start_build(table, home, workers=2, clips_per_shard=10) -> Popen of a process that builds and can be killed."""
    processes = []

    def start(table: Table, home: Path, workers: int = 2, clips_per_shard: int = 10) -> subprocess.Popen:
        order = {
            "task": table.task.to_dict(),
            "clips": [[clip.id, str(clip.path), clip.split, clip.labels] for clip in table.clips],
            "measured": table.measured,
        }
        (tmp_path / "table.json").write_text(json.dumps(order))
        program = (
            "import json, sys; from pathlib import Path; from samplecnn.datasets.base import Clip, Table\n"
            "from samplecnn.shards import build_table; from samplecnn.task import Task\n"
            f"order = json.loads(Path({str(tmp_path / 'table.json')!r}).read_text())\n"
            "clips = [Clip(i, Path(p), s, tuple(l)) for i, p, s, l in order['clips']]\n"
            "table = Table(Task.from_dict(order['task']), clips, order['measured'])\n"
            f"build_table(table, Path({str(home)!r}), workers={workers}, clips_per_shard={clips_per_shard})\n"
        )
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
