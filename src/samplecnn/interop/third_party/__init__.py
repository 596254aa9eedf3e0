"""Reads SampleCNNs of other PyTorch programs. Each has a module with `matches` and `read`, and a line in READERS."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from samplecnn.errors import UsageError

if TYPE_CHECKING:
    from samplecnn.interop.third_party.checkpoint import Checkpoint
    from samplecnn.interop.third_party.weights import ThirdPartyModel


@dataclass(frozen=True)
class Reader:
    """A program whose checkpoints can be read.

    Args:
        program: its repository on GitHub, owner/name.
        models: its models that can be read, for help texts.
        module: name of the module in this package; imported lazily, because it needs PyTorch.
    """

    program: str
    models: str
    module: str

    def load(self) -> Any:
        """The module, with `matches(checkpoint)` and `read(checkpoint, head, encoder_only)`."""
        return import_module(f"samplecnn.interop.third_party.{self.module}")


READERS = (
    Reader("minzwon/sota-music-tagging-models", "SampleCNN, SampleCNNSE", "sota"),
    Reader("Spijkervet/CLMR", "SampleCNN: encoder, head, or both", "clmr"),
)


def recognise(
    checkpoint: "Checkpoint", head: "Checkpoint | None" = None, encoder_only: bool = False
) -> "ThirdPartyModel":
    """The checkpoint of a known program as a SampleCNN.

    Args:
        checkpoint: the model, or its encoder.
        head: the output layer, if it is in a separate file.
        encoder_only: accepts an encoder without an output layer.

    Raises:
        UsageError: not from a known program, or incomplete.
        SampleCNNError: a value is missing or has another shape; the message names it.
    """
    for reader in READERS:
        module = reader.load()
        if module.matches(checkpoint):
            model: ThirdPartyModel = module.read(checkpoint, head, encoder_only)
            return model
    names = list(checkpoint.tensors)
    known = " or ".join(reader.program for reader in READERS)
    raise UsageError(
        f"{checkpoint.path}: not a SampleCNN of {known} ({len(names)} tensors, {', '.join(sorted(names)[:3])}, …)"
    )
