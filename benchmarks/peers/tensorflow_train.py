"""Training steps of the same network in TensorFlow, as a separate program: see samplecnn.bench.peers.

    python tensorflow_train.py SETTINGS

SETTINGS is a JSON object: the fields of `ModelConfig`, `widths`, `window`, `batch_size`, `steps`, `threads`, `device`
and `precision`, "fp32" or "bf16" (Keras's mixed_bfloat16). The step is a tf.function, as Keras 2
compiles one; the batch stays in memory. It does not import samplecnn.
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
import tensorflow_network

settings = json.loads(sys.argv[1])
if settings["device"] == "cpu":
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
else:
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # by default it takes all of the memory
    if not tf.config.list_physical_devices("GPU"):
        sys.exit("this TensorFlow finds no GPU")
if settings["precision"] == "bf16":
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")

model = tensorflow_network.network(settings, settings["window"])
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
