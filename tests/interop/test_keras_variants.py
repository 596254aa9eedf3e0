"""Keras's description of networks with other sizes, computed layer by layer as Keras documents its layers."""

import json

import h5py
import numpy as np
import pytest
import torch

from samplecnn import ModelConfig, SampleCNN, Task
from samplecnn.interop.keras import h5
from samplecnn.interop.keras.hdf5 import CONFIG_ATTRIBUTE

VARIANTS = {
    "the original's": {"block": "rese2", "multi": True},
    "pools of 2": {"block": "se", "pool_size": 2, "filter_size": 2},
    "filters of 5": {"block": "res1", "pool_size": 4, "filter_size": 5, "num_blocks": 2},
    "frames of 9": {"block": "basic", "first_size": 9},
    "strided": {"block": "se", "pooling": "strided"},
    "strided residual, wide": {"block": "rese2", "pooling": "strided", "pool_size": 2, "filter_size": 5},
    "strided, uneven": {"block": "basic", "pooling": "strided", "filter_size": 4},
}


def described(path) -> tuple[list[dict], dict[str, list[np.ndarray]]]:
    """The layers of a file as Keras reads them, and the weights of each by name."""
    with h5py.File(path) as file:
        layers = json.loads(file.attrs[CONFIG_ATTRIBUTE])["config"]["layers"]
        group = file["model_weights"]
        weights = {name: [group[name][key][()] for key in group[name].attrs["weight_names"]] for name in group}
    return layers, weights


def conv(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int, padding: str) -> np.ndarray:
    width, steps = len(kernel), x.shape[1]
    if padding == "same":  # TensorFlow's
        total = max((-(-steps // stride) - 1) * stride + width - steps, 0)
        x = np.pad(x, ((0, 0), (total // 2, total - total // 2), (0, 0)))
    frames = np.lib.stride_tricks.sliding_window_view(x, width, axis=1)[:, ::stride]  # [batch, time, in, width]
    return np.einsum("btiw,wio->bto", frames, kernel) + bias


def computed(settings: dict, kind: str, xs: list[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
    x = xs[0]
    if kind == "Conv1D":
        return conv(x, *weights, settings["strides"][0], settings["padding"])
    if kind == "BatchNormalization":
        gamma, beta, mean, variance = weights
        return (x - mean) / np.sqrt(variance + settings["epsilon"]) * gamma + beta
    if kind == "MaxPooling1D":
        (size,) = settings["pool_size"]
        assert settings["strides"] == [size] and settings["padding"] == "valid"
        return x[:, : x.shape[1] // size * size].reshape(len(x), -1, size, x.shape[2]).max(2)
    if kind == "ZeroPadding1D":
        return np.pad(x, ((0, 0), tuple(settings["padding"]), (0, 0)))
    if kind == "Dense":
        return activated(x @ weights[0] + weights[1], settings["activation"])
    if kind == "Activation":
        return activated(x, settings["activation"])
    if kind == "Reshape":
        return x.reshape(len(x), *settings["target_shape"])
    return {
        "Dropout": lambda: x,
        "GlobalAveragePooling1D": lambda: x.mean(1),
        "GlobalMaxPooling1D": lambda: x.max(1),
        "Multiply": lambda: x * xs[1],
        "Add": lambda: x + xs[1],
        "Concatenate": lambda: np.concatenate(xs, axis=-1),
    }[kind]()


def activated(x: np.ndarray, name: str) -> np.ndarray:
    return {"linear": lambda: x, "relu": lambda: np.maximum(x, 0), "sigmoid": lambda: 1 / (1 + np.exp(-x))}[name]()


@pytest.mark.parametrize("samples", [243, 500])
@pytest.mark.parametrize("name", VARIANTS)
def test_what_keras_builds_gives_the_same(name, samples, tmp_path):
    torch.manual_seed(0)
    config = ModelConfig(**{"num_blocks": 3, "num_classes": 4, "features": 8, **VARIANTS[name]})
    model = SampleCNN(config, Task("t", tuple("abcd"), "multilabel", window=243)).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.ndim > 1:
                value.normal_(0, value[0].numel() ** -0.5)
            elif "norm" in key and key.endswith(("weight", "running_var")):
                value.uniform_(0.5, 1.5)
            else:
                value.normal_(0, 0.3)
    h5.write(model, tmp_path / "m.h5")
    layers, weights = described(tmp_path / "m.h5")
    wave = np.random.default_rng(0).standard_normal((3, samples)).astype(np.float32)
    values: dict[str, np.ndarray] = {}
    for layer in layers:
        if layer["class_name"] == "InputLayer":
            values[layer["name"]] = wave[..., None]
            continue
        (inputs,) = layer["inbound_nodes"]
        xs = [values[source] for source, *_ in inputs]
        values[layer["name"]] = computed(layer["config"], layer["class_name"], xs, weights[layer["name"]])
    with torch.inference_mode():
        wanted = model.probabilities(torch.from_numpy(wave)).numpy()
    np.testing.assert_allclose(values["pred"], wanted, atol=1e-5)
