"""The original's networks in Keras, for tests: run by a Python interpreter that has TensorFlow, not by pytest.

    python keras_original.py JOBS.json [tf_keras]

JOBS.json is a list of jobs, done in order; paths are files. With `tf_keras`, Keras 2 does them, else TensorFlow's own.
  {"do": "by_name", "file": h5, "network": {...}, "x": npy, "y": npy}   weights by layer name into the network; predict
  {"do": "whole", "file": h5, "x": npy, "y": npy}                       load_model; predict
  {"do": "make", "network": {...}, "files": [...], "x": npy, "y": npy}  a network with random values; save and predict
A file to make is saved whole if its name begins with "whole", else as weights. A network is described by block, multi,
blocks, classes, features, ratio, activation, year (2019: named layers; 2018: numbered ones).
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np

if sys.argv[2:] == ["tf_keras"]:
    import tf_keras as keras
else:
    from tensorflow import keras
L = keras.layers


class Network:
    """Builds a network; `named` gives the layers of 2019 their names and leaves those of 2018 to Keras."""

    def __init__(self, block, multi, blocks, classes, features, ratio, activation, year=2019):
        self.block, self.ratio, self.year = block, ratio, year
        x = wave = keras.Input((None, 1), **self.named("input"))
        x = L.Conv1D(features, 3, 3, "same" if year == 2019 else "valid", **self.named("conv0"))(x)
        x = L.Activation("relu", **self.named("relu0"))(L.BatchNormalization(epsilon=1e-3, **self.named("norm0"))(x))
        outputs = []
        for i in range(blocks):
            features *= 2 if i in (2, blocks - 1) else 1
            x = (self.residual if "res" in block else self.plain)(x, features, f"block{i}")
            outputs.append(x)
        if multi:
            pooled = [L.GlobalMaxPool1D(**self.named(f"final_pool{i}"))(out) for i, out in enumerate(outputs[-3:])]
            x = L.Concatenate(**self.named("multi"))(pooled)
        else:
            x = L.GlobalMaxPool1D(**self.named("final_pool"))(x)
        x = L.BatchNormalization(epsilon=1e-3, **self.named("final_norm"))(
            L.Dense(int(x.shape[-1]), **self.named("final_fc"))(x)
        )
        x = L.Dropout(0.5, **self.named("final_drop"))(L.Activation("relu", **self.named("final_relu"))(x))
        if year == 2019:
            x = L.Activation(activation, name="pred")(L.Dense(classes, name="logit")(x))
        else:
            x = L.Dense(classes, activation=activation)(x)
        self.model = keras.Model(wave, x, name="sample_cnn")

    def named(self, name):
        return {"name": name} if self.year == 2019 else {}

    def conv(self, x, features, width, conv, norm):
        x = L.Conv1D(features, width, padding="same", **self.named(conv))(x)
        return L.BatchNormalization(epsilon=1e-3, **self.named(norm))(x)

    def excited(self, x, name):
        features = int(x.shape[-1])
        factors = L.Reshape((1, features), **self.named(f"{name}_reshape"))(
            L.GlobalAvgPool1D(**self.named(f"{name}_squeeze"))(x)
        )
        factors = L.Dense(int(features * self.ratio), activation="relu", **self.named(f"{name}_ex0"))(factors)
        factors = L.Dense(features, activation="sigmoid", **self.named(f"{name}_ex1"))(factors)
        return L.Multiply(**self.named(f"{name}_scale"))([x, factors])

    def plain(self, x, features, name):
        x = self.conv(x, features, 3, f"{name}_conv", f"{name}_norm")
        x = L.MaxPool1D(3, **self.named(f"{name}_pool"))(L.Activation("relu", **self.named(f"{name}_relu"))(x))
        return self.excited(x, name) if self.block == "se" else x

    def residual(self, x, features, name):
        shortcut = x
        if int(x.shape[-1]) != features:
            shortcut = self.conv(x, features, 1, f"{name}_scut_conv", f"{name}_scut_norm")
        for i in range(int(self.block[-1])):
            if i:
                x = L.Activation("relu", **self.named(f"{name}_relu{i - 1}"))(x)
                x = L.Dropout(0.2, **self.named(f"{name}_drop{i - 1}"))(x)
            x = self.conv(x, features, 3, f"{name}_conv{i}", f"{name}_norm{i}")
        if "rese" in self.block:
            x = self.excited(x, name)
        x = L.Activation("relu", **self.named(f"{name}_relu1"))(L.Add(**self.named(f"{name}_scut"))([shortcut, x]))
        return L.MaxPool1D(3, **self.named(f"{name}_pool"))(x)


def randomize(model):
    """Values that matter: kernels that keep the signal's size, statistics away from 0 and 1, variances above 0."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        values = layer.get_weights()
        for i, value in enumerate(values):
            if value.ndim > 1:
                values[i] = random.normal(0, np.prod(value.shape[:-1]) ** -0.5, value.shape)
            elif len(values) == 4 and i in (0, 3):
                values[i] = random.uniform(0.5, 1.5, value.shape)
            else:
                values[i] = random.normal(0, 0.3, value.shape)
        layer.set_weights(values)


def do(job):
    if job["do"] == "whole":
        model = keras.models.load_model(job["file"], compile=False)
    else:
        model = Network(**job["network"]).model
        if job["do"] == "by_name":
            randomize(model)  # what the file does not fill stays visible
            model.load_weights(job["file"], by_name=True)
        else:
            randomize(model)
            for file in job["files"]:
                (model.save if Path(file).name.startswith("whole") else model.save_weights)(file)
    np.save(job["y"], np.asarray(model(np.load(job["x"])[..., None], training=False)))


for each in json.loads(Path(sys.argv[1]).read_text()):
    do(each)
