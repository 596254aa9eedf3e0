"""The original's network in TensorFlow, in inference, as a separate program: see samplecnn.bench.peers.

    python tensorflow_infer.py fp32|bf16 BATCH_SIZE BATCHES WINDOW CONFIG

CONFIG is a `ModelConfig` as JSON, with `widths`; the values are Keras's initial ones. It does not import samplecnn.
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
import tensorflow_network

precision, (batch_size, batches, window), config = sys.argv[1], map(int, sys.argv[2:5]), json.loads(sys.argv[5])
if precision == "bf16":
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
network = tensorflow_network.network(config, window)
infer = tf.function(lambda x: tf.sigmoid(network(x, training=False)))
segments = tf.random.stateless_normal([batch_size, window, 1], seed=[0, 0])

print(json.dumps({"tensorflow": tf.__version__}), flush=True)
for _ in sys.stdin:
    for _ in range(batches):
        infer(segments).numpy()
    print(json.dumps({"units": batches * batch_size}), flush=True)
