"""SampleCNN of Spijkervet/CLMR (clmr/models/sample_cnn.py; in older versions modules/sample_cnn_59049.py).

Differences: no standardisation, batch-norm epsilon 1e-5, and a last convolution that is 3 wide: on a single frame only
its middle tap has an effect, so it is the dense layer here. The encoder is trained contrastively and ends there; a
linear layer, or two with a ReLU between them, is trained on top and often saved in a separate file.
"""

import re
from typing import Any

import torch

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.interop.third_party.checkpoint import Checkpoint
from samplecnn.interop.third_party.weights import (
    LayerPair,
    ThirdPartyModel,
    Weights,
    complete,
    empty_model,
    fill,
    num_blocks,
)
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.models.layers import BatchNorm
from samplecnn.task import Kind

NAME = "Spijkervet/CLMR"
RATE = 22050
FIRST = ("sequential.0.0.weight", "conv1.0.weight")  # name of the first convolution, and in older versions
DATASETS = {"magnatagatune": "mtat", "msd": "msd"}  # CLMR's data sets -> names in PRESETS
ONE_LABEL = ("gtzan", "librispeech")  # CLMR's data sets with a softmax


def matches(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint is from this program."""
    return bool(_prefixes(checkpoint))


def read(checkpoint: Checkpoint, head: Checkpoint | None, encoder_only: bool) -> ThirdPartyModel:
    """The checkpoint as a SampleCNN: encoder and output layer from one file or two, or the encoder alone.

    Raises:
        UsageError: an encoder without an output layer, or a `head` without one.
        SampleCNNError: a value is missing or has another shape.
    """
    if head is not None and encoder_only:
        raise UsageError("--head and --encoder-only contradict each other; give one of them")
    prefix = _prefixes(checkpoint)[0]
    weights = Weights(checkpoint, prefix)
    older = FIRST[0] not in weights.tensors
    numbered = re.compile(r"conv(\d{1,4})\." if older else r"sequential\.(\d{1,4})\.")
    layers = max(int(m[1]) for m in map(numbered.match, weights.tensors) if m) + (0 if older else 1)
    features = weights.shape(FIRST[older], 3)[0]
    blocks = num_blocks(weights, features, layers)
    names = [f"conv{i + 1}" if older else f"sequential.{i}" for i in range(layers)]

    linear = [] if encoder_only else _head_of(head or checkpoint, prefix if head is None else None)
    if not linear and head is not None:
        raise UsageError(
            f"{head.path}: no trained output layer in it; expected 0.weight and 0.bias, as {NAME} saves them"
        )
    if not linear and not encoder_only:
        raise UsageError(
            f"{checkpoint.path}: an encoder of {NAME} without an output layer; pass its file with --head, or "
            "--encoder-only to convert the encoder for train --init-from"
        )
    two = len(linear) == 2
    source, last = linear[-1] if linear else (None, "")
    classes = source.shape(f"{last}.weight", 2)[0] if source else 1
    config = ModelConfig("basic", num_blocks=blocks, num_classes=classes, features=features, tail=two)
    model = empty_model(config)
    folded = fill(model, _encoder_layers(names, two), weights)
    for (source, name), ours in zip(reversed(linear), ("logit", "final_fc"), strict=False):
        fill(model, [LayerPair(ours, name)], source)
    if two:
        _set_identity_norm(model)
    if not linear:
        model.logit = torch.nn.Linear(config.widths[-1], 1)
        torch.nn.init.zeros_(model.logit.weight)  # 0.5 for any input, recognisable as no prediction
        torch.nn.init.zeros_(model.logit.bias)
    _refuse_other_layers(weights)
    settings = (head or checkpoint).settings
    return ThirdPartyModel(
        title=f"SampleCNN of {NAME}" + (" with a second dense layer" if two else ""),
        model=complete(model),
        sample_rate=_sample_rate(checkpoint.settings.get("sample_rate"), RATE),
        folded=folded,
        classes=_classes(settings),
        kind=_kind(settings),
        trained=bool(linear),
    )


def _prefixes(checkpoint: Checkpoint) -> list[str]:
    """Prefixes of the encoder's names; a Lightning module contains one encoder under two names."""
    found = [
        name[: -len(first)]
        for first in FIRST
        for name, value in checkpoint.tensors.items()
        if name.endswith(first) and value.shape[1:] == (1, 3)
    ]
    return sorted((prefix for prefix in found if prefix == "" or prefix.endswith(".")), key=len)


def _encoder_layers(names: list[str], tail: bool) -> list[LayerPair]:
    pairs = [LayerPair("conv0", f"{names[0]}.0"), LayerPair("norm0", f"{names[0]}.1")]
    for i, name in enumerate(names[1:-1]):
        pairs += [LayerPair(f"blocks.{i}.conv", f"{name}.0"), LayerPair(f"blocks.{i}.norm", f"{name}.1")]
    conv, norm = ("tail.conv", "tail.norm") if tail else ("final_fc", "final_norm")
    return [*pairs, LayerPair(conv, f"{names[-1]}.0", width=3), LayerPair(norm, f"{names[-1]}.1")]


def _head_of(checkpoint: Checkpoint, encoder: str | None) -> list[tuple[Weights, str]]:
    """The dense layers on top, in order; none where they are absent or all zero, as an encoder's `fc` often is.

    In an encoder's file these are the encoder's `fc`, or `model.0` (`model.0` and `model.2`) next to it. In a separate
    file they are the dense layers that do not belong to an encoder or its projector.
    """
    top = Weights(checkpoint)
    dense = [name.removesuffix(".weight") for name, value in top.tensors.items() if _is_dense(name, value.ndim)]
    if encoder is not None:
        chosen = [name for name in dense if re.fullmatch(r"model\.[02]", name)] or [
            name for name in dense if name == f"{encoder}fc"
        ]
    else:
        separate = [name for name in dense if not re.search(r"(^|\.)(encoder|projector)\.", name)]
        chosen = [name for name in separate if re.fullmatch(r"model\.[02]", name)] or separate
    chosen.sort()
    chosen = [name for name in chosen if top.tensors[f"{name}.weight"].any()]
    if len(chosen) > 2:
        raise SampleCNNError(
            f"{checkpoint.path}: {len(chosen)} dense layers ({', '.join(chosen[:4])}), expected one or two"
        )
    return [(top, name) for name in chosen]


def _is_dense(name: str, dimensions: int) -> bool:
    return name.endswith(".weight") and dimensions == 2


def _set_identity_norm(model: SampleCNN) -> None:
    """Makes the batch norm after the first dense layer the identity, since CLMR has none."""
    norm = model.final_norm
    size = norm.weight.shape
    values = {"weight": torch.full(size, (1 + BatchNorm.EPSILON) ** 0.5), "bias": torch.zeros(size)}
    values |= {"running_mean": torch.zeros(size), "running_var": torch.ones(size)}
    norm.load_state_dict(values, assign=True)


def _refuse_other_layers(weights: Weights) -> None:
    """Refuses unknown layers under the encoder's prefix; a file may also contain heads, a projector and a loss."""
    known = re.compile(r"fc\.|projector\.|encoder\.|model\.|criterion\.")
    weights.used |= {name for name in weights.tensors if known.match(name)}
    weights.check_all_used()


def _classes(settings: dict[str, Any]) -> tuple[str, str] | None:
    name = settings.get("dataset")
    return (DATASETS[name], f"from the file's settings: dataset {name}") if name in DATASETS else None


def _kind(settings: dict[str, Any]) -> Kind | None:
    name = settings.get("dataset")
    return "multilabel" if name in DATASETS else "multiclass" if name in ONE_LABEL else None


def _sample_rate(value: Any, default: int) -> int:
    return value if isinstance(value, int) and 100 <= value <= 768_000 else default
