"""Putting a peer's weights where ours go, with every shape and value checked."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from samplecnn.errors import SampleCNNError
from samplecnn.interop.folding import fold_epsilon
from samplecnn.interop.third_party.checkpoint import Checkpoint
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.models.layers import BatchNorm
from samplecnn.task import Kind

EPSILON = 1e-5  # of PyTorch's batch norms
MOST_FEATURES, MOST_BLOCKS = 8192, 20  # beyond any sensible model


class Pair(NamedTuple):
    """A layer of ours and the peer's that goes there.

    `width` is the width of their convolution where it sees a single step of time, padded: only its middle tap counts,
    and ours is a dense layer or a 1-wide convolution.
    """

    ours: str
    theirs: str
    width: int | None = None


@dataclass(frozen=True)
class Peer:
    """A model of another program, as ours.

    Args:
        title: what it is.
        model: with the peer's weights, its last batch norms folded; without a task.
        sample_rate: Hz.
        folded: batch norms whose epsilon went into the weights.
        classes: name of the classes (`tags.PRESETS`) where the file leaves no doubt, and what tells it.
        kind: "multilabel", "multiclass", or None where the file does not tell.
        trained: whether its last layer is; an encoder alone has none.
    """

    title: str
    model: SampleCNN
    sample_rate: int
    folded: int
    classes: tuple[str, str] | None = None
    kind: Kind | None = None
    trained: bool = True


class Weights:
    """The tensors of a checkpoint below a prefix, taken one by one; what is left over can be told.

    Args:
        checkpoint: where they come from.
        prefix: of their names, as in "model.encoder.".
    """

    def __init__(self, checkpoint: Checkpoint, prefix: str = "") -> None:
        self.path, self.prefix = checkpoint.path, prefix
        self.tensors = {
            name.removeprefix(prefix): value
            for name, value in checkpoint.tensors.items()
            if name.startswith(prefix) and not name.endswith(".num_batches_tracked")
        }
        self.taken: set[str] = set()

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Of a tensor that must be there."""
        if name not in self.tensors:
            raise SampleCNNError(f"{self.path}: {self.prefix}{name} is missing")
        found = tuple(self.tensors[name].shape)
        if len(found) != dimensions:
            raise SampleCNNError(
                f"{self.path}: {self.prefix}{name} has the shape {list(found)}, expected {dimensions} dimensions"
            )
        return found

    def take(self, name: str, shape: Iterable[int]) -> Tensor:
        """A tensor as float32, a copy.

        Raises:
            SampleCNNError: missing, another shape, whole numbers, or values that are not finite.
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
        self.taken.add(name)
        return value

    def refuse_the_rest(self) -> None:
        """What is left would be lost in silence: a layer that ours has no place for."""
        rest = [name for name in self.tensors if name not in self.taken]
        if rest:
            raise SampleCNNError(
                f"{self.path}: {self.prefix}{rest[0]} has no place in a SampleCNN ({len(rest)} such values); "
                "it is another architecture"
            )


def bounded(weights: Weights, features: int, layers: int) -> int:
    """Blocks of a model with so many numbered layers, the first convolution and the one behind the blocks counted."""
    blocks = layers - 2
    if not 1 <= blocks <= MOST_BLOCKS or not 1 <= features <= MOST_FEATURES:
        raise SampleCNNError(f"{weights.path}: {layers} layers of {features} features are not a SampleCNN")
    return blocks


def empty(config: ModelConfig) -> SampleCNN:
    """A model whose values are still to come: shapes only, no memory."""
    with torch.device("meta"):
        return SampleCNN(config)


def fill(model: SampleCNN, pairs: Iterable[Pair], weights: Weights) -> int:
    """Gives layers of an empty model the peer's values; returns how many batch norms were folded."""
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
    strays = model.load_state_dict(state, strict=False, assign=True).unexpected_keys
    assert not strays, strays
    return folded


def finished(model: SampleCNN) -> SampleCNN:
    """The model in evaluation mode, once every value is there."""
    hollow = [name for name, value in model.state_dict().items() if value.device.type == "meta"]
    assert not hollow, hollow
    return model.eval()
