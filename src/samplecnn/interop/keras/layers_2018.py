"""Models of the authors' code of 2018 (tae-jun/resemul, Keras 2.0), whose layers are numbered by Keras, not named.

Differences from the code of 2019: conv0 drops samples of an incomplete frame of 3 (`valid`), the excitations are
*wider* than the features (`--alpha` 16 times), `res` and `rese` always have two convolutions, the last dense layer has
the sigmoid, and the waveform is not standardised.

Its tags are the 50 most frequent, sorted by their count in the annotations. The order of ties with pandas 0.22 and
NumPy 1.14 (its requirements) was computed from the published annotations: it equals the fixed list of 2019.
"""

import re
from collections.abc import Iterable

from samplecnn.errors import SampleCNNError
from samplecnn.interop.keras.hdf5 import shown

KINDS = {"conv1d": "conv", "batch_normalization": "norm", "dense": "fc"}
NUMBERED = re.compile(rf"({'|'.join(KINDS)})(?:_(\d{{1,9}}))?")


def is_older(layers: Iterable[str]) -> bool:
    """Whether the layers are numbered as in 2018; the first layer of 2019 is named conv0."""
    names = list(layers)
    return "conv0" not in names and any(NUMBERED.fullmatch(name) for name in names)


def original_names(kernels: dict[str, tuple[int, ...]], path: str) -> dict[str, str]:
    """The names of 2019 for the layers of 2018.

    Keras numbers each kind of layer in the order of creation, over all models of a session, so the numbers need not
    start at 1. In a residual block the shortcut is created before the other convolutions.

    Args:
        kernels: every layer with weights -> the shape of its kernel, () if it has none.
        path: the file, for messages.

    Returns:
        name in the file -> its name in the code of 2019. The caller checks the shapes.

    Raises:
        SampleCNNError: the number or kind of layers is not that of a SampleCNN.
    """
    created: dict[str, list[str]] = {kind: [] for kind in KINDS.values()}
    for name in sorted(kernels, key=lambda name: int((NUMBERED.fullmatch(name) or ["", "", "0"])[2] or 0)):
        match = NUMBERED.fullmatch(name)
        if match is None:
            raise SampleCNNError(f"{path}: layer {shown(name)} has no place in a SampleCNN of 2018")
        created[KINDS[match[1]]].append(name)
    if not created["conv"]:
        raise SampleCNNError(f"{path}: not a SampleCNN: there is no convolution")
    wanted: dict[str, list[str]] = {"conv": ["conv0"], "norm": ["norm0"], "fc": []}
    widths = [kernels[name][0] if len(kernels[name]) == 3 else 0 for name in created["conv"][1:]]  # 1 or 3 samples
    residual = 1 in widths
    blocks = _blocks(widths) if residual else [["conv"]] * len(widths)
    for i, convs in enumerate(blocks):
        for conv in convs:
            wanted["conv"].append(f"block{i}_{conv}")
            wanted["norm"].append(f"block{i}_{conv.replace('conv', 'norm')}")
    excited = len(created["fc"]) == 2 + 2 * len(blocks)
    if excited:
        wanted["fc"] += [f"block{i}_{ex}" for i in range(len(blocks)) for ex in ("ex0", "ex1")]
    wanted["norm"].append("final_norm")
    wanted["fc"] += ["final_fc", "logit"]
    for kind, names in wanted.items():
        if len(names) != len(created[kind]):
            word = next(keras for keras, ours in KINDS.items() if ours == kind)
            raise SampleCNNError(
                f"{path}: {len(created[kind])} {word} layers; a SampleCNN of 2018 with {len(created['conv'])} "
                f"convolutions has {len(names)}"
            )
    return {theirs: ours for kind in wanted for theirs, ours in zip(created[kind], wanted[kind], strict=True)}


def _blocks(widths: list[int]) -> list[list[str]]:
    """Convolution widths of residual blocks in order of creation -> each block's names; a 1-wide one starts a block."""
    blocks: list[list[str]] = []
    at = 0
    while at < len(widths):
        names = ["scut_conv"] if widths[at] == 1 else []
        blocks.append([*names, "conv0", "conv1"])
        at += len(blocks[-1])
    return blocks
