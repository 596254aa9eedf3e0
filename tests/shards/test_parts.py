"""Clips that are parts of recordings: what is decoded of them, and what a build is recognised by."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from samplecnn.datasets.base import Clip, Table
from samplecnn.errors import SampleCNNError
from samplecnn.shards import build, open_split
from samplecnn.shards.plan import make_plan
from samplecnn.task import Task

RATE = 8000
GOLD = "f2f2165c109b7066f10f0ba2fa8eddb502af3618654f0188aa697e1f473aeebe"  # by version 0.1


@pytest.fixture
def manifest(tmp_path):
    """manifest("a.wav,x,0.5,1.5", ...) -> a manifest; a.wav counts its samples, b.flac is at another rate."""
    ramp = (np.arange(4 * RATE) % 30000 - 15000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", ramp, RATE)
    soundfile.write(tmp_path / "b.flac", 0.3 * np.sin(np.arange(4 * 16000) * np.arange(4 * 16000) / 9e4), 16000)

    def make(*rows: str) -> Path:
        (tmp_path / "m.csv").write_text("\n".join(["path,label,split,start,end", *rows]) + "\n")
        return tmp_path / "m.csv"

    return make


def built(path: Path, **options):
    return build(path, path.parent / "data", workers=1, progress=False, sample_rate=RATE, window=2000, **options)


def test_the_segments_of_a_part_are_those_of_the_recording(manifest, tmp_path):
    rows = ["a.wav,x,train,1.3,2.3", "a.wav,y,train,0.1,0.2", "b.flac,x,train,2.5,", "b.flac,y,test,0,4"]
    path = manifest(*rows, "a.wav,x,val,0,1")
    report = built(path)
    assert (report.splits["train"].clips, report.splits["test"].clips) == (3, 1)
    train, test = (open_split(str(path), tmp_path / "data", split) for split in ("train", "test"))
    segments = {id: train.gather([i for i, other in enumerate(train.ids) if other == id]) for id in set(train.ids)}
    ramp, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert np.array_equal(segments["a.wav@1.3-2.3"], ramp[10400:18400].reshape(4, 2000))
    assert np.array_equal(segments["a.wav@0.1-0.2"], np.tile(ramp[800:1600], 3)[None, :2000])
    whole = test.gather(range(len(test))).reshape(-1)
    assert len(segments["b.flac@2.5-"]) == 6
    assert np.abs(segments["b.flac@2.5-"].reshape(-1).astype(int) - whole[20000:]).max() <= 1
    assert set(train.groups) == {"a.wav", "b.flac"}


def test_clip_seconds_bound_parts(manifest, tmp_path):
    path = manifest("a.wav,x,train,1,3.5", "a.wav,y,train,3,4")
    built(path, clip_seconds=1.5)
    train = open_split(str(path), tmp_path / "data", "train")
    assert sorted(train.ids) == ["a.wav@1-3.5"] * 6 + ["a.wav@3-4"] * 6


@pytest.mark.slow
def test_other_parts_are_another_build(manifest):
    path = manifest("a.wav,x,train,0,1", "a.wav,y,train,1,2")
    assert not built(path).already_built and built(path).already_built
    assert not built(manifest("a.wav,x,train,0,1", "a.wav,y,train,1,2.5")).already_built


@pytest.mark.slow
def test_parts_outside_the_recording_are_reported(manifest):
    report = built(manifest("a.wav,x,train,0,1", "a.wav,y,train,3,4.05", "a.wav,x,train,3.5,6", "a.wav,y,train,9,10"))
    assert sorted((issue.status, issue.reason.partition(";")[0]) for issue in report.issues) == [
        ("skipped", "ends after 4.00 s, before the start at 9 s"),
        ("warning", "ends after 4.00 s, before the end of the clip at 6 s"),
    ]
    with pytest.raises(SampleCNNError, match="none of the 2 training recordings could be used"):
        built(manifest("a.wav,x,train,7,8", "a.wav,y,train,8,9"), force=True)


def test_whole_recordings_have_the_fingerprint_that_they_had():
    """What was built by versions that know no parts is not built again."""
    clips = [Clip(f"{n}.wav", Path(f"/nowhere/{n}.wav"), "train", (n % 2,), group="g") for n in range(4)]
    table = Table(Task("made", ("a", "b"), sample_rate=8000, window=2000), clips)
    assert make_plan(table, 0, "tile", None, "arrow").fingerprint == GOLD
    clips[0] = clips[0]._replace(start=0.1)
    assert make_plan(table, 0, "tile", None, "arrow").fingerprint != GOLD
