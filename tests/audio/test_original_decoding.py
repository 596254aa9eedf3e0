"""Segments compared with those in files made by the original."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sounds import TASK

from samplecnn.audio import cut, decode


def tfrecords(path: Path) -> list[dict[str, list[bytes]]]:
    """The bytes features of each tf.train.Example or SequenceExample of a TFRecord file, by name."""

    def varint(data: bytes, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 128:
                return value, at

    def messages(data: bytes):
        at = 0
        while at < len(data):
            _, at = varint(data, at)  # every field here is a length and its bytes
            length, at = varint(data, at)
            yield data[at : at + length]
            at += length

    def leaves(data: bytes) -> list[bytes]:
        """A Feature's, or a FeatureList's Features', bytes values: two or three levels down."""
        found = []
        for part in messages(data):
            inner = list(messages(part))
            if len(inner) == 1 and len(inner[0]) < len(part) and inner[0][:1] == b"\n" and kind == "sequence":
                inner = list(messages(inner[0]))
            found += inner
        return found

    data, at, records = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        features: dict[str, list[bytes]] = {}
        for number, group in enumerate(messages(data[at + 12 : at + 12 + length])):
            kind = "sequence" if number == 1 else "context"
            for entry in messages(group):
                key, value = messages(entry)
                features[key.decode()] = leaves(value)
        records.append(features)
        at += length + 16
    return records


def likeness(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.corrcoef(ours, theirs)[0, 1])


@pytest.mark.parametrize(
    ("name", "feature", "padding", "least"),
    [
        ("scd-train", "segment", "stretch", 0.9999),
        ("scd-test", "segments", "stretch", 0.9999),
        ("scd-short-clips", "segment", "stretch", 0.999),
    ],
)
def test_speech_as_the_original_decoded_it(shared, name, feature, padding, least):
    folder = shared / "interop" / "tfrecord"
    task = replace(TASK, window=22050, clip_seconds=1.0, padding=padding)
    records = tfrecords(folder / f"{name}.tfrecord")
    files = json.loads((folder / "contents.json").read_text())[f"{name}.tfrecord"]
    assert len(records) == len(files)
    for record, file in zip(records, files, strict=True):
        (theirs,) = (np.frombuffer(value, np.float32) for value in record[feature])
        (ours,) = cut(decode(folder / "audio" / file, 22050, 1.0), task)
        assert ours.shape == theirs.shape
        assert likeness(ours, theirs) > least
        assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.02 * theirs.std()


def test_short_speech_is_not_stretched_unless_asked(shared):
    folder = shared / "interop" / "tfrecord"
    file = json.loads((folder / "contents.json").read_text())["scd-short-clips.tfrecord"][0]
    (theirs,) = tfrecords(folder / "scd-short-clips.tfrecord")[0]["segment"]
    (ours,) = cut(decode(folder / "audio" / file, 22050, 1.0), replace(TASK, clip_seconds=1.0))
    assert abs(likeness(ours, np.frombuffer(theirs, np.float32))) < 0.5


def test_music_as_the_original_decoded_it(shared):
    folder = shared / "interop" / "tfrecord"
    (record,) = tfrecords(folder / "mtt-test.tfrecord")
    task = replace(TASK, window=59049, clip_seconds=29.0)
    (mp3,) = (shared / "data").glob("joram*.mp3")
    ours = cut(decode(mp3, 22050, 29.0), task).reshape(-1)
    theirs = np.concatenate([np.frombuffer(value, np.float32) for value in record["segments"]])
    assert ours.shape == theirs.shape == (590490,)
    assert likeness(ours, theirs) > 0.999
