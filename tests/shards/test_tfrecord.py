"""TFRecords: reading the original's, writing compatible ones, and all kinds of damage."""

import gzip
import json
import pickle
import shutil
import struct
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samplecnn.audio import cut, decode
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.shards import build_table, open_split
from samplecnn.shards.tfrecord.frames import TFRecordWriter, masked_crc, shard_name
from samplecnn.shards.tfrecord.reader import TFRecordSegments
from samplecnn.task import Task

TASK = Task("made", ("a", "b", "c"), sample_rate=8000, window=200)


def sound(clip: int, segments: int = 1) -> np.ndarray:
    return np.random.default_rng(clip).integers(-32768, 32768, (segments, TASK.window), np.int16)


def write(folder: Path, clips: int = 5, split: str = "train", shards: int = 1, segments: int = 1) -> Path:
    """Clips 0, 1, ... with the labels 0, 1, 2, 0, ...; returns the first file."""
    folder.mkdir(exist_ok=True)
    (folder / "task.json").write_text(TASK.to_json())
    for number in range(1, shards + 1):
        with TFRecordWriter(folder / shard_name(split, number, shards), TASK, split == "test") as writer:
            for clip in range((number - 1) * clips // shards, number * clips // shards):
                writer.add(f"clip {clip}", [clip % 3], sound(clip, segments))
    return folder / shard_name(split, 1, shards)


def test_checksum_is_tensorflows():
    """The masked known value of CRC-32C (RFC 3720, B.4: 32 bytes of zeros give 8A9136AA)."""
    assert masked_crc(bytes(32)) == ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) % 2**32


@pytest.mark.parametrize(
    ("name", "split", "task"),
    [("scd-train", "train", "scd"), ("scd-test", "test", "scd"), ("mtt-test", "test", "mtt")],
)
def test_the_originals_files(shared, tmp_path, name, split, task):
    source = shared / "interop" / "tfrecord"
    shutil.copy(source / f"{name}.tfrecord", tmp_path / f"{split}-0001-0001.tfrecord")
    segments = TFRecordSegments(tmp_path, split)
    clips = json.loads((source / "contents.json").read_text())[f"{name}.tfrecord"]
    assert segments.task.name == task and segments.task.padding == "stretch"
    assert segments.num_clips == len(clips) and len(segments) == len(clips) * segments.task.segments_per_clip
    for number, clip in enumerate(clips):
        path = source / "audio" / clip if task == "scd" else shared / "data" / clip
        ours = cut(decode(path, segments.task.sample_rate, segments.task.clip_seconds), segments.task)
        start = segments.clip_starts[number]
        theirs = segments.waveforms(range(start, start + len(ours)))
        assert np.square(ours - theirs).mean() < 1e-4 * np.square(theirs).mean()  # another resampler
        if task == "scd":
            assert segments.labels[start].nonzero()[0] == [segments.task.classes.index(clip.split("/")[0])]


def test_short_clips_are_stretched_as_the_original_does(shared, tmp_path):
    source = shared / "interop" / "tfrecord"
    shutil.copy(source / "scd-short-clips.tfrecord", tmp_path / "train-0001-0001.tfrecord")
    segments = TFRecordSegments(tmp_path, "train")
    for number, clip in enumerate(json.loads((source / "contents.json").read_text())["scd-short-clips.tfrecord"]):
        ours = cut(decode(source / "audio" / clip, 22050, 1.0), segments.task)[0]
        theirs = segments.waveforms([number])[0]
        assert np.square(ours - theirs).mean() < 1e-4 * np.square(theirs).mean()


@pytest.mark.slow
@pytest.mark.parametrize("measured", [True, False])
def test_both_formats_hold_the_same(recordings, tmp_path, measured):
    """The same samples, labels, task and order, and so the same scores; with the original's file names."""
    table = recordings(clips=40, measured=measured, clip_seconds=0.5)
    built = {
        format: build_table(table, tmp_path / "made", format=format, clips_per_shard=10, progress=False)
        for format in ("arrow", "tfrecord")
    }
    assert built["arrow"].task == built["tfrecord"].task and built["arrow"].splits == built["tfrecord"].splits
    names = {path.name for path in built["tfrecord"].folder.glob("*.tfrecord")}
    assert names == {
        *(f"train-{number:04d}-0003.tfrecord" for number in (1, 2, 3)),
        "val-0001-0001.tfrecord",
        "test-0001-0001.tfrecord",
    }
    splits = {}
    for split in ("train", "val", "test"):
        arrow = open_split("made", tmp_path, split)
        recorded = TFRecordSegments(built["tfrecord"].folder, split)
        assert recorded.task == arrow.task and np.array_equal(recorded.labels, arrow.labels)
        assert np.array_equal(recorded.waveforms(range(len(recorded))), arrow.waveforms(range(len(arrow))))
        splits[split] = recorded
    test = splits["test"]
    assert test.num_clips == built["arrow"].splits["test"].clips and test.segment.max() == 1
    shutil.rmtree(built["arrow"].folder)
    assert isinstance(open_split("made", tmp_path, "train"), TFRecordSegments)
    assert isinstance(open_split(str(built["tfrecord"].folder), tmp_path / "elsewhere", "val"), TFRecordSegments)


@pytest.mark.slow
def test_tensorflow_reads_ours_and_we_read_tensorflows(tensorflow_python, recordings, tmp_path):
    report = build_table(recordings(clip_seconds=0.5), tmp_path / "made", format="tfrecord", progress=False)
    task, folder = report.task, report.folder
    script = Path(__file__).with_name("tensorflow_records.py")
    command = [tensorflow_python, script, folder, task.num_classes, task.window]
    subprocess.run(list(map(str, command)), check=True, timeout=200)
    found = np.load(folder / "found.npz")
    (folder / "again" / "task.json").write_text(task.to_json())
    for split in ("train", "test"):
        ours = TFRecordSegments(folder, split)
        assert len(ours) > 5 and np.array_equal(found[f"{split}_segments"], ours.waveforms(range(len(ours))))
        starts = ours.clip_starts
        assert np.array_equal(found[f"{split}_labels"], ours.labels[starts])
        theirs = TFRecordSegments(folder / "again", split)
        assert np.array_equal(theirs.waveforms(range(len(theirs))), found[f"{split}_segments"])
        assert np.array_equal(theirs.labels, ours.labels) and np.array_equal(theirs.segment, ours.segment)


@pytest.mark.slow
def test_an_interrupted_build_is_continued(recordings, tmp_path, monkeypatch, digests):
    table = recordings()
    whole = build_table(table, tmp_path / "whole", format="tfrecord", clips_per_shard=5, progress=False)

    def cut_off(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("samplecnn.shards.builder.seal", cut_off)
        with pytest.raises(KeyboardInterrupt):
            build_table(table, tmp_path / "made", format="tfrecord", clips_per_shard=5, progress=False)
    assert (tmp_path / "made" / "tfrecord.building").is_dir() and not (tmp_path / "made" / "tfrecord").exists()
    with pytest.raises(UsageError, match="half built"):
        open_split("made", tmp_path, "train")
    again = build_table(table, tmp_path / "made", format="tfrecord", clips_per_shard=5, progress=False)
    assert again.resumed == again.clips == 30
    assert digests(again.folder) == digests(whole.folder)


def test_random_access_in_any_order_and_from_other_processes(tmp_path):
    write(tmp_path / "f", clips=12, shards=3)
    segments = pickle.loads(pickle.dumps(TFRecordSegments(tmp_path / "f", "train")))
    assert len(segments) == 12 and segments.ids[4] == "train-0002-0003.tfrecord#0"
    order = np.random.default_rng(0).permutation(12)
    expected = np.concatenate([sound(clip) for clip in order]).astype(np.float32) / 32768
    assert np.array_equal(segments.gather(order), expected)
    assert segments.labels[order].argmax(1).tolist() == (order % 3).tolist()
    with pytest.raises(IndexError):
        segments.gather([12])


def test_files_of_2018_are_numbered_from_zero(tmp_path):
    write(tmp_path, clips=4, shards=2)
    for old, new in ((1, 0), (2, 1)):
        (tmp_path / f"train-{old:04d}-0002.tfrecord").rename(tmp_path / f"train-{new:04d}-of-0002.tfrecord")
    assert len(TFRecordSegments(tmp_path, "train")) == 4
    (tmp_path / "train-0001-of-0002.tfrecord").unlink()
    with pytest.raises(SampleCNNError, match="1 of the train files missing, number 0001; copy"):
        TFRecordSegments(tmp_path, "train")


def test_files_compressed_by_tensorflow_are_read(tmp_path):
    write(tmp_path / "plain", shards=2)
    write(tmp_path / "packed", shards=2)
    for path in (tmp_path / "packed").glob("*.tfrecord"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    plain, packed = (TFRecordSegments(tmp_path / name, "train") for name in ("plain", "packed"))
    assert packed.ids == plain.ids and np.array_equal(packed.labels, plain.labels)
    order = [4, 0, 3, 1, 2]
    assert np.array_equal(packed.gather(order), plain.gather(order))
    again = pickle.loads(pickle.dumps(packed))
    assert np.array_equal(again.gather(order), plain.gather(order))


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_damaged_compressed_files_are_named_or_skipped(tmp_path, kept):
    write(tmp_path, shards=2)
    first, second = sorted(tmp_path.glob("*.tfrecord"))
    data = gzip.compress(first.read_bytes())
    first.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(SampleCNNError, match="gzip data is damaged or cut short") as caught:
        TFRecordSegments(tmp_path, "train")
    assert str(first) in str(caught.value)
    left = TFRecordSegments(tmp_path, "train", skip_corrupt=True)
    assert len(left.skipped) == 1 and {name.partition("#")[0] for name in left.ids} == {second.name}


def test_compressed_files_are_bounded(tmp_path, monkeypatch):
    from samplecnn.shards.tfrecord import compressed

    monkeypatch.setattr(compressed, "SMALL_BYTES", 1 << 20)
    write(tmp_path, shards=2)
    first = min(tmp_path.glob("*.tfrecord"))
    first.write_bytes(gzip.compress(first.read_bytes() + bytes(30 << 20)))
    with pytest.raises(SampleCNNError, match="more than 100 times as large") as caught:
        TFRecordSegments(tmp_path, "train")
    assert str(first) in str(caught.value)


def test_missing_files(tmp_path):
    write(tmp_path, clips=6, shards=3).unlink()
    with pytest.raises(SampleCNNError, match="1 of the train files missing, number 0001"):
        TFRecordSegments(tmp_path, "train")
    segments = TFRecordSegments(tmp_path, "train", skip_corrupt=True)
    assert len(segments) == 4 and "missing" in segments.skipped[0]
    write(tmp_path, clips=6, shards=2)
    with pytest.raises(SampleCNNError, match="2 different train sets"):
        TFRecordSegments(tmp_path, "train")
    with pytest.raises(SampleCNNError, match="no TFRecords of the val split"):
        TFRecordSegments(tmp_path, "val")


def test_an_unknown_task_is_reported(tmp_path):
    write(tmp_path)
    (tmp_path / "task.json").unlink()
    with pytest.raises(UsageError, match=r"3 labels and segments of 200 samples .* task.json"):
        TFRecordSegments(tmp_path, "train")
    (tmp_path / "task.json").write_text("{")
    with pytest.raises(UsageError, match=r"task\.json: damaged, not JSON .*; docs/migrating\.md shows one"):
        TFRecordSegments(tmp_path, "train")


RECORD = 8 + 4 + 842 + 4  # of one segment of TASK


def damaged(path: Path, at: int, change: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[at : at + len(change)] = change
    path.write_bytes(whole)


def reframed(path: Path, number: int, data: bytes) -> None:
    """Replaces the data of a record, with valid checksums."""
    whole = path.read_bytes()
    length = struct.pack("<Q", len(data))
    record = length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))
    path.write_bytes(whole[: number * RECORD] + record + whole[(number + 1) * RECORD :])


def spoil(path: Path, how: str) -> str:
    """Damages record 2 of five; returns the expected message."""
    from samplecnn.shards.tfrecord.wire import segment_example

    start = 2 * RECORD
    if how == "data":
        damaged(path, start + 500, b"\xff\xff")
        return "checksum of its data"
    if how == "length":
        damaged(path, start, b"\x01")
        return "checksum of its length"
    if how == "checksum of length":
        damaged(path, start + 8, b"????")
        return "checksum of its length"
    if how == "checksum of data":
        damaged(path, start + RECORD - 4, b"????")
        return "checksum of its data"
    if how == "window":
        reframed(path, 2, segment_example(b"\1\0\0", bytes(4 * 199)))
        return "796 bytes, expected float32 of 200 samples"
    if how == "label":
        reframed(path, 2, segment_example(b"\1\0", bytes(800)))
        return "label is not 3 zeros and ones"
    if how == "label values":
        reframed(path, 2, segment_example(b"\1\2\0", bytes(800)))
        return "label is not 3 zeros and ones"
    if how == "feature":
        reframed(path, 2, segment_example(b"\1\0\0", bytes(800)).replace(b"segment", b"segmemt"))
        return "no feature 'segment'"
    if how == "not a number":
        reframed(path, 2, segment_example(b"\1\0\0", np.full(200, np.nan, "<f4").tobytes()))
        return "NaN or infinite"
    raise AssertionError(how)


KINDS = [
    "data",
    "length",
    "checksum of length",
    "checksum of data",
    "window",
    "label",
    "label values",
    "feature",
    "not a number",
]


@pytest.mark.parametrize("how", KINDS)
def test_damage_is_reported_with_file_and_byte_or_skipped(tmp_path, how):
    path = write(tmp_path)
    assert path.stat().st_size == 5 * RECORD
    message = spoil(path, how)
    with pytest.raises(SampleCNNError) as caught:
        TFRecordSegments(tmp_path, "train").gather(range(5))
    assert message in str(caught.value)
    assert f"{path}: damaged record at byte {2 * RECORD}: " in str(caught.value) and "--skip-corrupt" in str(
        caught.value
    )
    segments = TFRecordSegments(tmp_path, "train", skip_corrupt=True)
    assert len(segments.skipped) == 1 and message in segments.skipped[0] and str(2 * RECORD) in segments.skipped[0]
    assert segments.warnings()[0].startswith("warning: 1 damaged record in the train split skipped (4 segments remain)")
    expected = np.concatenate([sound(clip) for clip in (0, 1, 3, 4)]).astype(np.float32) / 32768
    assert np.array_equal(segments.gather(range(4)), expected)


@pytest.mark.parametrize("left", [1, 12, 500, RECORD - 1])
def test_a_file_that_is_cut_off(tmp_path, left):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[: 3 * RECORD + left])
    with pytest.raises(SampleCNNError, match=f"at byte {3 * RECORD}: the file is cut off"):
        TFRecordSegments(tmp_path, "train")
    segments = TFRecordSegments(tmp_path, "train", skip_corrupt=True)
    assert len(segments) == 3 and f"{left:,} bytes skipped" in segments.skipped[0]


def test_files_without_an_intact_record(tmp_path):
    path = write(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(SampleCNNError, match="empty, 0 bytes"):
        TFRecordSegments(tmp_path, "train")
    with pytest.raises(SampleCNNError, match="no undamaged record"):
        TFRecordSegments(tmp_path, "train", skip_corrupt=True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, 8 * 5 * RECORD - 1))
def test_every_flipped_bit_is_detected(tmp_path, bit):
    """Its record is reported, and if damaged records are skipped, only that record is lost."""
    path = write(tmp_path)
    damaged(path, bit // 8, bytes([path.read_bytes()[bit // 8] ^ 1 << bit % 8]))
    number = bit // 8 // RECORD
    with pytest.raises(SampleCNNError, match=f"at byte {number * RECORD}:"):
        TFRecordSegments(tmp_path, "train").gather(range(5))
    if number == 0 and bit // 8 < 8:
        return  # the length of the first record: the next one cannot be located
    assert len(TFRecordSegments(tmp_path, "train", skip_corrupt=True)) == 4


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from(["train", "test"]))
def test_any_bytes_give_one_clear_error(tmp_path, data, split):
    for old in tmp_path.glob("*.tfrecord"):
        old.unlink()
    path = tmp_path / f"{split}-0001-0001.tfrecord"
    path.write_bytes(data)
    with pytest.raises(SampleCNNError, match=path.name):
        TFRecordSegments(tmp_path, split)


def test_memory_is_bounded_by_the_file(tmp_path):
    """A record that claims 2^60 bytes needs no memory, and one with a million tiny segments needs little."""
    path = write(tmp_path)
    length = struct.pack("<Q", 1 << 60)
    path.write_bytes(length + struct.pack("<I", masked_crc(length)) + bytes(100))
    tracemalloc.start()
    with pytest.raises(SampleCNNError, match="cut off"):
        TFRecordSegments(tmp_path, "train")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    from samplecnn.shards.tfrecord.wire import clip_example

    path.unlink()
    data = clip_example(b"\1\0\0", [b"abcd"] * 10_000)
    frame = struct.pack("<Q", len(data))
    whole = frame + struct.pack("<I", masked_crc(frame)) + data + struct.pack("<I", masked_crc(data))
    (tmp_path / "test-0001-0001.tfrecord").write_bytes(whole)
    tracemalloc.reset_peak()
    with pytest.raises(SampleCNNError, match="4 bytes, expected float32 of 200 samples"):
        TFRecordSegments(tmp_path, "test")
    assert tracemalloc.get_traced_memory()[1] < 30 * len(whole)
    tracemalloc.stop()
