"""Files of the code of 2018, built here layer by layer as that code and Keras 2.0.5 build them."""

import json

import h5py
import numpy as np
import pytest
import torch

import samplecnn
from samplecnn import datasets
from samplecnn.errors import SampleCNNError
from samplecnn.interop.keras import h5

pytestmark = [
    pytest.mark.usefixtures("in_this_process"),
    pytest.mark.filterwarnings("error::UserWarning"),  # no layer of these files is left out
]


class Keras2018:
    """Numbers layers in the order of creation, keeps their weights and computes outputs for a wave [batch, samples]."""

    def __init__(self, wave: np.ndarray, before: int = 0) -> None:
        self.random = np.random.default_rng(0)
        self.numbers: dict[str, int] = {}
        self.before = before  # layers of each kind created earlier in the session, for another model
        self.weights: dict[str, dict[str, np.ndarray]] = {}
        self.layers: list[dict] = []
        self.y = wave[:, :, None]

    def name(self, prefix: str, kind: str, **settings) -> str:
        self.numbers[prefix] = self.numbers.get(prefix, self.before) + 1
        name = f"{prefix}_{self.numbers[prefix]}"
        settings = {"name": name, "trainable": True, **settings}
        self.layers.append({"class_name": kind, "config": settings, "name": name, "inbound_nodes": []})
        return name

    def normal(self, *shape: int) -> np.ndarray:
        return self.random.normal(0, np.prod(shape[:-1]) ** -0.5 if len(shape) > 1 else 0.3, shape).astype("f4")

    def conv(self, x, features, width, stride=1, padding="same"):
        name = self.name("conv1d", "Conv1D", strides=[stride], padding=padding, activation="linear")
        kernel, bias = self.normal(width, x.shape[2], features), self.normal(features)
        self.weights[name] = {"kernel": kernel, "bias": bias}
        if padding == "same":
            x = np.pad(x, ((0, 0), (width // 2, width // 2), (0, 0)))
        steps = range(0, x.shape[1] - width + 1, stride)
        return np.stack([np.einsum("bwi,wio->bo", x[:, t : t + width], kernel) + bias for t in steps], axis=1)

    def norm(self, x):
        name = self.name("batch_normalization", "BatchNormalization", epsilon=0.001, axis=-1)
        gamma, variance = self.random.uniform(0.5, 1.5, (2, x.shape[-1])).astype("f4")
        beta, mean = self.normal(x.shape[-1]), self.normal(x.shape[-1])
        self.weights[name] = {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": variance}
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def relu(self, x):
        self.name("activation", "Activation", activation="relu")
        return np.maximum(x, 0)

    def pool(self, x):
        self.name("max_pooling1d", "MaxPooling1D", pool_size=[3], strides=[3], padding="valid")
        steps = x.shape[1] // 3
        return x[:, : steps * 3].reshape(x.shape[0], steps, 3, x.shape[2]).max(axis=2)

    def dense(self, x, units, activation="linear"):
        name = self.name("dense", "Dense", units=units, activation=activation)
        self.weights[name] = {"kernel": self.normal(x.shape[-1], units), "bias": self.normal(units)}
        x = x @ self.weights[name]["kernel"] + self.weights[name]["bias"]
        if activation == "sigmoid":
            return 1 / (1 + np.exp(-x))
        return np.maximum(x, 0) if activation == "relu" else x

    def excited(self, x, alpha):
        self.name("global_average_pooling1d", "GlobalAveragePooling1D")
        self.name("reshape", "Reshape")
        features = x.shape[2]
        factors = self.dense(self.dense(x.mean(axis=1, keepdims=True), features * alpha, "relu"), features, "sigmoid")
        self.name("multiply", "Multiply")
        return x * factors

    def block(self, x, kind, features, alpha):
        if kind in ("basic", "se"):
            x = self.pool(self.relu(self.norm(self.conv(x, features, 3))))
            return self.excited(x, alpha) if kind == "se" else x
        shortcut = x
        if x.shape[2] != features:
            shortcut = self.norm(self.conv(x, features, 1))
        x = self.relu(self.norm(self.conv(x, features, 3)))
        self.name("dropout", "Dropout", rate=0.2)
        x = self.norm(self.conv(x, features, 3))
        if kind == "rese":
            x = self.excited(x, alpha)
        self.name("add", "Add")
        return self.pool(self.relu(x + shortcut))

    def network(self, kind, multi, features, alpha, classes, blocks):
        self.name("input", "InputLayer")
        self.name("reshape", "Reshape")
        x = self.relu(self.norm(self.conv(self.y, features, 3, stride=3, padding="valid")))
        outputs = []
        for i in range(blocks):
            features *= 2 if i in (2, blocks - 1) else 1
            x = self.block(x, kind, features, alpha)
            outputs.append(x)
        x = np.concatenate([x.max(axis=1) for x in outputs[-3 if multi else -1 :]], axis=1)
        x = self.relu(self.norm(self.dense(x, x.shape[1])))
        self.y = self.dense(x, classes, "sigmoid")
        return self

    def save(self, path, whole: bool, nested: bool = True) -> None:
        with h5py.File(path, "w") as file:
            group = file.create_group("model_weights") if whole else file
            group.attrs["layer_names"] = [layer["name"].encode() for layer in self.layers]
            group.attrs["backend"], group.attrs["keras_version"] = b"tensorflow", b"2.0.5"
            for layer in self.layers:
                weights = self.weights.get(layer["name"], {})
                inside = f"{layer['name']}/" if nested else ""
                place = group.create_group(layer["name"])
                place.attrs["weight_names"] = [f"{inside}{name}:0".encode() for name in weights]
                for name, value in weights.items():
                    place[f"{inside}{name}:0"] = value
            if whole:
                config = {"name": "tf_record_model_1", "layers": self.layers, "input_layers": [], "output_layers": []}
                text = json.dumps({"class_name": "TFRecordModel", "config": config})
                file.attrs["model_config"] = text.encode()
                file.create_group("optimizer_weights")["SGD/iterations:0"] = 7.0


def make(kind="se", multi=True, features=4, alpha=16, classes=50, blocks=9, samples=59049, before=0) -> Keras2018:
    wave = np.random.default_rng(1).standard_normal((1, samples)).astype("f4")
    return Keras2018(wave, before).network(kind, multi, features, alpha, classes, blocks)


def outputs(model, samples: int) -> np.ndarray:
    wave = np.random.default_rng(1).standard_normal((1, samples)).astype("f4")
    with torch.no_grad():
        return model.probabilities(torch.from_numpy(wave)).numpy()


@pytest.mark.parametrize("kind", ["basic", "se", "res", "rese"])
@pytest.mark.parametrize("multi", [False, True])
def test_outputs_are_those_of_the_code_of_2018(tmp_path, kind, multi):
    """Length not a multiple of 3, where `valid` matters; numbers that continue those of another model."""
    older = make(kind, multi, alpha=2, blocks=4, samples=800, before=17)
    for whole in (True, False):
        older.save(tmp_path / "m.hdf5", whole, nested=whole)
        model = samplecnn.load(tmp_path / "m.hdf5")
        assert model.config.block == {"res": "res2", "rese": "rese2"}.get(kind, kind)
        assert model.config.multi == multi and model.config.first_padding == "valid"
        assert np.abs(outputs(model, 800) - older.y).max() < 1e-5


@pytest.mark.parametrize("kind", ["se", "rese"])
def test_the_published_models_layout(tmp_path, kind):
    """Nine blocks, 59,049 samples, 50 tags, excitations 16 times as wide as the features."""
    older = make(kind)
    path = tmp_path / f"{kind}-multi-auc_0.9111-tfrmodel.hdf5"
    older.save(path, whole=True)
    model = samplecnn.load(path)
    assert model.config.num_blocks == 9 and model.config.amplifying_ratio == 16 and model.config.multi
    assert np.abs(outputs(model, 59049) - older.y).max() < 1e-5
    known = datasets.REGISTRY["mtt"].task()
    assert model.task.classes == known.classes and model.task.clip_samples == known.clip_samples
    assert (model.task.mean, model.task.std, model.task.window) == (0.0, 1.0, 59049)


def test_conversion_to_the_layout_of_2019_and_back(tmp_path):
    older = make("rese", alpha=3, blocks=3, samples=250, classes=5)
    older.save(tmp_path / "m.hdf5", whole=False)
    model = samplecnn.load(tmp_path / "m.hdf5")
    h5.write(model, tmp_path / "new.h5")
    again = samplecnn.load(tmp_path / "new.h5")
    assert again.config == model.config and again.task == model.task
    assert np.abs(outputs(again, 250) - older.y).max() < 1e-5


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, "f4")


def settings(older: Keras2018, name: str) -> dict:
    return next(layer["config"] for layer in older.layers if layer["name"] == name)


def add_gru(older: Keras2018) -> None:
    older.weights[older.name("gru", "GRU")] = {"kernel": zeros(4, 9)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: o.weights["dense_3"].update(kernel=zeros(4, 9)), r"dense_3 .*\[4, 9\], expected .*\[4, 8\]"),
        (lambda o: o.weights["conv1d_3"].update(kernel=zeros(3, 4, 9)), r"conv1d_3 .*\[3, 4, 9\].*\[3, 4, 4\]"),
        (lambda o: o.weights.pop("conv1d_2"), "5 batch_normalization layers; .* 3 convolutions has 4"),
        (lambda o: o.weights["batch_normalization_2"].pop("beta"), "beta of layer batch_normalization_2 is missing"),
        (add_gru, "layer gru_1 has no place"),
        (lambda o: settings(o, "conv1d_2").update(padding="causal"), "conv1d_2 has padding 'causal'"),
        (lambda o: settings(o, "dense_1").update(activation="tanh"), "dense_1 has activation 'tanh'"),
    ],
)
def test_mismatches_are_named(tmp_path, change, message):
    older = make("se", multi=False, alpha=2, blocks=3, samples=250)
    change(older)
    older.save(tmp_path / "m.hdf5", whole=True)
    with pytest.raises(SampleCNNError, match=message) as error:
        samplecnn.load(tmp_path / "m.hdf5")
    assert str(error.value).startswith(str(tmp_path / "m.hdf5"))
