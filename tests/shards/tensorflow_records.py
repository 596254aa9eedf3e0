"""Run by an interpreter that has TensorFlow: reads TFRecords the way the original's lib/data/batch.py does, and writes
them the way its lib/data/audio.py does.

    python tensorflow_records.py FOLDER NUM_CLASSES WINDOW

Reads FOLDER/train-*.tfrecord and FOLDER/test-*.tfrecord, leaves what it found in FOLDER/found.npz, and writes the same
again to FOLDER/again/.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

folder, num_classes, window = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


def files(split: str) -> tf.data.TFRecordDataset:
    return tf.data.TFRecordDataset(sorted(map(str, folder.glob(f"{split}-*.tfrecord"))))


def bytes_feature(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


text = tf.io.FixedLenFeature([], tf.string)
train, test = [], []
for record in files("train"):
    parsed = tf.io.parse_single_example(record, {"label": text, "segment": text})
    label, segment = tf.io.decode_raw(parsed["label"], tf.uint8), tf.io.decode_raw(parsed["segment"], tf.float32)
    train.append((label.numpy(), segment.numpy()))
for record in files("test"):
    context, sequence = tf.io.parse_single_sequence_example(
        record, {"label": text}, {"segments": tf.io.FixedLenSequenceFeature([], tf.string)}
    )
    label, segments = tf.io.decode_raw(context["label"], tf.uint8), tf.io.decode_raw(sequence["segments"], tf.float32)
    test.append((label.numpy(), segments.numpy()))
np.savez(
    folder / "found.npz",
    train_labels=np.stack([label for label, _ in train]),
    train_segments=np.stack([segment for _, segment in train]),
    test_labels=np.stack([label for label, _ in test]),
    test_segments=np.concatenate([segments for _, segments in test]),
)

(folder / "again").mkdir()
with tf.io.TFRecordWriter(str(folder / "again" / "train-0001-0001.tfrecord")) as writer:
    for label, segment in train:
        feature = {"label": bytes_feature(label.tobytes()), "segment": bytes_feature(segment.tobytes())}
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
with tf.io.TFRecordWriter(str(folder / "again" / "test-0001-0001.tfrecord")) as writer:
    for label, segments in test:
        listed = tf.train.FeatureList(feature=[bytes_feature(segment.tobytes()) for segment in segments])
        example = tf.train.SequenceExample(
            context=tf.train.Features(feature={"label": bytes_feature(label.tobytes())}),
            feature_lists=tf.train.FeatureLists(feature_list={"segments": listed}),
        )
        writer.write(example.SerializeToString())
