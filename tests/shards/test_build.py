"""What is built: deterministic shards of the decoded recordings, and when they are built again."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_builds import TASK, build

from samplecnn.audio import cut, decode, from_int16, to_int16
from samplecnn.datasets.base import Clip, Table
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.shards import open_split
from samplecnn.shards.arrow_segments import ArrowSegments


def test_shards_hold_the_decoded_recordings(recordings, tmp_path):
    table = recordings()
    report = build(table, tmp_path / "data" / "made")
    assert report.folder == tmp_path / "data" / "made" / "arrow"
    assert [count.clips for count in report.splits.values()] == [24, 3, 3] and not report.issues
    by_id = {clip.id: clip for clip in table.clips}
    total = 0
    for split in ("train", "val", "test"):
        segments = open_split("made", tmp_path / "data", split)
        assert segments.num_clips == report.splits[split].clips and len(segments) == report.splits[split].segments
        audio = segments.gather(range(len(segments)))
        starts = [*segments.clip_starts, len(segments)]
        for start, end in pairwise(starts):
            clip = by_id.pop(segments.ids[start])
            assert clip.split == split and set(segments.ids[start:end]) == {clip.id}
            assert np.array_equal(audio[start:end], to_int16(cut(decode(clip.path, 8000), segments.task)))
            assert (segments.labels[start:end].nonzero()[1] == clip.labels[0]).all()
        total += segments.bytes
    assert not by_id and total == report.bytes


def test_mean_and_std_are_those_of_the_training_segments(recordings, tmp_path):
    report = build(recordings(), tmp_path / "made")
    segments = ArrowSegments(tmp_path / "made" / "arrow", "train")
    wave = from_int16(segments.gather(range(len(segments)))).astype(np.float64)
    assert segments.task.mean == pytest.approx(wave.mean(), rel=1e-9)
    assert segments.task.std == pytest.approx(wave.std(), rel=1e-9)
    assert report.task == segments.task
    for split in ("val", "test"):
        assert ArrowSegments(tmp_path / "made" / "arrow", split).task == report.task
    assert json.loads((report.folder / "task.json").read_text()) == report.task.to_dict()


def test_a_published_task_keeps_its_numbers(recordings, tmp_path):
    table = recordings(measured=False)
    table = replace(table, task=table.task.with_statistics(0.01, 0.2))
    assert build(table, tmp_path / "made").task == table.task


@pytest.mark.slow
@pytest.mark.parametrize("clip_seconds", [None, 0.55])
def test_the_bytes_do_not_depend_on_the_number_of_workers(recordings, tmp_path, digests, clip_seconds):
    table = recordings(clip_seconds=clip_seconds)
    found = []
    for workers in (1, 2, 3):
        found.append(digests(build(table, tmp_path / f"made{workers}", workers=workers, clips_per_shard=4).folder))
    assert found[0] == found[1] == found[2]
    assert sum(name.startswith("train-") for name in found[0]) == 6
    shuffled = replace(table, clips=table.clips[::-1])  # nor on the order of a listing
    assert digests(build(shuffled, tmp_path / "made4", clips_per_shard=4).folder) == found[0]


@pytest.mark.slow
def test_the_seed_determines_the_order_of_the_clips(recordings, tmp_path):
    orders = []
    for seed in (0, 1):
        build(recordings(), tmp_path / "made", seed=seed)
        orders.append(ArrowSegments(tmp_path / "made" / "arrow", "train").ids)
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


@pytest.mark.slow
def test_padding_reaches_the_shards_and_the_task(recordings, tmp_path):
    table = recordings(clip_seconds=2.0)
    short = min(table.clips, key=lambda clip: soundfile.info(clip.path).frames if clip.split == "train" else 1e9)
    wave = decode(short.path, 8000)
    for padding in ("tile", "zero", "stretch"):
        report = build(table, tmp_path / "made", padding=padding)
        segments = ArrowSegments(report.folder, "train")
        start = segments.ids.index(short.id)
        expected = to_int16(cut(wave, replace(table.task, padding=padding)))
        assert np.array_equal(segments.gather(range(start, start + 8)), expected)
        assert segments.task.padding == padding
    with pytest.raises(UsageError, match="mirror"):
        build(table, tmp_path / "made", padding="mirror")


def test_custom_data_gets_shards_of_about_64_mb(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr("samplecnn.shards.plan.SHARD_BYTES", 100_000)
    report = build(recordings(60, clip_seconds=0.5), tmp_path / "made", clips_per_shard=None)
    sizes = [path.stat().st_size for path in report.folder.glob("train-*.arrow")]
    assert len(sizes) > 2 and all(60_000 < size < 160_000 for size in sizes)


@pytest.mark.slow
def test_a_second_build_has_nothing_to_do(recordings, tmp_path, digests):
    table = recordings()
    first = build(table, tmp_path / "made")
    before = digests(first.folder)
    times = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    again = build(table, tmp_path / "made")
    assert again.already_built and not first.already_built
    assert (again.splits, again.task, again.bytes) == (first.splits, first.task, first.bytes)
    assert times == {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    forced = build(table, tmp_path / "made", force=True)
    assert not forced.already_built and digests(forced.folder) == before
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"arrow"}


@pytest.mark.slow
def test_changed_recordings_or_labels_are_built_again(recordings, tmp_path):
    table = recordings()
    build(table, tmp_path / "made")
    soundfile.write(table.clips[0].path, np.full(4000, 0.25), 8000)
    assert not build(table, tmp_path / "made").already_built
    other = replace(table, clips=[table.clips[0]._replace(labels=(2,)), *table.clips[1:]])
    assert not build(other, tmp_path / "made").already_built
    segments = ArrowSegments(tmp_path / "made" / "arrow", "train")
    row = segments.ids.index("000")
    assert segments.labels[row].tolist() == [0, 0, 1] and (segments.gather([row]) == 8192).all()


@pytest.mark.slow
def test_a_lost_shard_is_built_again(recordings, tmp_path, digests):
    table = recordings()
    report = build(table, tmp_path / "made")
    before = digests(report.folder)
    next(report.folder.glob("train-*.arrow")).unlink()
    assert not build(table, tmp_path / "made").already_built
    assert digests(report.folder) == before


def test_old_shards_are_kept_until_the_new_ones_are_complete(recordings, tmp_path, digests):
    table = recordings()
    before = digests(build(table, tmp_path / "made").folder)
    with pytest.raises(SampleCNNError):
        build(
            replace(table, clips=[clip._replace(path=tmp_path / "none.wav") for clip in table.clips]), tmp_path / "made"
        )
    assert digests(tmp_path / "made" / "arrow") == before


def test_a_table_that_cannot_be_built(recordings, tmp_path):
    table = recordings()
    with pytest.raises(UsageError, match="no clip is for training"):
        build(replace(table, clips=[clip._replace(split="test") for clip in table.clips]), tmp_path / "made")
    with pytest.raises(UsageError, match="two clips are named '000'"):
        build(replace(table, clips=[*table.clips, table.clips[0]]), tmp_path / "made")
    with pytest.raises(UsageError, match="--workers 0"):
        build(table, tmp_path / "made", workers=0)


def test_not_built_yet(tmp_path):
    with pytest.raises(UsageError, match=r"scd is not built yet.*samplecnn build scd"):
        open_split("scd", tmp_path, "train")
    (tmp_path / "scd" / "arrow.building").mkdir(parents=True)
    with pytest.raises(UsageError, match="half built"):
        open_split("scd", tmp_path, "train")
    with pytest.raises(UsageError, match="split 'tests'"):
        open_split("scd", tmp_path, "tests")


def test_workers_import_no_torch():
    result = subprocess.run(
        [sys.executable, "-c", "import sys, samplecnn.shards.worker; print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.strip() == "False"


@pytest.mark.slow
def test_real_speech(shared, tmp_path, digests):
    import io
    import tarfile

    wanted: dict[str, int] = {}
    clips = []
    folder = tmp_path / "raw"
    folder.mkdir()
    with tarfile.open(shared / "data" / "speech-commands-16.tar") as tar:
        for member in tar:
            word = member.name.split("/")[-2] if "/" in member.name else ""
            if not member.isfile() or wanted.get(word, 0) >= 15:
                continue
            wanted[word] = wanted.get(word, 0) + 1
            samples, rate = soundfile.read(io.BytesIO(tar.extractfile(member).read()), dtype="int16")
            path = folder / f"{word}-{Path(member.name).stem}.wav"
            soundfile.write(path, samples, rate)
            split = ("val", "test")[wanted[word] - 1] if wanted[word] < 3 else "train"
            clips.append((word, path, split))
    words = tuple(sorted(wanted))
    task = replace(TASK, classes=words, sample_rate=22050, window=22050, clip_seconds=1.0)
    table = Table(task, [Clip(p.name, p, split, (words.index(word),)) for word, p, split in clips], measured=True)
    assert len(clips) > 200
    report = build(table, tmp_path / "made", clips_per_shard=50)
    assert not report.issues and report.clips == len(clips)
    assert abs(report.task.mean) < 0.01 and 0.02 < report.task.std < 0.5
    segments = ArrowSegments(report.folder, "train")
    row = segments.ids.index(clips[7][1].name)
    assert np.array_equal(segments.gather([row]), to_int16(cut(decode(clips[7][1], 22050, 1.0), task)))
    assert digests(build(table, tmp_path / "one", workers=1, clips_per_shard=50).folder) == digests(report.folder)
