"""Training steps of the same network in TensorFlow, as a program of its own: see `rounds.Peer`.

    python tftrain.py SETTINGS

SETTINGS is a JSON object: the fields of `ModelConfig`, `widths`, `window`, `batch_size`, `steps`, `threads`, `device`
and `precision`, "fp32" or "bf16" (Keras's mixed_bfloat16). The network is built layer by layer as the original builds
it ([batch, time, channels]), the step is a tf.function, as Keras 2 compiles one; the batch stays in memory. It imports
nothing of samplecnn.
"""

# mypy: disable-error-code="no-untyped-def"

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

settings = json.loads(sys.argv[1])
if settings["device"] == "cpu":
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
else:
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # otherwise it takes all there is from the others
    if not tf.config.list_physical_devices("GPU"):
        sys.exit("this TensorFlow finds no GPU")
if settings["precision"] == "bf16":
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")

layers = tf.keras.layers
block, residual = settings["block"], settings["block"].startswith("res")


def conv(x, features, width=3, stride=1):
    x = layers.Conv1D(features, width, strides=stride, padding="same")(x)
    return layers.BatchNormalization(epsilon=1e-3, momentum=0.99)(x)


def excited(x, features):
    if "se" not in block:
        return x
    factors = layers.GlobalAveragePooling1D()(x)
    factors = layers.Dense(int(features * settings["amplifying_ratio"]), activation="relu")(factors)
    factors = layers.Dense(features, activation="sigmoid")(factors)
    return layers.Multiply()([x, layers.Reshape((1, features))(factors)])


def stacked(x, channels, features):
    if not residual:
        return excited(layers.MaxPool1D(3)(layers.ReLU()(conv(x, features))), features)
    path = conv(x, features)
    if block.endswith("2"):
        path = conv(layers.Dropout(0.2)(layers.ReLU()(path)), features)
    shortcut = x if channels == features else conv(x, features, width=1)
    return layers.MaxPool1D(3)(layers.ReLU()(layers.Add()([excited(path, features), shortcut])))


wave = tf.keras.Input((settings["window"], 1))
x, channels, levels = layers.ReLU()(conv(wave, settings["features"], stride=3)), settings["features"], []
for features in settings["widths"]:
    x, channels = stacked(x, channels, features), features
    levels.append(layers.GlobalMaxPool1D()(x))
x = layers.Concatenate()(levels[-3:]) if settings["multi"] else levels[-1]
x = layers.Dense(x.shape[-1])(x)
x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-3, momentum=0.99)(x))
logits = layers.Dense(settings["num_classes"])(layers.Dropout(settings["dropout"])(x))
model = tf.keras.Model(wave, layers.Activation("linear", dtype="float32")(logits))

optimizer = tf.keras.optimizers.SGD(1e-3, momentum=0.9, nesterov=True)
audio = tf.random.normal((settings["batch_size"], settings["window"], 1))
labels = tf.zeros((settings["batch_size"], settings["num_classes"]))


@tf.function
def step():
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, model(audio, training=True)))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss


print(json.dumps({"tensorflow": tf.__version__, "parameters": model.count_params()}), flush=True)
for _ in sys.stdin:
    for _ in range(settings["steps"]):
        loss = step()
    loss.numpy()
    print(json.dumps({"units": settings["steps"] * settings["batch_size"]}), flush=True)
