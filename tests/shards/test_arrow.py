"""The shard files: round trip, random access, bounded memory, and reported damage."""

import multiprocessing
import os
import pickle
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samplecnn.errors import SampleCNNError
from samplecnn.shards import arrow, arrow_segments
from samplecnn.shards import segments as segments_module
from samplecnn.shards.arrow import ShardWriter, set_statistics, shard_name
from samplecnn.shards.arrow_segments import ArrowSegments
from samplecnn.task import Task

TASK = Task("t", ("a", "b", "c"), "multilabel", sample_rate=1000, window=300)


def sound(clip: int, segments: int, window: int = 300) -> np.ndarray:
    return np.random.default_rng(clip).integers(-32768, 32768, (segments, window)).astype(np.int16)


def write_set(folder: Path, clips_of_shards: list[list[int]], task: Task = TASK, split: str = "train") -> None:
    """Shards whose clip c has c % 4 + 1 segments and the labels {c % 3, 2}."""
    folder.mkdir(exist_ok=True)
    for number, clips in enumerate(clips_of_shards, 1):
        with ShardWriter(folder / shard_name(split, number, len(clips_of_shards)), task) as writer:
            for clip in clips:
                writer.add(f"clip {clip}", sorted({clip % 3, 2}), sound(clip, clip % 4 + 1, task.window))


@pytest.fixture
def folder(tmp_path):
    write_set(tmp_path / "arrow", [[0, 1, 2, 3], [4, 5], [], [6, 7, 8]])
    return tmp_path / "arrow"


def test_round_trip(folder):
    segments = ArrowSegments(folder, "train")
    expected = [(clip, number) for clip in range(9) for number in range(clip % 4 + 1)]
    assert len(segments) == len(expected) and segments.num_clips == 9
    assert segments.ids == [f"clip {clip}" for clip, _ in expected]
    assert segments.segment.tolist() == [number for _, number in expected]
    assert segments.segment.dtype == np.int32 and segments.labels.dtype == np.uint8
    assert segments.labels.tolist() == [[int(c in (clip % 3, 2)) for c in range(3)] for clip, _ in expected]
    assert segments.task == TASK
    assert segments.bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert [segments.ids[start] for start in segments.clip_starts] == [f"clip {clip}" for clip in range(9)]
    audio = segments.gather(range(len(segments)))
    assert audio.dtype == np.int16
    for row, (clip, number) in zip(audio, expected, strict=True):
        assert np.array_equal(row, sound(clip, clip % 4 + 1)[number])


def test_gather_in_any_order_with_repeats(folder):
    segments = ArrowSegments(folder, "train")
    everything = segments.gather(np.arange(len(segments)))
    order = np.random.default_rng(0).integers(0, len(segments), 200)
    assert np.array_equal(segments.gather(order), everything[order])
    assert np.array_equal(segments.gather(order.tolist()), everything[order])
    out = np.empty((3, 300), np.int16)
    assert segments.gather([2, 2, 1], out) is out and np.array_equal(out, everything[[2, 2, 1]])
    assert segments.gather([]).shape == (0, 300)
    for wrong in ([-1], [len(segments)]):
        with pytest.raises(IndexError):
            segments.gather(wrong)


def test_long_clips_cross_record_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "BATCH_BYTES", 5 * 300 * 2)
    (tmp_path / "arrow").mkdir()
    with ShardWriter(tmp_path / "arrow" / shard_name("val", 1, 1), TASK) as writer:
        for clip in range(3):
            writer.add(str(clip), [0], sound(clip, 13))
    segments = ArrowSegments(tmp_path / "arrow", "val")
    assert segments.segment.tolist() == [*range(13)] * 3
    assert np.array_equal(segments.gather(range(39)), np.concatenate([sound(clip, 13) for clip in range(3)]))


@pytest.mark.parametrize("reads_at", [True, False])
def test_many_shards_with_few_open_files(tmp_path, monkeypatch, reads_at):
    monkeypatch.setattr(arrow_segments, "CAN_READ_AT", reads_at and arrow_segments.CAN_READ_AT)
    monkeypatch.setattr(segments_module, "open_shards", lambda: 2)  # its value is cached for the process
    monkeypatch.setattr(segments_module, "RESIDENT_BYTES", 5000)
    write_set(tmp_path / "arrow", [[clip] for clip in range(12)])
    segments = ArrowSegments(tmp_path / "arrow", "train")
    expected = np.concatenate([sound(clip, clip % 4 + 1) for clip in range(12)])
    order = np.random.default_rng(0).integers(0, len(segments), 300)
    assert np.array_equal(segments.gather(order), expected[order])
    assert sorted([len(segments._maps), len(segments._files)]) == [0, 2]
    every_other = np.empty((300, 600), np.int16)[:, ::2]  # not contiguous, so it cannot be read into
    assert np.array_equal(segments.gather(order, every_other), expected[order])


def _sum_of(job):
    segments, rows = job
    return segments.gather(rows).sum(dtype=np.int64)


def test_processes_and_threads_read_the_same(folder):
    segments = ArrowSegments(folder, "train")
    rows = [np.random.default_rng(k).integers(0, len(segments), 50) for k in range(8)]
    expected = [segments.gather(r).sum(dtype=np.int64) for r in rows]
    again = pickle.loads(pickle.dumps(segments))
    assert again.task == segments.task and np.array_equal(again.gather(rows[0]), segments.gather(rows[0]))
    for method in ("spawn", "fork"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(_sum_of, [(segments, r) for r in rows]) == expected

    wrong = []

    def read(k: int) -> None:
        for _ in range(50):
            if segments.gather(rows[k]).sum(dtype=np.int64) != expected[k]:
                wrong.append(k)

    threads = [threading.Thread(target=read, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_stays_flat_while_reading(tmp_path, monkeypatch):
    """Ten times the limit is read; about the limit stays resident."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")

    def resident() -> int:
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1]) << 10

    monkeypatch.setattr(segments_module, "RESIDENT_BYTES", 8 << 20)
    task = replace(TASK, window=50_000)
    write_set(tmp_path / "arrow", [[3] * 100, [3] * 100], task)  # 80 MB
    segments = ArrowSegments(tmp_path / "arrow", "train")
    segments.gather(range(10))
    before = resident()
    most = 0
    for start in range(0, len(segments), 10):
        segments.gather(range(start, start + 10))
        most = max(most, resident())
    assert most - before < 24 << 20


def test_a_shard_truncated_while_it_is_read(folder):
    segments = ArrowSegments(folder, "train")
    path = folder / shard_name("train", 4, 4)
    os.truncate(path, 100)
    if arrow_segments.CAN_READ_AT:
        with pytest.raises(SampleCNNError, match="arrow: shorter than when it was opened"):
            segments.gather([len(segments) - 1])


def test_statistics_are_set_in_place(folder):
    audio = ArrowSegments(folder, "train").gather(range(5))
    final = TASK.with_statistics(-1.2345678901234567e-05, 0.12345678901234567)
    sizes = [path.stat().st_size for path in sorted(folder.iterdir())]
    for path in folder.iterdir():
        set_statistics(path, final)
    segments = ArrowSegments(folder, "train")
    assert segments.task == final
    assert np.array_equal(segments.gather(range(5)), audio)
    assert [path.stat().st_size for path in sorted(folder.iterdir())] == sizes
    path = folder / shard_name("train", 1, 4)
    with pa.ipc.open_file(str(path)) as reader:  # visible to any Arrow reader, in the footer and at the head
        assert reader.read_all().column_names == ["id", "segment", "labels", "audio"]
        schemas = [reader.schema, pa.ipc.open_stream(path.read_bytes()[8:]).schema]
    for schema in schemas:
        assert Task.from_json(schema.metadata[arrow.TASK_KEY].decode()) == final


def test_setting_statistics_can_be_repeated_after_an_interruption(folder):
    path = folder / shard_name("train", 1, 4)
    before = path.read_bytes()
    final = TASK.with_statistics(0.5, 0.25)
    set_statistics(path, final)
    whole = path.read_bytes()
    middle = len(before) // 2
    for half in (whole[:middle] + before[middle:], before[:middle] + whole[middle:]):
        path.write_bytes(half)
        set_statistics(path, final)
        assert path.read_bytes() == whole


def refusal(folder: Path) -> str:
    with pytest.raises(SampleCNNError) as caught:
        ArrowSegments(folder, "train")
    assert "\n" not in str(caught.value) and ";" in str(caught.value)
    return str(caught.value)


def test_missing_shard(folder):
    (folder / shard_name("train", 3, 4)).unlink()
    assert "train-00003-of-00004.arrow: missing" in refusal(folder)


def test_no_shards(folder):
    with pytest.raises(SampleCNNError, match="no shards of the test split"):
        ArrowSegments(folder, "test")


def test_shards_of_two_builds(folder):
    write_set(folder, [[1]])
    assert "2 different builds of the train split" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 1, 0.1, 0.5, 0.99])
def test_truncated_shard(folder, kept):
    path = folder / shard_name("train", 2, 4)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept != 1 else len(data) - 1])
    assert "train-00002-of-00004.arrow: damaged" in refusal(folder)


def test_other_format_version(folder, monkeypatch):
    monkeypatch.setattr(arrow_segments, "FORMAT", "99")
    assert "format version '1', but this samplecnn reads 99" in refusal(folder)


def test_mixed_tasks(folder):
    with ShardWriter(folder / shard_name("train", 2, 4), replace(TASK, threshold=0.1)) as writer:
        writer.add("x", [0], sound(0, 1))
    assert "train-00002-of-00004.arrow: built for a different task" in refusal(folder)


def test_other_arrow_files(folder):
    path = folder / shard_name("train", 1, 4)
    table = pa.table({"id": ["a"]})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    assert "not one of samplecnn's" in refusal(folder)


def test_columns_that_do_not_match_the_task(folder):
    path = folder / shard_name("train", 1, 4)
    other = arrow.schema(replace(TASK, window=299)).with_metadata(arrow.schema(TASK).metadata)
    with pa.ipc.new_file(str(path), other):
        pass
    assert "columns" in refusal(folder)


@pytest.mark.slow
def test_damaged_bytes_give_valid_segments_or_an_error(tmp_path):
    write_set(tmp_path / "arrow", [[1, 2]])
    path = tmp_path / "arrow" / shard_name("train", 1, 1)
    data = path.read_bytes()
    places = st.integers(0, 1500) | st.integers(len(data) - 1500, len(data) - 1)

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4))
    def check(changes):
        damaged = bytearray(data)
        for place, value in changes:
            damaged[place] = value
        path.write_bytes(damaged)
        try:
            segments = ArrowSegments(tmp_path / "arrow", "train")
            segments.gather(range(len(segments)))
        except SampleCNNError:
            pass

    check()
