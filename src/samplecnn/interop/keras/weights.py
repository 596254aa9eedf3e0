"""The weights of the original's Keras layers: names and shapes in Keras, names and axis order in samplecnn."""

import re
from typing import NamedTuple

from samplecnn.interop.keras.description import Layer


class Weight(NamedTuple):
    """A weight of a Keras layer, its name in the state dict, and the axes that transpose Keras's array to it."""

    keras: str
    ours: str
    axes: tuple[int, ...]


DENSE = Weight("kernel", "weight", (1, 0)), Weight("bias", "bias", (0,))
WEIGHTS = {  # by class of Keras layer, in Keras's order
    "Conv1D": (
        Weight("kernel", "weight", (2, 1, 0)),
        DENSE[1],
    ),  # [width, in, out] in Keras, [out, in, width] in PyTorch
    "Dense": DENSE,
    "BatchNormalization": tuple(
        Weight(keras, ours, (0,))
        for keras, ours in {
            "gamma": "weight",
            "beta": "bias",
            "moving_mean": "running_mean",
            "moving_variance": "running_var",
        }.items()
    ),
}


def module_name(layer: str) -> str:
    """The name in the state dict of one of the original's layers: block2_conv1 -> blocks.2.convs.1."""
    name = re.sub(r"^block(\d+)_", r"blocks.\1.", layer)
    name = re.sub(r"\.(conv|norm)(\d)$", r".\1s.\2", name)
    return re.sub(r"\.(ex[01])$", r".excitation.\1", name)


def weight_shapes(layers: list[Layer]) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Layer name -> shapes of its weights in Keras's axis order, in the order of WEIGHTS; () for one without weights.

    Args:
        layers: a network in which every layer comes after its inputs (`description.network`).
    """
    channels: dict[str, int] = {}
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
    for layer in layers:
        seen = [channels[name] for name in layer.inputs]
        width = sum(seen) if layer.kind == "Concatenate" else seen[-1] if seen else 1
        shapes[layer.name] = ()
        if layer.kind == "BatchNormalization":
            shapes[layer.name] = ((width,),) * 4
        elif layer.kind in WEIGHTS:
            out = layer.settings.get("filters") or layer.settings["units"]
            shapes[layer.name] = (*layer.settings.get("kernel_size", ()), width, out), (out,)
            width = out
        channels[layer.name] = width
    return shapes
