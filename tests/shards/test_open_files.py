"""Data sets with many shards under a low limit of open files."""

import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="no limits on processes on this system")

PROGRAM = """
import resource, sys
import numpy as np
from samplecnn.shards.formats import FORMATS
from samplecnn.shards.tfrecord.frames import TFRecordWriter, shard_name
from samplecnn.shards.tfrecord.reader import TFRecordSegments
from samplecnn.task import Task
from pathlib import Path

folder = Path(sys.argv[1])
task = Task("t", ("a", "b"), "multiclass", 8000, 81)
(folder / "task.json").write_text(task.to_json())
for split in ("train", "val", "test"):
    for number in range(1, 151):
        with TFRecordWriter(folder / shard_name(split, number, 150), task, False) as writer:
            writer.add("x", [number % 2], np.full((1, 81), number, np.int16))
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
splits = [TFRecordSegments(folder, split) for split in ("train", "val", "test")]
for _ in range(2):
    for split in splits:
        assert (split.gather(np.arange(150))[:, 0] * 32768 == np.arange(1, 151)).all()
print("read")
"""


def test_three_splits_of_150_tfrecords_are_read_with_256_open_files(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True)
    assert done.stdout == "read\n", done.stderr
