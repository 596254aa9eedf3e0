"""SampleCNN and SampleCNNSE of minzwon/sota-music-tagging-models (training/model.py, training/modules.py).

Differences from ours: 16 kHz, no standardisation, batch-norm epsilon 1e-5, every three of the first convolution centred
on a sample (padding=1). Its last convolution, 1 wide at a single step of time, is our dense layer. SampleCNNSE's blocks
are rese2 with a 3-wide shortcut and an excitation of full width; its first layer and its last are such blocks too.
"""

import re

from samplecnn.errors import UsageError
from samplecnn.interop.third_party.checkpoint import Checkpoint
from samplecnn.interop.third_party.weights import Pair, Peer, Weights, bounded, empty, fill, finished
from samplecnn.models import ModelConfig
from samplecnn.models.config import WIDE

NAME = "minzwon/sota-music-tagging-models"
RATE = 16000
DATASETS = ("mtat", "msd", "jamendo")


def claims(checkpoint: Checkpoint) -> bool:
    """Whether these are that program's tensors, of this model or of another one."""
    names = checkpoint.tensors
    return any(name in names for name in ("layer1.conv.weight", "layer1.conv_1.weight", "spec_bn.weight"))


def read(checkpoint: Checkpoint, head: Checkpoint | None, encoder_only: bool) -> Peer:
    """The model as ours.

    Raises:
        UsageError: another model of that program, or options that do not apply.
        SampleCNNError: a value is missing or of another shape.
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
    blocks = bounded(weights, features, layers)
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
    model = empty(config)
    folded = fill(model, _wide(blocks, config.widths) if wide else _plain(blocks), weights)
    weights.refuse_the_rest()
    return Peer(
        title=f"{'SampleCNNSE' if wide else 'SampleCNN'} of {NAME}",
        model=finished(model),
        sample_rate=RATE,
        folded=folded,
        classes=_told_by_the_path(checkpoint),
        kind="multilabel",
    )


def _plain(blocks: int) -> list[Pair]:
    pairs = [Pair("conv0", "layer1.conv"), Pair("norm0", "layer1.bn")]
    for i in range(blocks):
        pairs += [Pair(f"blocks.{i}.conv", f"layer{i + 2}.conv"), Pair(f"blocks.{i}.norm", f"layer{i + 2}.bn")]
    last = f"layer{blocks + 2}"
    return [
        *pairs, Pair("final_fc", f"{last}.conv", width=1), Pair("final_norm", f"{last}.bn"), Pair("logit", "dense"),
    ]  # fmt: skip


def _wide(blocks: int, widths: list[int]) -> list[Pair]:
    pairs = [
        Pair("conv0", "layer1.conv_1"), Pair("norm0", "layer1.bn_1"),
        Pair("stem.conv", "layer1.conv_2"), Pair("stem.norm", "layer1.bn_2"),
        *_excitation("stem", "layer1"),
        Pair("stem.scut_conv", "layer1.conv_3"), Pair("stem.scut_norm", "layer1.bn_3"),
    ]  # fmt: skip
    before = widths[0]
    for i, width in enumerate(widths):
        pairs += _residual(f"blocks.{i}", f"layer{i + 2}")
        if width != before:
            pairs += [
                Pair(f"blocks.{i}.scut_conv", f"layer{i + 2}.conv_3"),
                Pair(f"blocks.{i}.scut_norm", f"layer{i + 2}.bn_3"),
            ]
        before = width
    pairs += _residual("tail", f"layer{blocks + 2}")
    return [*pairs, Pair("final_fc", "dense1"), Pair("final_norm", "bn"), Pair("logit", "dense2")]


def _residual(ours: str, theirs: str) -> list[Pair]:
    pairs = []
    for j in (0, 1):
        pairs += [
            Pair(f"{ours}.convs.{j}", f"{theirs}.conv_{j + 1}"),
            Pair(f"{ours}.norms.{j}", f"{theirs}.bn_{j + 1}"),
        ]
    return pairs + _excitation(ours, theirs)


def _excitation(ours: str, theirs: str) -> list[Pair]:
    return [Pair(f"{ours}.excitation.ex{k}", f"{theirs}.dense{k + 1}") for k in (0, 1)]


def _told_by_the_path(checkpoint: Checkpoint) -> tuple[str, str] | None:
    """That program keeps its models as models/mtat/sample/best_model.pth."""
    parts = checkpoint.path.absolute().parts
    if len(parts) >= 4 and parts[-4] == "models" and parts[-3] in DATASETS:
        return parts[-3], f"by the folder models/{parts[-3]}"
    return None
