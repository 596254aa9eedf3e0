"""The original's input pipeline, in TensorFlow, as a separate program: see samplecnn.bench.peers.

    python tensorflow_load.py original|tuned FOLDER BATCH_SIZE NUM_READERS MEAN STD

"original" is its lib/data/batch.py: sequential files, NUM_READERS parallel parsers, a shuffle buffer of 10,000
segments, 8 * batch_size batches prefetched. "tuned" is what TensorFlow's guide advises today: parallel reads, automatic
tuning, non-deterministic order, and a smaller shuffle buffer. It does not import samplecnn.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

kind, folder, (batch_size, num_readers) = sys.argv[1], Path(sys.argv[2]), map(int, sys.argv[3:5])
mean, std = map(float, sys.argv[5:7])


def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    text = tf.io.FixedLenFeature([], tf.string)
    found = tf.io.parse_single_example(record, {"label": text, "segment": text})
    segment = (tf.io.decode_raw(found["segment"], tf.float32) - mean) / std
    label = tf.cast(tf.io.decode_raw(found["label"], tf.uint8), tf.float32)
    return tf.expand_dims(segment, -1), label


files = sorted(map(str, folder.glob("train-*.tfrecord")))
if kind == "original":
    data = tf.data.TFRecordDataset(files).map(parse, num_parallel_calls=num_readers)
    data = data.shuffle(10_000).batch(batch_size).prefetch(8 * batch_size)
else:
    data = tf.data.TFRecordDataset(files, num_parallel_reads=tf.data.AUTOTUNE)
    data = data.shuffle(1_000).map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    data = data.batch(batch_size).prefetch(tf.data.AUTOTUNE)

print(json.dumps({"tensorflow": tf.__version__}), flush=True)
for _ in sys.stdin:
    units = 0
    for _, labels in data:
        units += len(labels)
    print(json.dumps({"units": units}), flush=True)
