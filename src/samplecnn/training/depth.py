"""Frozen layers (--freeze) and learning rates that fall towards the input (--depth-rate)."""

from torch import nn

from samplecnn.errors import OptionError
from samplecnn.models import SampleCNN
from samplecnn.training.options import TrainOptions

ALL = "all"


def freeze(model: SampleCNN, options: TrainOptions) -> None:
    """Freezes the first blocks of a network, and the layers before them.

    Raises:
        OptionError: more blocks than the network has.
    """
    count = len(model.blocks) if options.freeze == ALL else int(options.freeze)
    if count > len(model.blocks):
        raise OptionError("freeze", f"must be at most {len(model.blocks)}, the network's blocks, or all; not {count}")
    if count:
        model.freeze(count)


def by_depth(model: SampleCNN) -> list[tuple[str, list[nn.Parameter]]]:
    """The parameters that are trained, by the part they belong to, from the classifier to the first layer."""
    parts: list[tuple[str, tuple[nn.Module | None, ...]]] = [
        ("first layer", (model.conv0, model.norm0)),
        ("stem", (model.stem,)),
        *((f"block {number}", (block,)) for number, block in enumerate(model.blocks, start=1)),
        ("tail", (model.tail,)),
        ("classifier", (model.final_fc, model.final_norm, model.logit)),
    ]
    trained = [
        (name, [value for part in modules if part is not None for value in part.parameters() if value.requires_grad])
        for name, modules in reversed(parts)
    ]
    return [(name, values) for name, values in trained if values]


def description(model: SampleCNN, options: TrainOptions) -> list[str]:
    """Lines on what is frozen and on the learning rates of the parts; none if all parts are trained at one rate."""
    lines, parts = [], by_depth(model)
    fixed = sum(value.numel() for value in model.parameters() if not value.requires_grad)
    if fixed:
        blocks = len(model.blocks) if options.freeze == ALL else int(options.freeze)
        what = "first layer and block 1" if blocks == 1 else f"first layer and blocks 1 to {blocks}"
        lines.append(f"frozen: {what} of {len(model.blocks)}, {fixed:,} of {model.num_trainable():,} weights")
    if options.depth_rate != 1:
        rates = [options.lr * options.depth_rate**depth for depth in range(len(parts))]
        shown = [f"{name} {rate:.3g}" for (name, _), rate in zip(parts, rates, strict=True)]
        lines.append(f"rates: {', '.join(shown)}")
    return lines
