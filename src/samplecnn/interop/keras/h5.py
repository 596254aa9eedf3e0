"""Models of the original TensorFlow code: its Keras 2 `.h5` files, read and written by layer name.

Reads whole models and weights alone, of the code of 2019 and of 2018 (`layers_2018`), and files of the same network
saved by Keras 3. Only arrays and settings are read from a file and nothing is executed (`hdf5`, `sandbox`). All shapes
are checked against the architecture before memory for the network is allocated.
"""

import io
import json
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from samplecnn import datasets
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.interop.folding import fold_epsilon
from samplecnn.interop.keras import description, layers_2018, unsupported
from samplecnn.interop.keras.hdf5 import (
    BLOCK_ATTRIBUTE,
    CONFIG_ATTRIBUTE,
    SIZES_ATTRIBUTE,
    TASK_ATTRIBUTE,
    Contents,
    shown,
)
from samplecnn.interop.keras.sandbox import read as read_contents
from samplecnn.interop.keras.weights import WEIGHTS, Weight, module_name, weight_shapes
from samplecnn.models.blocks import BLOCKS
from samplecnn.models.config import EPSILON, MAX_BLOCKS, MAX_FEATURES, RULES, ModelConfig
from samplecnn.models.spec import network_spec
from samplecnn.models.stored import StoredModel
from samplecnn.parsing import fields, parse_object
from samplecnn.system.files import write_bytes
from samplecnn.task import Kind, Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

SIZES = ("pool_size", "filter_size", "first_size", "pooling")  # fields of ModelConfig in SIZES_ATTRIBUTE
KINDS: dict[Any, Kind] = {"sigmoid": "multilabel", "softmax": "multiclass"}


class Stored(NamedTuple):
    """A layer of a file: its name there, and its weights in Keras's axis order."""

    name: str
    weights: dict[str, np.ndarray]


class Found(NamedTuple):
    """What a file contains: layers and settings by the names of 2019, whether it is of 2018; task, block and sizes as
    they are written here.
    """

    layers: dict[str, Stored]
    settings: dict[str, tuple[str, dict[str, Any]]]
    task: str | None
    older: bool
    block: str | None = None
    sizes: str | None = None


def read(path: str | Path) -> StoredModel:
    """Reads a model of the original, saved whole or as weights only; architecture and task come from the file.

    Warns (UserWarning) of a described layer without weights that a SampleCNN does not have, such as a Lambda, and
    leaves it out.

    Raises:
        OSError: the file is missing or may not be read.
        SampleCNNError: not an HDF5 file, not a SampleCNN, or a layer that does not fit (named, with both shapes).
    """
    path = Path(path)
    found = _found(read_contents(path), path)
    try:
        config = _architecture(found, path)
        network = description.network(config, "sigmoid")
        values = _values(network, config, found, path)
        activation = found.settings.get("pred", ("", {}))[1].get("activation")
        names = {name: stored.name for name, stored in found.layers.items()}
        unknown = description.validate_layers(network, found.settings, names, found.older, str(path))
        if unknown:
            kind = found.settings[unknown[0]][0]
            warnings.warn(f"{path}: layer {shown(unknown[0])} ({shown(kind)}) is left out", stacklevel=2)
        task = _task(found, config, KINDS.get(activation) if isinstance(activation, str) else None, path)
    except UsageError as error:  # values that no ModelConfig takes
        raise SampleCNNError(f"{path}: {error}") from error
    return StoredModel(values, config, task)


def write(model: "SampleCNN | StoredModel", path: str | Path) -> None:
    """Writes a model whole, so that Keras's `load_model` and, by layer name, `load_weights` take it.

    Raises:
        UsageError: the model has something that the original's network cannot have.
        SampleCNNError: the model has no task.
    """
    import h5py

    stored = model if isinstance(model, StoredModel) else StoredModel.of(model)
    beyond = unsupported(stored.config)
    if beyond is not None:
        raise UsageError(f"{path}: the original's Keras network cannot express this model: {beyond}")
    layers = description.network(stored.config, stored.task.activation)
    memory = io.BytesIO()  # on a full disk, HDF5 raises errors of its own or crashes
    with h5py.File(memory, "w") as file:
        group = file.create_group("model_weights")
        for layer in layers:
            names = []
            for weight in WEIGHTS.get(layer.kind, ()):
                value = stored.values[f"{module_name(layer.name)}.{weight.ours}"]
                names.append(f"{layer.name}/{weight.keras}:0".encode())
                place = f"{layer.name}/{layer.name}/{weight.keras}:0"
                group.create_dataset(place, data=value.transpose(np.argsort(weight.axes)))
            group.require_group(layer.name).attrs["weight_names"] = names
        for place in (file, group):
            place.attrs["backend"] = b"tensorflow"  # bytes: Keras 2.1 calls decode on these texts
            place.attrs["keras_version"] = b"2.1.6-tf"
        group.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        file.attrs[CONFIG_ATTRIBUTE] = description.model_config(layers).encode()
        file.attrs[TASK_ATTRIBUTE] = stored.task.to_json()
        file.attrs[BLOCK_ATTRIBUTE] = stored.config.block
        sizes = {name: value for name, value in stored.config.to_dict().items() if name in SIZES and value is not None}
        if sizes != {"pooling": "max"}:
            file.attrs[SIZES_ATTRIBUTE] = json.dumps(sizes)
    write_bytes(path, memory.getbuffer())


def _found(contents: Contents, path: Path) -> Found:
    """Gives the layers of the code of 2018 the names of 2019."""
    settings = description.described(contents.texts.get(CONFIG_ATTRIBUTE))
    task = contents.texts.get(TASK_ATTRIBUTE)
    if not layers_2018.is_older(contents.layers):
        layers = {shown(name): Stored(shown(name), weights) for name, weights in contents.layers.items()}
        own = contents.texts.get(BLOCK_ATTRIBUTE), contents.texts.get(SIZES_ATTRIBUTE)
        return Found(layers, settings, task, False, *own)
    kernels = {}
    for name, weights in contents.layers.items():
        kernels[name] = weights["kernel"].shape if "kernel" in weights else ()
    names = layers_2018.original_names(kernels, str(path))
    layers = {names[name]: Stored(name, weights) for name, weights in contents.layers.items()}
    settings = {names.get(name, name): value for name, value in settings.items()}
    if "logit" in settings:  # in 2018 the last dense layer has the activation
        kind, values = settings["logit"]
        settings["logit"] = kind, {key: value for key, value in values.items() if key != "activation"}
        settings["pred"] = "Activation", {"activation": values.get("activation")}
    return Found(layers, settings, task, older=True)


def _architecture(found: Found, path: Path) -> ModelConfig:
    """Derives the architecture from the names and shapes of the layers."""
    layers = found.layers

    def shape(layer: str, rank: int) -> tuple[int, ...]:
        if layer not in layers or "kernel" not in layers[layer].weights:
            raise SampleCNNError(f"{path}: not a SampleCNN of the original code: there is no layer {layer}")
        dimensions = layers[layer].weights["kernel"].shape
        if len(dimensions) != rank:
            name = layers[layer].name
            raise SampleCNNError(f"{path}: layer {name} has the shape {list(dimensions)}, expected {rank} dimensions")
        return dimensions

    features = shape("conv0", 3)[2]
    blocks = 1 + max((int(m[1]) for m in map(re.compile(r"block(\d{1,9})_").match, layers) if m), default=-1)
    if not 1 <= blocks <= MAX_BLOCKS or not 1 <= features <= MAX_FEATURES:
        raise SampleCNNError(f"{path}: {blocks} blocks of {features} features are not a SampleCNN")
    if found.block is not None and found.block not in BLOCKS:
        raise SampleCNNError(f"{path}: its block {shown(found.block)} is not known here; known are {', '.join(BLOCKS)}")
    excited, residual = "block0_ex0" in layers, "block0_conv0" in layers
    kind = ("se" if excited else "basic") if not residual else ("rese" if excited else "res")
    if residual:
        kind += "2" if "block0_conv1" in layers else "1"
    hidden, classes = shape("logit", 2)
    config = ModelConfig(
        block=found.block or kind,
        num_blocks=blocks,
        num_classes=classes,
        features=features,
        amplifying_ratio=_ratio([shape(f"block{i}_ex0", 2) for i in range(blocks)]) if excited else 0.125,
        dropout=_dropout(found),
        first_padding=_first_padding(found),
        **_sizes(found, path),
    )
    return replace(config, multi=hidden != config.widths[-1])


def _sizes(found: Found, path: Path) -> dict[str, Any]:
    """Pooling and sizes from the attribute written here; without it, they are the original's."""
    rule = fields({name: RULES[name] for name in SIZES}, optional=SIZES)
    values = parse_object(found.sizes or "{}", f"{path}: attribute {SIZES_ATTRIBUTE}", "copy the file again", rule)
    return {name: values[name] for name in SIZES if name in values}


def _ratio(shapes: list[tuple[int, ...]]) -> float:
    """The amplifying ratio from the excitations' [features, hidden]; hidden is features * ratio, rounded down.

    Where no single ratio gives all of them, the check of the shapes names the layer that differs.
    """
    features, hidden = max(shapes)
    ratios = hidden / max(features, 1), (hidden + 0.5) / max(features, 1)
    return next((r for r in ratios if all(int(features * r) == hidden for features, hidden in shapes)), ratios[0])


def _dropout(found: Found) -> float:
    """The rate of the last dropout, for further training; the original omits the layer where it is 0."""
    if found.older or "final_norm" not in found.settings:
        return 0.5
    rate = found.settings.get("final_drop", ("", {"rate": 0.0}))[1].get("rate")
    return float(rate) if isinstance(rate, int | float) and 0 <= rate < 1 else 0.5


def _first_padding(found: Found) -> Any:
    padding = found.settings.get("conv0", ("", {}))[1].get("padding")
    return padding if padding in ("same", "valid") else ("valid" if found.older else "same")


def _values(network: list[description.Layer], config: ModelConfig, found: Found, path: Path) -> dict[str, np.ndarray]:
    """The weights by their names in the state dict; every weight of the file must be used."""
    values: dict[str, np.ndarray] = {}
    unused = {(layer, name) for layer, stored in found.layers.items() for name in stored.weights}
    shapes = weight_shapes(network)
    for layer in network:
        module = module_name(layer.name)
        stored = found.layers.get(layer.name, Stored(layer.name, {}))
        for weight, shape in zip(WEIGHTS.get(layer.kind, ()), shapes[layer.name], strict=True):
            if weight.keras not in stored.weights:
                raise SampleCNNError(f"{path}: {weight.keras} of layer {stored.name} is missing")
            unused.discard((layer.name, weight.keras))
            where = f"{path}: {weight.keras} of layer {stored.name}"
            values[f"{module}.{weight.ours}"] = _value(stored.weights[weight.keras], shape, weight, where)
        if layer.kind == "BatchNormalization":
            gamma, variance = values[f"{module}.weight"], values[f"{module}.running_var"]
            if (variance < 0).any():
                raise SampleCNNError(f"{path}: moving_variance of layer {stored.name} has negative values")
            epsilon = _epsilon(found.settings.get(layer.name, ("", {}))[1], f"{path}: layer {layer.name}")
            values[f"{module}.weight"] = fold_epsilon(gamma, variance, epsilon)
    for name, weight_name in sorted(unused):
        raise SampleCNNError(
            f"{path}: {shown(weight_name)} of layer {found.layers[name].name} has no place in a SampleCNN with "
            f"{config.num_blocks} {config.block} blocks; leaving it out would change the outputs"
        )
    return values


def _value(stored: np.ndarray, wanted: tuple[int, ...], weight: Weight, where: str) -> np.ndarray:
    if stored.shape != wanted:
        raise SampleCNNError(f"{where} is {stored.dtype} {list(stored.shape)}, expected float32 {list(wanted)}")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(stored.astype(np.float32).transpose(weight.axes))
    if not np.isfinite(array).all():
        raise SampleCNNError(f"{where} has values that are not finite numbers in float32")
    return array


def _epsilon(settings: dict[str, Any], where: str) -> float:
    epsilon = settings.get("epsilon", EPSILON)
    if not isinstance(epsilon, int | float) or not 0 < epsilon < 1:
        raise SampleCNNError(f"{where} has an epsilon of {str(epsilon)[:40]}, expected a number above 0 and below 1")
    return float(epsilon)


def _task(found: Found, config: ModelConfig, kind: Kind | None, path: Path) -> Task:
    """The task from the attribute written here, or the original's task with the same number of classes and head."""
    if found.task is not None:
        try:
            task = Task.from_json(found.task)
        except SampleCNNError as error:
            raise SampleCNNError(f"{path}: its attribute {TASK_ATTRIBUTE} is damaged: {shown(str(error))}") from error
        if task.num_classes != config.num_classes:
            raise SampleCNNError(f"{path}: {task.num_classes} class names for {config.num_classes} outputs")
        return task
    for name in ("mtt",) if found.older else ("mtt", "scd", "dcs"):
        task = datasets.REGISTRY[name].task()
        if task.num_classes == config.num_classes and kind in (None, task.kind):
            # The original stretches short clips; the code of 2018 does not standardise the waveform.
            return replace(task, mean=0.0, std=1.0) if found.older else replace(task, padding="stretch")
    return Task(
        name=path.stem,
        classes=tuple(f"class {i}" for i in range(config.num_classes)),  # the file has no class names
        kind=kind or "multilabel",
        window=network_spec(config).hop,
    )
