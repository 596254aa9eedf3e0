"""The memory of a build does not grow with its data."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
from small_builds import TASK

from samplecnn.audio import cut, decode, to_int16
from samplecnn.shards.arrow_segments import ArrowSegments


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(recordings, tmp_path):
    """Eight times the clips take no more memory, in the parent as in its workers."""
    program = (
        "import sys, resource; from pathlib import Path; from dataclasses import replace\n"
        "from samplecnn.datasets.base import Clip, Table; from samplecnn.shards import build_table\n"
        "from samplecnn.task import Task\n"
        "paths = sorted(Path(sys.argv[1]).iterdir()); n = int(sys.argv[2])\n"
        "clips = [Clip(str(k), paths[k % len(paths)], 'train', (0,)) for k in range(n)]\n"
        "task = Task('m', ('a',), sample_rate=8000, window=8000, clip_seconds=8)\n"
        "build_table(Table(task, clips, True), Path(sys.argv[3]), workers=2, progress=False)\n"
        "print(*(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))\n"
    )
    recordings(8)
    peaks = []
    for clips in (100, 800):  # 13 and 100 MB of shards
        result = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "raw"), str(clips), str(tmp_path / f"made{clips}")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        peaks.append([int(peak) / 1024 for peak in result.stdout.split()])
    for few, many in zip(*peaks, strict=True):
        assert many < few + 24, peaks  # MB


@pytest.mark.slow
def test_a_long_recording_is_built_within_bounded_memory(tmp_path, monkeypatch):
    """What is set aside does not grow with the recording, and the samples are those of decoding it at once."""
    import tracemalloc

    from samplecnn.shards import worker
    from samplecnn.shards.formats import FORMATS

    random = np.random.default_rng(0)

    def peak(minutes: int) -> int:
        folder = tmp_path / f"{minutes}"
        folder.mkdir()
        with soundfile.SoundFile(folder / "long.wav", "w", 16000, 1) as file:
            for _ in range(minutes):
                file.write(random.uniform(-0.5, 0.5, 16000 * 60))
        order = {"name": "train.arrow", "split": "train", "measured": True, "crashers": []}
        order |= {"accept_truncated": False, "columns": []}
        tracemalloc.start()
        worker.make_shard(
            folder,
            TASK,
            FORMATS["arrow"],
            order | {"clips": [["x", str(folder / "long.wav"), [0.0, None], [0], {}]]},
            lambda _: None,
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(list(folder.iterdir())) == 3, "the recording, the shard and its counts"
        return most

    peak(5)
    assert peak(20) < 32 << 20, "bytes; decoded, the recording has 38 MB"
    folder = tmp_path / "20"
    (folder / "train.arrow").rename(folder / "train-00001-of-00001.arrow")
    segments = ArrowSegments(folder, "train")
    expected = to_int16(cut(decode(folder / "long.wav", 8000), TASK))
    assert np.array_equal(segments.gather(range(len(segments))), expected)
