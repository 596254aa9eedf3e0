"""The order of the labels in TFRecords of mtt: nothing in the files names it, but the labels themselves show it."""

import numpy as np

from samplecnn.datasets.mtt import TAGS, TAGS_NUMPY_1_25

MIN_CLIPS = 5  # with two tags together, below which nothing is concluded
MIN_RATIO = 4  # between the two orders' clips; it is above 70 in each split of the published annotations

# (tag, a tag that it comes with): in the published annotations 1,256 clips have one of these pairs.
TOGETHER = (("female voice", "female"), ("female vocal", "female"), ("male voice", "male"))
# In the other order the same tags are found where these are, which hardly ever come together: 21 clips.
APART = (("metal", "female"), ("male voice", "female"), ("female vocal", "male"))


def in_order_of_numpy_1_25(labels: np.ndarray) -> bool:
    """Whether labels of mtt are in the order that the original's code gives them with NumPy 1.25 or newer.

    Args:
        labels: 0 or 1, [clips, 50]; of equal rows (segments of a clip) each counts.
    """

    def count(pairs: tuple[tuple[str, str], ...]) -> int:
        return sum(int((labels[:, TAGS.index(a)] & labels[:, TAGS.index(b)]).sum()) for a, b in pairs)

    apart = count(APART)
    return apart >= MIN_CLIPS and apart >= MIN_RATIO * count(TOGETHER)


def in_order_of_mtt(labels: np.ndarray) -> np.ndarray:
    """Labels [clips, 50] in the order of NumPy 1.25 and newer, put into that of `mtt`."""
    return labels[:, [TAGS_NUMPY_1_25.index(tag) for tag in TAGS]]
