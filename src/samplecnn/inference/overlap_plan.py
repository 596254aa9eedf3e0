"""How deep into the network overlapping windows share their layers (see `overlap`), and with which hops. No PyTorch."""

from samplecnn.models.config import FIRST_SIZE
from samplecnn.models.graph import Graph, Layer, Stage

EDGE = (
    7  # steps of a window's end: 3 that are pooled, up to 2 that pooling leaves over, 2 that convolutions look beyond
)
LATITUDE = 0.01  # share of a hop by which it may be rounded


def aligned(net: Graph, window: int, hop: int) -> int:
    """The hop nearest to `hop` samples with which the windows' layers lie on one another as deep as it pays.

    A multiple of a power of 3, as high as the blocks' poolings ask for, but so that no hop moves by more than
    `LATITUDE`; `hop` itself where nothing can be shared, or nothing overlaps.
    """
    if hop >= window or not _shares(net):
        return hop
    best = 1
    for depth in range(len(net.stages)):
        step = _step(net, depth)
        if step > 2 * LATITUDE * hop or not _can_share(net, depth, window):
            break
        best = step
        if net.stages[depth].squeeze is not None:
            break
    return min(max(round(hop / best), 1) * best, window // best * best)


def shared_depth(net: Graph, window: int, hop: int) -> int:
    """Blocks that are shared, the last of them but for its excitation; 0: nothing."""
    if hop >= window or not _shares(net):
        return 0
    for depth in range(len(net.stages)):
        if hop % _step(net, depth) or not _can_share(net, depth, window):
            return depth
        if net.stages[depth].squeeze is not None:
            return depth + 1
    return len(net.stages)


def _shares(net: Graph) -> bool:
    """Whether a network begins with a first convolution of 3 samples, without a stem: others share nothing."""
    return net.stem is None and isinstance(net.first, Layer) and net.first.width == FIRST_SIZE


def _step(net: Graph, depth: int) -> int:
    """Samples of which a hop must be a multiple to share a block."""
    stage = net.stages[depth]
    before_pooling = stage.residual and stage.squeeze is not None
    return 3 ** (depth + 1 if before_pooling else depth + 2)


def _can_share(net: Graph, depth: int, window: int) -> bool:
    """Whether a block's values inside a window are those of the stretch but for one frame at either end.

    That needs max-poolings of 3 and convolutions that look no more than 2 frames beyond; windows long enough that their
    ends do not meet; and a head that does not see the block, nor an embedding one before it.
    """
    stage = net.stages[depth]
    if isinstance(net.embedding, int) and depth > net.embedding:
        return False
    known = stage.pool == 3 and frames_beyond(stage) <= 2
    return known and window // 3 ** (depth + 2) >= 2 * EDGE and depth < len(net.stages) - net.levels


def frames_beyond(stage: Stage) -> int:
    """Frames that the convolutions of a stage see on either side of a frame."""
    return sum(layer.width // 2 for layer in stage.convs)


def pays(net: Graph, window: int, hop: int) -> bool:
    """Whether sharing, which PyTorch does, is faster than the fastest engine on separate windows, on a CPU.

    As measured (docs/performance.md): from a hop of half a window on without excitations, of a quarter with them; not
    where an excitation lies behind a residual block, which looks at every window before its pooling.
    """
    depth = shared_depth(net, window, hop)
    last = net.stages[depth - 1]
    if depth == 0 or last.squeeze is not None:
        return depth > 0 and not last.residual and 4 * hop <= window
    return 2 * hop <= window
