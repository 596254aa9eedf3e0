"""How many blocks overlapping windows share (see `overlap`), and with which hops. Does not import PyTorch."""

from samplecnn.models.config import FIRST_SIZE
from samplecnn.models.graph import Graph, Layer, Stage

# Steps at a window's end: 3 for one pooled step, up to 2 that pooling drops, 2 for the convolutions' context.
EDGE = 7
HOP_TOLERANCE = 0.01  # share of a hop by which it may be rounded


def align_hop(net: Graph, window: int, hop: int) -> int:
    """The hop nearest to `hop` samples with which the windows' values coincide in as many blocks as possible.

    It is a multiple of a power of 3, the highest that the poolings of the blocks require and that changes the hop by no
    more than `HOP_TOLERANCE`; `hop` itself if no layer can be shared or no windows overlap.
    """
    if hop >= window or not _is_supported(net):
        return hop
    best = 1
    for depth in range(len(net.stages)):
        step = _hop_multiple(net, depth)
        if step > 2 * HOP_TOLERANCE * hop or not _can_share(net, depth, window):
            break
        best = step
        if net.stages[depth].squeeze is not None:
            break
    return min(max(round(hop / best), 1) * best, window // best * best)


def shared_depth(net: Graph, window: int, hop: int) -> int:
    """Number of shared blocks, the last of them without its excitation; 0: none."""
    if hop >= window or not _is_supported(net):
        return 0
    for depth in range(len(net.stages)):
        if hop % _hop_multiple(net, depth) or not _can_share(net, depth, window):
            return depth
        if net.stages[depth].squeeze is not None:
            return depth + 1
    return len(net.stages)


def _is_supported(net: Graph) -> bool:
    """Whether a network begins with a first convolution of 3 samples, without a stem: others cannot share layers."""
    return net.stem is None and isinstance(net.first, Layer) and net.first.width == FIRST_SIZE


def _hop_multiple(net: Graph, depth: int) -> int:
    """The number of samples that a hop must be a multiple of to share a block."""
    stage = net.stages[depth]
    before_pooling = stage.residual and stage.squeeze is not None
    return 3 ** (depth + 1 if before_pooling else depth + 2)


def _can_share(net: Graph, depth: int, window: int) -> bool:
    """Whether a block's values in a window equal those in the buffer, except for one frame at either end.

    This requires max-pooling of 3 and convolutions with at most 2 frames of context; windows long enough that their
    ends do not overlap; and a head that does not use the block, nor an embedding of an earlier block.
    """
    stage = net.stages[depth]
    if isinstance(net.embedding, int) and depth > net.embedding:
        return False
    known = stage.pool == 3 and frames_beyond(stage) <= 2
    return known and window // 3 ** (depth + 2) >= 2 * EDGE and depth < len(net.stages) - net.levels


def frames_beyond(stage: Stage) -> int:
    """Context of a stage's convolutions: frames on either side of a frame."""
    return sum(layer.width // 2 for layer in stage.convs)


def is_faster(net: Graph, window: int, hop: int) -> bool:
    """Whether sharing layers in PyTorch is faster than the fastest engine on separate windows, on a CPU.

    As measured (docs/performance.md): without excitations for hops of half a window or less, with them for a quarter or
    less; never for residual blocks with an excitation, which depends on each whole window before its pooling.
    """
    depth = shared_depth(net, window, hop)
    last = net.stages[depth - 1]
    if depth == 0 or last.squeeze is not None:
        return depth > 0 and not last.residual and 4 * hop <= window
    return 2 * hop <= window
