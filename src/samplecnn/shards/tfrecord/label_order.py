"""The label order of mtt TFRecords: the files do not state it, but it can be inferred from the labels."""

import numpy as np

from samplecnn.datasets.mtt import TAGS, TAGS_NUMPY_1_25

MIN_CLIPS = 5  # clips with a pair of tags, below which nothing is concluded
MIN_RATIO = 4  # ratio of clips between the two orders; above 70 in each split of the published annotations

# Pairs of tags that occur together: 1,256 clips of the published annotations have one of them.
TOGETHER = (("female voice", "female"), ("female vocal", "female"), ("male voice", "male"))
# The pairs that these appear as in the other order, which hardly ever occur together: 21 clips.
APART = (("metal", "female"), ("male voice", "female"), ("female vocal", "male"))


def is_numpy_1_25_order(labels: np.ndarray) -> bool:
    """Whether mtt labels are in the order that the original's code produces with NumPy 1.25 or newer.

    Args:
        labels: 0 or 1, [clips, 50]; equal rows (segments of a clip) all count.
    """

    def count(pairs: tuple[tuple[str, str], ...]) -> int:
        return sum(int((labels[:, TAGS.index(a)] & labels[:, TAGS.index(b)]).sum()) for a, b in pairs)

    apart = count(APART)
    return apart >= MIN_CLIPS and apart >= MIN_RATIO * count(TOGETHER)


def to_mtt_order(labels: np.ndarray) -> np.ndarray:
    """Reorders labels [clips, 50] from the order of NumPy 1.25 and newer to that of `mtt`."""
    return labels[:, [TAGS_NUMPY_1_25.index(tag) for tag in TAGS]]
