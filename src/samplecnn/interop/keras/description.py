"""The original's network as Keras describes it: every layer with its settings and inputs, in Keras's order.

Source: the original's lib/model.py. `model_config` is what Keras 2 needs to build the network from a file; reading
compares a file's settings with these. Nothing of a file's description is ever executed.
"""

import json
from dataclasses import dataclass
from typing import Any

from samplecnn.errors import SampleCNNError
from samplecnn.interop.keras.hdf5 import shown
from samplecnn.models.config import EPSILON, NORM_UPDATE, ModelConfig
from samplecnn.models.layer_specs import ConvSpec, StageSpec, layer_label
from samplecnn.models.receptive_field import same_padding
from samplecnn.models.spec import network_spec

CHANGES_OUTPUTS = ("kernel_size", "strides", "padding", "dilation_rate", "activation", "pool_size")
HARMLESS = (
    "InputLayer",
    "Dropout",
    "SpatialDropout1D",
    "GaussianNoise",
    "ActivityRegularization",
)  # no effect at test time


@dataclass(frozen=True)
class Layer:
    """A Keras layer: its class, name, settings for its constructor, and its input layers."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    settings: dict[str, Any]


class _Graph:
    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}

    def add(self, kind: str, name: str, *inputs: str, **settings: Any) -> str:
        self.layers[name] = Layer(kind, name, inputs, settings)
        return name

    def conv_norm(self, conv: ConvSpec, x: str, padding: str = "same") -> str:
        """A convolution and its batch norm; one with a stride after `padded` is "valid"."""
        x = self.add(
            "Conv1D", layer_label(conv.name), x, filters=conv.features, kernel_size=[conv.width],
            strides=[conv.stride], padding=padding, dilation_rate=[1], activation="linear", use_bias=True,
        )  # fmt: skip
        return self.norm(layer_label(conv.norm), x)

    def padded(self, conv: ConvSpec, x: str) -> tuple[str, str]:
        """The input of a block's convolution, and the padding setting. With a stride, Keras's "same" pads for another
        number of frames, so the zeros are a separate layer.
        """
        if conv.stride == 1:
            return x, "same"
        zeros = list(same_padding(conv.width, conv.stride))
        if any(zeros):
            x = self.add("ZeroPadding1D", f"{layer_label(conv.name)}_pad", x, padding=zeros)
        return x, "valid"

    def norm(self, name: str, x: str) -> str:
        return self.add("BatchNormalization", name, x, momentum=1 - NORM_UPDATE, epsilon=EPSILON)

    def relu(self, name: str, x: str) -> str:
        return self.add("Activation", name, x, activation="relu")

    def pool(self, name: str, x: str, size: int) -> str:
        if size == 1:
            return x
        return self.add("MaxPooling1D", name, x, pool_size=[size], strides=[size], padding="valid")

    def dense(self, name: str, x: str, units: int, activation: str = "linear") -> str:
        return self.add("Dense", name, x, units=units, activation=activation, use_bias=True)

    def scaled(self, x: str, stage: StageSpec) -> str:
        if stage.excitation is None:
            return x
        block, excitation = stage.label, stage.excitation
        squeezed = self.add("GlobalAveragePooling1D", f"{block}_squeeze", x)
        factors = self.add("Reshape", f"{block}_reshape", squeezed, target_shape=[1, excitation.features])
        factors = self.dense(f"{block}_ex0", factors, excitation.hidden, "relu")
        factors = self.dense(f"{block}_ex1", factors, excitation.features, "sigmoid")
        return self.add("Multiply", f"{block}_scale", x, factors)

    def block(self, x: str, stage: StageSpec) -> str:
        block, shortcut = stage.label, x
        if stage.shortcut is not None:
            shortcut = self.conv_norm(stage.shortcut, *self.padded(stage.shortcut, x))
        for i, conv in enumerate(stage.convs):
            if i > 0 and stage.inner_dropout > 0:
                x = self.add("Dropout", f"{block}_drop{i - 1}", x, rate=stage.inner_dropout)
            x = self.conv_norm(conv, *self.padded(conv, x))
            if conv.relu:
                x = self.relu(f"{block}_relu" if len(stage.convs) == 1 else f"{block}_relu{i}", x)
        if not stage.residual:
            return self.scaled(self.pool(f"{block}_pool", x, stage.pool), stage)
        x = self.add("Add", f"{block}_scut", shortcut, self.scaled(x, stage))
        return self.pool(f"{block}_pool", self.relu(f"{block}_relu1", x), stage.pool)


def network(config: ModelConfig, activation: str) -> list[Layer]:
    """The layers of a model in the order in which Keras stores them (and their weights) in a file.

    Args:
        config: an architecture that Keras can represent (`keras.unsupported`).
        activation: activation of the outputs, "sigmoid" or "softmax".
    """
    graph, spec = _Graph(), network_spec(config)
    x = graph.add("InputLayer", "input", batch_input_shape=[None, None, 1], dtype="float32", sparse=False)
    assert isinstance(spec.first, ConvSpec)
    x = graph.relu("relu0", graph.conv_norm(spec.first, x, padding=config.first_padding))
    outputs = []
    for stage in spec.blocks:
        x = graph.block(x, stage)
        outputs.append(x)
    if spec.levels > 1:
        levels = enumerate(outputs[-spec.levels :])
        x = graph.add(
            "Concatenate",
            "multi",
            *[graph.add("GlobalMaxPooling1D", f"final_pool{i}", level) for i, level in levels],
            axis=-1,
        )
    else:
        x = graph.add("GlobalMaxPooling1D", "final_pool", x)
    x = graph.norm("final_norm", graph.dense(spec.hidden.name, x, spec.hidden.outputs))
    x = graph.relu("final_relu", x)
    if spec.dropout > 0:
        x = graph.add("Dropout", "final_drop", x, rate=spec.dropout)
    x = graph.dense(spec.logit.name, x, spec.logit.outputs)
    return _in_order(graph.layers, graph.add("Activation", "pred", x, activation=activation))


def _in_order(layers: dict[str, Layer], output: str) -> list[Layer]:
    """Keras's order: by decreasing depth from the output; ties in depth-first order from the output."""
    met: dict[str, int] = {}
    depth = dict.fromkeys(layers, 0)

    def walk(name: str) -> None:
        if name not in met:
            met[name] = len(met)
            for source in layers[name].inputs:
                walk(source)

    walk(output)
    for layer in reversed(layers.values()):  # a layer is added after its inputs
        for source in layer.inputs:
            depth[source] = max(depth[source], depth[layer.name] + 1)
    return sorted(layers.values(), key=lambda layer: (-depth[layer.name], met[layer.name]))


def model_config(layers: list[Layer]) -> str:
    """The JSON text from which Keras 2 (and Keras 3's reader of such files) builds the network.

    Initial values and regularisers are left at Keras's defaults: the weights come from the file, and so the text can be
    read without the original's own initialiser class.
    """
    described = []
    for layer in layers:
        settings = {"name": layer.name, **layer.settings}
        inputs = [[[source, 0, 0, {}] for source in layer.inputs]] if layer.inputs else []
        described.append({"class_name": layer.kind, "name": layer.name, "config": settings, "inbound_nodes": inputs})
    whole = {
        "name": "sample_cnn",
        "layers": described,
        "input_layers": [[layers[0].name, 0, 0]],
        "output_layers": [[layers[-1].name, 0, 0]],
    }
    return json.dumps({"class_name": "Model", "config": whole})


def described(text: str | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """Layer name -> (class, settings) as a file describes them; empty if it has no valid description."""
    try:
        layers = json.loads(text or "{}")["config"]["layers"]
        found = {layer["config"]["name"]: (str(layer["class_name"]), dict(layer["config"])) for layer in layers}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return {name: value for name, value in found.items() if isinstance(name, str)}


def _plain(value: Any) -> Any:
    """Keras writes a number sometimes alone and sometimes in a list, and no activation as null."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return "linear" if value is None else value


def validate_layers(
    layers: list[Layer],
    found: dict[str, tuple[str, dict[str, Any]]],
    names: dict[str, str],
    older: bool,
    path: str,
) -> list[str]:
    """Checks a file's settings against the network's; returns the described layers that a SampleCNN does not have.

    Args:
        layers: the network as it should be.
        found: the file's description, with the original's layer names.
        names: names of the layers in the file, where they differ.
        older: the code of 2018, in which layers without weights have uninformative names.
        path: the file, for the message.

    Raises:
        SampleCNNError: a layer has another class, or settings that change its outputs.
    """
    expected = {layer.name: layer for layer in layers}
    for name, layer in expected.items():
        kind, settings = found.get(name, (layer.kind, {}))
        where = f"{path}: layer {names.get(name, name)}"
        if kind != layer.kind:
            raise SampleCNNError(f"{where} is a {shown(kind)}, in a SampleCNN it is a {layer.kind}")
        for key in CHANGES_OUTPUTS:
            if key in layer.settings and key in settings and name != "pred":
                theirs, ours = _plain(settings[key]), _plain(layer.settings[key])
                if theirs != ours:
                    raise SampleCNNError(f"{where} has {key} {str(theirs)[:80]!r}, in a SampleCNN it is {ours!r}")
    harmless = {*HARMLESS, "Reshape", *(layer.kind for layer in layers)} if older else set(HARMLESS)
    return [name for name, (kind, _) in found.items() if name not in expected and kind not in harmless]
