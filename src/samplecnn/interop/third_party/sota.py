"""SampleCNN and SampleCNNSE of minzwon/sota-music-tagging-models (training/model.py, training/modules.py).

Differences: 16 kHz, no standardisation, batch-norm epsilon 1e-5, and a first convolution whose frames are centred on a
sample (padding=1). Its last convolution, 1 wide on a single frame, is the dense layer here. SampleCNNSE's blocks are
rese2 with a 3-wide shortcut and an excitation as wide as the features; its first and last layers are such blocks too.
"""

import re

from samplecnn.errors import UsageError
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
from samplecnn.models import ModelConfig
from samplecnn.models.blocks import WIDE

NAME = "minzwon/sota-music-tagging-models"
RATE = 16000
DATASETS = ("mtat", "msd", "jamendo")


def matches(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint is from this program, of a waveform model or another one."""
    names = checkpoint.tensors
    return any(name in names for name in ("layer1.conv.weight", "layer1.conv_1.weight", "spec_bn.weight"))


def read(checkpoint: Checkpoint, head: Checkpoint | None, encoder_only: bool) -> ThirdPartyModel:
    """The checkpoint as a SampleCNN.

    Raises:
        UsageError: another model of this program, or options for encoders.
        SampleCNNError: a value is missing or has another shape.
    """
    if head is not None or encoder_only:
        raise UsageError(f"{checkpoint.path}: a whole model of {NAME}; --head and --encoder-only are for encoders")
    names = checkpoint.tensors
    first = next((name for name in ("layer1.conv.weight", "layer1.conv_1.weight") if name in names), None)
    if first is None or names[first].ndim != 3 or "spec_bn.weight" in names:
        raise UsageError(
            f"{checkpoint.path}: a spectrogram model of {NAME}; only its two waveform models are SampleCNNs"
        )
    weights = Weights(checkpoint)
    layers = max(int(m[1]) for m in map(re.compile(r"layer(\d{1,4})\.").match, names) if m)
    features = weights.shape(first, 3)[0]
    blocks = num_blocks(weights, features, layers)
    wide = first == "layer1.conv_1.weight"
    config = ModelConfig(
        block=WIDE if wide else "basic",
        num_blocks=blocks,
        num_classes=weights.shape("dense2.weight" if wide else "dense.weight", 2)[0],
        features=features,
        amplifying_ratio=1.0,
        first_padding="centred",
        tail=wide,
    )
    model = empty_model(config)
    folded = fill(model, _wide(blocks, config.widths) if wide else _plain(blocks), weights)
    weights.check_all_used()
    return ThirdPartyModel(
        title=f"{'SampleCNNSE' if wide else 'SampleCNN'} of {NAME}",
        model=complete(model),
        sample_rate=RATE,
        folded=folded,
        classes=_classes_of_path(checkpoint),
        kind="multilabel",
    )


def _plain(blocks: int) -> list[LayerPair]:
    pairs = [LayerPair("conv0", "layer1.conv"), LayerPair("norm0", "layer1.bn")]
    for i in range(blocks):
        pairs += [
            LayerPair(f"blocks.{i}.conv", f"layer{i + 2}.conv"),
            LayerPair(f"blocks.{i}.norm", f"layer{i + 2}.bn"),
        ]
    last = f"layer{blocks + 2}"
    return [
        *pairs,
        LayerPair("final_fc", f"{last}.conv", width=1),
        LayerPair("final_norm", f"{last}.bn"),
        LayerPair("logit", "dense"),
    ]  # fmt: skip


def _wide(blocks: int, widths: list[int]) -> list[LayerPair]:
    pairs = [
        LayerPair("conv0", "layer1.conv_1"), LayerPair("norm0", "layer1.bn_1"),
        LayerPair("stem.conv", "layer1.conv_2"), LayerPair("stem.norm", "layer1.bn_2"),
        *_excitation("stem", "layer1"),
        LayerPair("stem.scut_conv", "layer1.conv_3"), LayerPair("stem.scut_norm", "layer1.bn_3"),
    ]  # fmt: skip
    before = widths[0]
    for i, width in enumerate(widths):
        pairs += _residual(f"blocks.{i}", f"layer{i + 2}")
        if width != before:
            pairs += [
                LayerPair(f"blocks.{i}.scut_conv", f"layer{i + 2}.conv_3"),
                LayerPair(f"blocks.{i}.scut_norm", f"layer{i + 2}.bn_3"),
            ]
        before = width
    pairs += _residual("tail", f"layer{blocks + 2}")
    return [*pairs, LayerPair("final_fc", "dense1"), LayerPair("final_norm", "bn"), LayerPair("logit", "dense2")]


def _residual(ours: str, theirs: str) -> list[LayerPair]:
    pairs = []
    for j in (0, 1):
        pairs += [
            LayerPair(f"{ours}.convs.{j}", f"{theirs}.conv_{j + 1}"),
            LayerPair(f"{ours}.norms.{j}", f"{theirs}.bn_{j + 1}"),
        ]
    return pairs + _excitation(ours, theirs)


def _excitation(ours: str, theirs: str) -> list[LayerPair]:
    return [LayerPair(f"{ours}.excitation.ex{k}", f"{theirs}.dense{k + 1}") for k in (0, 1)]


def _classes_of_path(checkpoint: Checkpoint) -> tuple[str, str] | None:
    """From the path: the program saves its models as models/mtat/sample/best_model.pth."""
    parts = checkpoint.path.absolute().parts
    if len(parts) >= 4 and parts[-4] == "models" and parts[-3] in DATASETS:
        return parts[-3], f"from the folder models/{parts[-3]}"
    return None
