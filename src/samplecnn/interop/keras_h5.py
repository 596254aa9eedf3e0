"""Models of the original TensorFlow code: its Keras 2 `.h5` files, read and written by layer name.

Only arrays and the name of the last activation are taken from a file; nothing in it is executed. Shapes are checked
against the architecture before a value is read.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from samplecnn import datasets
from samplecnn.errors import SampleCNNError
from samplecnn.files import written_aside
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.models.layers import BatchNorm
from samplecnn.task import Kind, Task

TASK_ATTRIBUTE = "samplecnn_task"  # our own: class names and the rest of the task, ignored by Keras
MOST_FEATURES, MOST_BLOCKS = 8192, 20  # beyond any sensible model; a bound on what a damaged file can ask for


class Weight(NamedTuple):
    """Where a value of ours stands in a Keras file; `axes` brings Keras's array into our order."""

    name: str
    axes: tuple[int, ...]


def keras_name(module_name: str) -> str:
    """The original's layer name of one of our modules: blocks.2.convs.1 -> block2_conv1."""
    name = re.sub(r"^blocks\.(\d+)\.", r"block\1_", module_name)
    return re.sub(r"(conv|norm)s\.(\d+)$", r"\1\2", name.replace("excitation.", ""))


def weights_of(module: nn.Module) -> dict[str, Weight]:
    """Our value names -> Keras's, in the order in which Keras keeps them."""
    if isinstance(module, nn.Conv1d):  # kernels are [width, in, out] there, [out, in, width] here
        return {"weight": Weight("kernel", (2, 1, 0)), "bias": Weight("bias", (0,))}
    if isinstance(module, nn.Linear):
        return {"weight": Weight("kernel", (1, 0)), "bias": Weight("bias", (0,))}
    if isinstance(module, BatchNorm):
        return {
            "weight": Weight("gamma", (0,)),
            "bias": Weight("beta", (0,)),
            "running_mean": Weight("moving_mean", (0,)),
            "running_var": Weight("moving_variance", (0,)),
        }
    return {}


def read(path: str | Path) -> SampleCNN:
    """Reads a model of the original, saved whole or as weights only; architecture and task come from the file.

    Raises:
        SampleCNNError: not an HDF5 file, not a SampleCNN, or a layer whose shape does not fit (named with both shapes).
    """
    import h5py

    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            layers = _layers(file.get("model_weights", file), path)
            config = _architecture({name: layer for name, layer in layers.items() if layer}, path)
            model = SampleCNN(config)
            state = _state(model, layers, path)
            model.task = _task(file.attrs, config, path)
    except OSError as error:
        if not path.exists():
            raise
        raise SampleCNNError(f"{path}: not a readable HDF5 file ({str(error).splitlines()[0]})") from error
    except (KeyError, ValueError, RuntimeError, TypeError) as error:  # h5py's ways of saying that a file is damaged
        raise SampleCNNError(f"{path}: damaged, or not a Keras model ({str(error).splitlines()[0]})") from error
    model.load_state_dict(state)
    return model.eval()


def write(model: SampleCNN, path: str | Path) -> None:
    """Writes a model so that the original's `model.load_weights(path, by_name=True)` takes it."""
    import h5py

    with written_aside(path) as aside, h5py.File(aside, "w") as file:
        group = file.create_group("model_weights")
        names = []
        for module_name, module in model.named_modules():
            weights = weights_of(module)
            if not weights:
                continue
            layer = keras_name(module_name)
            names.append(layer.encode())
            stored = []
            for ours, theirs in weights.items():
                value = getattr(module, ours).detach().cpu().float().numpy()
                inverse = np.argsort(theirs.axes)
                stored.append(f"{layer}/{theirs.name}:0".encode())
                group.create_dataset(f"{layer}/{layer}/{theirs.name}:0", data=value.transpose(inverse))
            group[layer].attrs["weight_names"] = stored
        for place in (file, group):
            place.attrs["backend"] = b"tensorflow"
            place.attrs["keras_version"] = b"2.1.6-tf"
        group.attrs["layer_names"] = names
        if model.task is not None:
            file.attrs[TASK_ATTRIBUTE] = model.task.to_json()


def _layers(group: Any, path: Path) -> dict[str, dict[str, Any]]:
    """Layer name -> weight name -> h5py dataset, from links that stay inside the file."""
    import h5py

    layers: dict[str, dict[str, Any]] = {}
    for layer in group:
        if not isinstance(group.get(layer, getlink=True), h5py.HardLink):
            raise SampleCNNError(f"{path}: layer {layer} is a link; only layers stored in the file itself are read")
        if not isinstance(group[layer], h5py.Group):
            continue
        layers[layer] = {}
        for name in group[layer].attrs.get("weight_names", ()):
            name = name.decode() if isinstance(name, bytes) else str(name)
            layers[layer][name.split("/")[-1].split(":")[0]] = group[layer][name]
    return layers


def _architecture(layers: dict[str, Any], path: Path) -> ModelConfig:
    """Reads the architecture off the layers' names and shapes."""

    def shape(layer: str, rank: int) -> tuple[int, ...]:
        if layer not in layers or "kernel" not in layers[layer]:
            raise SampleCNNError(f"{path}: not a SampleCNN of the original code: there is no layer {layer}")
        found = tuple(layers[layer]["kernel"].shape)
        if len(found) != rank:
            raise SampleCNNError(f"{path}: layer {layer} has the shape {list(found)}, expected {rank} dimensions")
        return found

    features = shape("conv0", 3)[2]
    blocks = 1 + max((int(m[1]) for m in map(re.compile(r"block(\d+)_").match, layers) if m), default=-1)
    if not 1 <= blocks <= MOST_BLOCKS or not 1 <= features <= MOST_FEATURES:
        raise SampleCNNError(f"{path}: {blocks} blocks of {features} features are not a SampleCNN")
    excited, residual = "block0_ex0" in layers, "block0_conv0" in layers
    kind = ("se" if excited else "basic") if not residual else ("rese" if excited else "res")
    if residual:
        kind += "2" if "block0_conv1" in layers else "1"
    hidden, classes = shape("logit", 2)
    ratio = 0.125
    if excited:
        ratio = _ratio([shape(f"block{i}_ex0", 2) for i in range(blocks)], path)
    config = ModelConfig(
        block=kind, num_blocks=blocks, num_classes=classes, features=features, amplifying_ratio=ratio, multi=False
    )
    return ModelConfig(**{**config.to_dict(), "multi": hidden != config.widths[-1]})


def _ratio(shapes: list[tuple[int, ...]], path: Path) -> float:
    """The amplifying ratio from the excitations' [features, hidden]; Keras cut features * ratio to a whole number."""
    features, hidden = max(shapes)
    for ratio in (hidden / features, (hidden + 0.5) / features):
        if all(int(features * ratio) == hidden for features, hidden in shapes):
            return ratio
    raise SampleCNNError(f"{path}: the excitations' widths {[h for _, h in shapes]} follow no one amplifying ratio")


def _state(model: SampleCNN, layers: dict[str, dict[str, Any]], path: Path) -> dict[str, torch.Tensor]:
    state = {}
    for module_name, module in model.named_modules():
        for ours, theirs in weights_of(module).items():
            layer = keras_name(module_name)
            stored = layers.get(layer, {}).get(theirs.name)
            if stored is None:
                raise SampleCNNError(f"{path}: {theirs.name} of layer {layer} is missing")
            value = getattr(module, ours)
            wanted = tuple(value.shape[axis] for axis in np.argsort(theirs.axes))
            if tuple(stored.shape) != wanted or stored.dtype.kind != "f" or stored.external:
                raise SampleCNNError(
                    f"{path}: {theirs.name} of layer {layer} is {stored.dtype} {list(stored.shape)}, expected "
                    f"float32 {list(wanted)}"
                )
            array = np.ascontiguousarray(stored[()].astype(np.float32).transpose(theirs.axes))
            state[f"{module_name}.{ours}"] = torch.from_numpy(array)
    return state


def _task(attributes: Any, config: ModelConfig, path: Path) -> Task:
    """The task: our own attribute, or the original's task with as many classes and that head."""
    if TASK_ATTRIBUTE in attributes:
        task = Task.from_json(attributes[TASK_ATTRIBUTE])
        if task.num_classes != config.num_classes:
            raise SampleCNNError(f"{path}: {task.num_classes} class names for {config.num_classes} outputs")
        return task
    kind = _head(attributes.get("model_config"))
    for name in ("mtt", "scd", "dcs"):
        task = datasets.REGISTRY[name].task()
        if task.num_classes == config.num_classes and kind in (None, task.kind):
            return task
    return Task(
        name=path.stem,
        classes=tuple(f"class {i}" for i in range(config.num_classes)),  # the file holds no names
        kind=kind or "multilabel",
        window=3 ** (config.num_blocks + 1),
    )


def _head(model_config: Any) -> Kind | None:
    """The kind of the last activation, where the file tells."""
    if model_config is None:
        return None
    try:
        last = json.loads(model_config)["config"]["layers"][-1]["config"]["activation"]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return {"sigmoid": "multilabel", "softmax": "multiclass"}.get(last)  # type: ignore[return-value]
