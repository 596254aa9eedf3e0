"""Embeddings: what a network makes of a segment before its classes, as a vector.

"hidden" is the last hidden layer behind its ReLU, from which the classes are computed. A number is a block, counting
from 0; of its output, [time, features], the mean over time.
"""

from dataclasses import replace

from samplecnn.errors import UsageError
from samplecnn.models.graph import Graph

HIDDEN = "hidden"


def with_embedding(net: Graph, layer: int | str | None) -> Graph:
    """The network with another embedding; engines of it give its columns behind the probabilities.

    Args:
        net: the network.
        layer: "hidden", a block's number (also as a text, "3"), or None for no embedding.

    Raises:
        UsageError: there is no such layer.
    """
    if isinstance(layer, str) and layer.isdecimal():
        layer = int(layer)
    if layer is None or layer == HIDDEN:
        return replace(net, embedding=layer)
    if not isinstance(layer, int) or isinstance(layer, bool) or not 0 <= layer < len(net.stages):
        raise UsageError(f"no layer {layer!r} for embeddings: use {HIDDEN!r} or a block, 0 to {len(net.stages) - 1}")
    return replace(net, embedding=layer)


def embedding_size(net: Graph) -> int:
    """The length of the network's embedding; 0 where it has none."""
    if net.embedding is None:
        return 0
    if isinstance(net.embedding, int):
        return len(net.stages[net.embedding].convs[-1].bias)
    return len(net.head.bias)
