"""The original's network in TensorFlow, in inference, as a program of its own: see `rounds.Peer`.

    python tfinfer.py fp32|bf16 BATCH_SIZE BATCHES WINDOW CONFIG

CONFIG is a `ModelConfig` as JSON, with `widths`. The layers are those of the original's lib/model.py; the values are
Keras's initial ones. It imports nothing of samplecnn.
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
from tensorflow.keras import layers

precision, (batch_size, batches, window), config = sys.argv[1], map(int, sys.argv[2:5]), json.loads(sys.argv[5])
if precision == "bf16":
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
block = config["block"]


def conv(x, features: int, width: int = 3, stride: int = 1):  # type: ignore[no-untyped-def]
    x = layers.Conv1D(features, width, strides=stride, padding="same")(x)
    return layers.BatchNormalization()(x)


def excited(x, features: int):  # type: ignore[no-untyped-def]
    if "se" not in block:
        return x
    factors = layers.GlobalAveragePooling1D()(x)
    factors = layers.Dense(int(features * config["amplifying_ratio"]), activation="relu")(factors)
    factors = layers.Dense(features, activation="sigmoid")(factors)
    return layers.Multiply()([x, layers.Reshape((1, features))(factors)])


def step(x, channels: int, features: int):  # type: ignore[no-untyped-def]
    if not block.startswith("res"):
        return excited(layers.MaxPooling1D(3)(layers.ReLU()(conv(x, features))), features)
    shortcut = x if channels == features else conv(x, features, width=1)
    path = conv(x, features)
    if block[-1] == "2":
        path = conv(layers.ReLU()(path), features)
    return layers.MaxPooling1D(3)(layers.ReLU()(layers.Add()([excited(path, features), shortcut])))


wave = layers.Input((window, 1))
x = layers.ReLU()(conv(wave, config["features"], stride=3))
channels, levels = config["features"], []
for features in config["widths"]:
    x, channels = step(x, channels, features), features
    levels.append(layers.GlobalMaxPooling1D()(x))
x = layers.Concatenate()(levels[-3:]) if config["multi"] else levels[-1]
x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(x.shape[-1])(x)))
out = layers.Dense(config["num_classes"], activation="sigmoid", dtype="float32")(x)
network = tf.keras.Model(wave, out)
infer = tf.function(lambda x: network(x, training=False))
segments = tf.random.stateless_normal([batch_size, window, 1], seed=[0, 0])

print(json.dumps({"tensorflow": tf.__version__}), flush=True)
for _ in sys.stdin:
    for _ in range(batches):
        infer(segments).numpy()
    print(json.dumps({"units": batches * batch_size}), flush=True)
