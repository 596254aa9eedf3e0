"""Other programs' SampleCNNs in PyTorch: one module per program, each with `claims` and `read`."""

from samplecnn.errors import UsageError
from samplecnn.interop.third_party import clmr, sota
from samplecnn.interop.third_party.checkpoint import Checkpoint
from samplecnn.interop.third_party.weights import Peer

PEERS = (sota, clmr)


def recognise(checkpoint: Checkpoint, head: Checkpoint | None = None, encoder_only: bool = False) -> Peer:
    """A checkpoint of a program we know, as our model.

    Args:
        checkpoint: the model, or its encoder.
        head: the last layer, where it lies in a file of its own.
        encoder_only: takes an encoder without a last layer.

    Raises:
        UsageError: of no program that we know, or not whole.
        SampleCNNError: a value is missing or of another shape, named.
    """
    for peer in PEERS:
        if peer.claims(checkpoint):
            return peer.read(checkpoint, head, encoder_only)
    names = list(checkpoint.tensors)
    known = " or ".join(peer.NAME for peer in PEERS)
    raise UsageError(
        f"{checkpoint.path}: not a SampleCNN of {known} ({len(names)} tensors, {', '.join(sorted(names)[:3])}, …)"
    )
