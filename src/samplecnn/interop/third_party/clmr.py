"""SampleCNN of Spijkervet/CLMR (clmr/models/sample_cnn.py; before that modules/sample_cnn_59049.py).

Differences from ours: no standardisation, batch-norm epsilon 1e-5, and a last convolution that is 3 wide: at a single
step of time only its middle tap sees anything, so it is our dense layer. The encoder is trained by contrast and ends
there; a linear layer, or two with a ReLU between them, are trained on top and often lie in a file of their own.
"""

import re
from typing import Any

import torch

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.interop.third_party.checkpoint import Checkpoint
from samplecnn.interop.third_party.weights import Pair, Peer, Weights, bounded, empty, fill, finished
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.models.layers import BatchNorm
from samplecnn.task import Kind

NAME = "Spijkervet/CLMR"
RATE = 22050
FIRST = ("sequential.0.0.weight", "conv1.0.weight")  # the first convolution's name, and in the older version
DATASETS = {"magnatagatune": "mtat", "msd": "msd"}  # its names for classes that we know in order
ONE_LABEL = ("gtzan", "librispeech")  # its data sets with a softmax


def claims(checkpoint: Checkpoint) -> bool:
    """Whether these are that program's tensors."""
    return bool(_prefixes(checkpoint))


def read(checkpoint: Checkpoint, head: Checkpoint | None, encoder_only: bool) -> Peer:
    """The model as ours: encoder and last layer from one file or two, or, if asked for, the encoder alone.

    Raises:
        UsageError: an encoder without a last layer, or a `head` without one.
        SampleCNNError: a value is missing or of another shape.
    """
    if head is not None and encoder_only:
        raise UsageError("--head and --encoder-only contradict each other; give one of them")
    prefix = _prefixes(checkpoint)[0]
    weights = Weights(checkpoint, prefix)
    older = FIRST[0] not in weights.tensors
    numbered = re.compile(r"conv(\d{1,4})\." if older else r"sequential\.(\d{1,4})\.")
    layers = max(int(m[1]) for m in map(numbered.match, weights.tensors) if m) + (0 if older else 1)
    features = weights.shape(FIRST[older], 3)[0]
    blocks = bounded(weights, features, layers)
    names = [f"conv{i + 1}" if older else f"sequential.{i}" for i in range(layers)]

    linear = [] if encoder_only else _head_of(head or checkpoint, prefix if head is None else None)
    if not linear and head is not None:
        raise UsageError(
            f"{head.path}: no trained last layer in it; expected 0.weight and 0.bias, as {NAME} saves them"
        )
    if not linear and not encoder_only:
        raise UsageError(
            f"{checkpoint.path}: an encoder of {NAME} without a last layer; give that one's file with --head, or "
            "--encoder-only for a body to train on (train --init-from)"
        )
    two = len(linear) == 2
    source, last = linear[-1] if linear else (None, "")
    classes = source.shape(f"{last}.weight", 2)[0] if source else 1
    config = ModelConfig("basic", num_blocks=blocks, num_classes=classes, features=features, tail=two)
    model = empty(config)
    folded = fill(model, _body(names, two), weights)
    for (source, name), ours in zip(reversed(linear), ("logit", "final_fc"), strict=False):
        fill(model, [Pair(ours, name)], source)
    if two:
        _pass_through(model)
    if not linear:
        model.logit = torch.nn.Linear(config.widths[-1], 1)
        torch.nn.init.zeros_(model.logit.weight)  # says 0.5 to everything: it cannot be taken for knowledge
        torch.nn.init.zeros_(model.logit.bias)
    _refuse_other_layers(weights)
    settings = (head or checkpoint).settings
    return Peer(
        title=f"SampleCNN of {NAME}" + (" with a second dense layer" if two else ""),
        model=finished(model),
        sample_rate=_whole(checkpoint.settings.get("sample_rate"), RATE),
        folded=folded,
        classes=_classes(settings),
        kind=_kind(settings),
        trained=bool(linear),
    )


def _prefixes(checkpoint: Checkpoint) -> list[str]:
    """What stands before the encoder's names; a Lightning module holds one encoder under two names."""
    found = [
        name[: -len(first)]
        for first in FIRST
        for name, value in checkpoint.tensors.items()
        if name.endswith(first) and value.shape[1:] == (1, 3)
    ]
    return sorted((prefix for prefix in found if prefix == "" or prefix.endswith(".")), key=len)


def _body(names: list[str], tail: bool) -> list[Pair]:
    pairs = [Pair("conv0", f"{names[0]}.0"), Pair("norm0", f"{names[0]}.1")]
    for i, name in enumerate(names[1:-1]):
        pairs += [Pair(f"blocks.{i}.conv", f"{name}.0"), Pair(f"blocks.{i}.norm", f"{name}.1")]
    conv, norm = ("tail.conv", "tail.norm") if tail else ("final_fc", "final_norm")
    return [*pairs, Pair(conv, f"{names[-1]}.0", width=3), Pair(norm, f"{names[-1]}.1")]


def _head_of(checkpoint: Checkpoint, encoder: str | None) -> list[tuple[Weights, str]]:
    """The dense layers on top, in order; none where they are absent or all zero, as an encoder's own `fc` often is.

    In an encoder's file these are the encoder's `fc`, or `model.0` (`model.0` and `model.2`) beside it. In a head's
    own file they are whatever is dense there and no part of an encoder or of its projector.
    """
    top = Weights(checkpoint)
    dense = [name.removesuffix(".weight") for name, value in top.tensors.items() if _is_dense(name, value.ndim)]
    if encoder is not None:
        chosen = [name for name in dense if re.fullmatch(r"model\.[02]", name)] or [
            name for name in dense if name == f"{encoder}fc"
        ]
    else:
        apart = [name for name in dense if not re.search(r"(^|\.)(encoder|projector)\.", name)]
        chosen = [name for name in apart if re.fullmatch(r"model\.[02]", name)] or apart
    chosen.sort()
    chosen = [name for name in chosen if top.tensors[f"{name}.weight"].any()]
    if len(chosen) > 2:
        raise SampleCNNError(
            f"{checkpoint.path}: {len(chosen)} dense layers ({', '.join(chosen[:4])}), expected one or two"
        )
    return [(top, name) for name in chosen]


def _is_dense(name: str, dimensions: int) -> bool:
    return name.endswith(".weight") and dimensions == 2


def _pass_through(model: SampleCNN) -> None:
    """Makes the batch norm behind our first dense layer the identity: theirs has none."""
    norm = model.final_norm
    size = norm.weight.shape
    values = {"weight": torch.full(size, (1 + BatchNorm.EPSILON) ** 0.5), "bias": torch.zeros(size)}
    values |= {"running_mean": torch.zeros(size), "running_var": torch.ones(size)}
    norm.load_state_dict(values, assign=True)


def _refuse_other_layers(weights: Weights) -> None:
    """An encoder's file holds more than the encoder; below its own prefix nothing may be left but what is known."""
    known = re.compile(r"fc\.|projector\.|encoder\.|model\.|criterion\.")
    weights.taken |= {name for name in weights.tensors if known.match(name)}
    weights.refuse_the_rest()


def _classes(settings: dict[str, Any]) -> tuple[str, str] | None:
    name = settings.get("dataset")
    return (DATASETS[name], f"by the file's own settings: dataset {name}") if name in DATASETS else None


def _kind(settings: dict[str, Any]) -> Kind | None:
    name = settings.get("dataset")
    return "multilabel" if name in DATASETS else "multiclass" if name in ONE_LABEL else None


def _whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) and 100 <= value <= 768_000 else default
