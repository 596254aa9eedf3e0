"""Tagging TFRecords: one clip per record, with the same tags as the recording."""

import csv
import gzip

import numpy as np
import pytest
import soundfile

from samplecnn.audio import to_int16
from samplecnn.errors import AudioError
from samplecnn.shards.tfrecord.frames import TFRecordWriter, shard_name
from samplecnn.tagging.find import find_files
from samplecnn.tagging.tag_files import tag_paths

PITCHES = ("low", "high", "middle")


@pytest.fixture
def recorded(tmp_path, model, sound):
    """TFRecords of three clips of four windows, as the test set has them, and of their windows, as the training set."""
    folder = tmp_path / "tfrecord"
    folder.mkdir()
    (folder / "task.json").write_text(model.task.to_json())
    for split in ("test", "train"):
        with TFRecordWriter(folder / shard_name(split, 1, 1), model.task, split == "test") as writer:
            for number, pitch in enumerate(PITCHES):
                wave = to_int16(sound((pitch, 1.0)))
                soundfile.write(tmp_path / f"{pitch}.wav", wave, model.task.sample_rate)
                writer.add(pitch, [number], wave.reshape(4, model.task.window))
    return folder


def test_compressed_records_get_the_same_tags(recorded, tagger):
    path = recorded / "test-0001-0001.tfrecord"
    plain = [tags.over_time for _, tags in tagger.tag_files(find_files([path]).files)]
    path.write_bytes(gzip.compress(path.read_bytes()))
    packed = [tags.over_time for _, tags in tagger.tag_files(find_files([path]).files)]
    assert len(packed) == 3 and np.array_equal(packed, plain)


def test_records_get_the_tags_of_their_recordings(recorded, tmp_path, tagger):
    names = find_files([recorded / "test-0001-0001.tfrecord"]).files
    assert names == [f"{recorded}/test-0001-0001.tfrecord#{number}" for number in range(3)]
    for (name, tags), pitch in zip(tagger.tag_files(names), PITCHES, strict=True):
        expected = tagger(tmp_path / f"{pitch}.wav")
        np.testing.assert_array_equal(tags.over_time, expected.over_time)
        np.testing.assert_array_equal(tags.times, expected.times)
        assert tags.seconds == expected.seconds == 1 and tags.top(1)[0][0] == pitch
        assert tagger(name).top(1) == tags.top(1)


def test_a_folder_of_them(recorded, tmp_path, model):
    assert len(find_files([recorded]).files) == 3 + 12
    out = tmp_path / "tags.csv"
    report = tag_paths(model, [recorded, tmp_path / "low.wav"], "csv", out)
    rows = list(csv.DictReader(out.open()))
    assert report.files == len(rows) == 16 and not report.failed
    best = [max(PITCHES, key=lambda pitch, row=row: float(row[pitch])) for row in rows]
    assert best == [*PITCHES, *np.repeat(PITCHES, 4), "low"]


def test_a_damaged_record_is_listed_and_the_others_are_tagged(recorded, tmp_path, model):
    path = recorded / "test-0001-0001.tfrecord"
    content = bytearray(path.read_bytes())
    content[40_000] ^= 1
    path.write_bytes(content)
    report = tag_paths(model, [path], "csv", tmp_path / "tags.csv")
    [(name, why)] = report.failed
    assert name == f"{path}#1" and f"at byte {len(content) // 3}: the checksum of its data is wrong" in why
    assert report.files == 3


def test_records_that_do_not_match_the_model_are_refused(recorded, tmp_path, tagger, model):
    path = recorded / "test-0001-0001.tfrecord"
    with pytest.raises(AudioError, match="there are 3 records"):
        tagger(f"{path}#3")
    with pytest.raises(AudioError, match="No such file"):
        tagger(f"{tmp_path}/none.tfrecord#0")
    (recorded / "task.json").write_text(model.task.to_json().replace('"sample_rate": 8000', '"sample_rate": 16000'))
    with pytest.raises(AudioError, match="16000 Hz; this model takes 8000"):
        tagger(f"{path}#0")
    other = recorded / "val-0001-0001.tfrecord"
    with TFRecordWriter(other, model.task, whole_clips=False) as writer:
        writer.add("x", [0], np.ones((1, 100), np.int16))
    with pytest.raises(AudioError, match="100 samples; this model takes 2000"):
        tagger(f"{other}#0")
    other.write_bytes(b"")
    assert find_files([other]).files == [f"{other}#0"]
    with pytest.raises(AudioError, match="there are 0 records"):
        tagger(f"{other}#0")


def test_scores_equal_those_of_the_evaluation(recorded, model, tagger):
    from samplecnn.evaluation import predict
    from samplecnn.shards.tfrecord.reader import TFRecordSegments

    tested = predict(model, TFRecordSegments(recorded, "test")).y_prob
    tagged = [tags.scores for _, tags in tagger.tag_files(find_files([recorded / "test-0001-0001.tfrecord"]).files)]
    np.testing.assert_allclose(tested, np.stack(tagged), rtol=1e-5)  # batches of other sizes
