"""Copies the weights of another program into a SampleCNN, with every shape and value checked."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from samplecnn.errors import SampleCNNError
from samplecnn.interop.folding import fold_epsilon
from samplecnn.interop.third_party.checkpoint import Checkpoint
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.models.config import MAX_BLOCKS, MAX_FEATURES
from samplecnn.models.layers import BatchNorm
from samplecnn.task import Kind

EPSILON = 1e-5  # default of PyTorch's batch norms


class LayerPair(NamedTuple):
    """A layer of a SampleCNN and the corresponding layer of the other program.

    `width` is the width of the other convolution if its input is a single padded frame: only its middle tap has an
    effect, and it becomes a dense layer or a 1-wide convolution.
    """

    ours: str
    theirs: str
    width: int | None = None


@dataclass(frozen=True)
class ThirdPartyModel:
    """A model of another program as a SampleCNN.

    Args:
        title: the program and its model, for messages.
        model: the model with the other program's weights, without a task.
        sample_rate: Hz.
        folded: number of batch norms whose epsilon was folded into the weights.
        classes: if the file identifies its classes, their name in `presets.PRESETS` and how they were identified.
        kind: "multilabel", "multiclass", or None if unknown.
        trained: whether it has a trained output layer; False for an encoder alone.
    """

    title: str
    model: SampleCNN
    sample_rate: int
    folded: int
    classes: tuple[str, str] | None = None
    kind: Kind | None = None
    trained: bool = True


class Weights:
    """The tensors of a checkpoint under a prefix, and a record of those that have been used.

    Args:
        checkpoint: the file they come from.
        prefix: prefix of their names, such as "model.encoder.".
    """

    def __init__(self, checkpoint: Checkpoint, prefix: str = "") -> None:
        self.path, self.prefix = checkpoint.path, prefix
        self.tensors = {
            name.removeprefix(prefix): value
            for name, value in checkpoint.tensors.items()
            if name.startswith(prefix) and not name.endswith(".num_batches_tracked")
        }
        self.used: set[str] = set()

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor. Raises SampleCNNError if it is missing or has another number of dimensions."""
        if name not in self.tensors:
            raise SampleCNNError(f"{self.path}: {self.prefix}{name} is missing")
        found = tuple(self.tensors[name].shape)
        if len(found) != dimensions:
            raise SampleCNNError(
                f"{self.path}: {self.prefix}{name} has the shape {list(found)}, expected {dimensions} dimensions"
            )
        return found

    def take(self, name: str, shape: Iterable[int]) -> Tensor:
        """A copy of a tensor as float32, which is marked as used.

        Raises:
            SampleCNNError: missing, another shape, integers, or values that are not finite.
        """
        wanted = tuple(shape)
        found = self.shape(name, len(wanted))
        if found != wanted:
            raise SampleCNNError(
                f"{self.path}: {self.prefix}{name} has the shape {list(found)}, expected {list(wanted)}"
            )
        value = self.tensors[name]
        if not value.is_floating_point():
            raise SampleCNNError(f"{self.path}: {self.prefix}{name} is {value.dtype}, expected floating-point numbers")
        value = value.to(torch.float32, copy=True).contiguous()
        if not value.isfinite().all():
            raise SampleCNNError(f"{self.path}: {self.prefix}{name} holds values that are not finite (NaN or infinite)")
        self.used.add(name)
        return value

    def check_all_used(self) -> None:
        """Refuses unused tensors, which belong to layers that a SampleCNN does not have."""
        unused = [name for name in self.tensors if name not in self.used]
        if unused:
            raise SampleCNNError(
                f"{self.path}: {self.prefix}{unused[0]} is not part of a SampleCNN ({len(unused)} such tensors); "
                "it is another architecture"
            )


def num_blocks(weights: Weights, features: int, layers: int) -> int:
    """Number of blocks, for `layers` numbered layers: the first convolution, the blocks and one more; within limits."""
    blocks = layers - 2
    if not 1 <= blocks <= MAX_BLOCKS or not 1 <= features <= MAX_FEATURES:
        raise SampleCNNError(f"{weights.path}: {layers} layers of {features} features are not a SampleCNN")
    return blocks


def empty_model(config: ModelConfig) -> SampleCNN:
    """A model on the meta device: shapes of weights without values and memory."""
    with torch.device("meta"):
        return SampleCNN(config)


def fill(model: SampleCNN, pairs: Iterable[LayerPair], weights: Weights) -> int:
    """Fills layers of an empty model; returns the number of batch norms whose epsilon was folded."""
    folded = 0
    state: dict[str, Tensor] = {}
    for ours, theirs, width in pairs:
        module = model.get_submodule(ours)
        names = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        if isinstance(module, BatchNorm):
            values = {name: weights.take(f"{theirs}.{name}", value.shape) for name, value in names.items()}
            if (values["running_var"] < 0).any():
                raise SampleCNNError(f"{weights.path}: {weights.prefix}{theirs}.running_var holds negative variances")
            gamma, variance = values["weight"].numpy(), values["running_var"].numpy()
            values["weight"] = torch.from_numpy(fold_epsilon(gamma, variance, EPSILON))
            folded += 1
        else:
            assert isinstance(module, nn.Conv1d | nn.Linear)
            shape = tuple(module.weight.shape)
            kernel = weights.take(f"{theirs}.weight", shape if width is None else (*shape[:2], width))
            if width is not None:
                kernel = kernel[..., width // 2].reshape(shape).contiguous()
            values = {"weight": kernel, "bias": weights.take(f"{theirs}.bias", names["bias"].shape)}
        state |= {f"{ours}.{name}": value for name, value in values.items()}
    unexpected = model.load_state_dict(state, strict=False, assign=True).unexpected_keys
    assert not unexpected, unexpected
    return folded


def complete(model: SampleCNN) -> SampleCNN:
    """The model in evaluation mode, after a check that every value has been filled."""
    empty = [name for name, value in model.state_dict().items() if value.device.type == "meta"]
    assert not empty, empty
    return model.eval()
