"""How scores and embeddings of windows are rounded so that an index stays small, and by how much that moves them.

Scores are rounded to multiples of 2^-16, so they are off by at most 2^-17 (7.7e-6). They stay float32: the two bytes
that are zero then compress to nothing, and any reader of Parquet has plain numbers.

An embedding is stored as a byte for each value: value = low + step * byte, with low the smallest value of the vector
and step 1/255 of its range. A value is off by at most half a step, 1/510 of the range. Behind a ReLU, low is usually 0.
"""

from functools import cache

import numpy as np

SCORE_STEP = 2.0**-16
SCORE_ERROR = SCORE_STEP / 2  # at most
LEVELS = 255  # steps from the smallest to the largest value of an embedding


def rounded(scores: np.ndarray) -> np.ndarray:
    """Probabilities as multiples of SCORE_STEP, float32 of the same shape.

    Example:
        >>> float(abs(rounded(np.float32([0.1])) - 0.1)[0]) <= SCORE_ERROR
        True
    """
    return (np.rint(scores / SCORE_STEP) * SCORE_STEP).astype(np.float32)


@cache  # every entry of an update has one
def record_type(size: int) -> np.dtype:
    """One window's embedding of `size` values: low, step, the norm of the vector that they stand for, and the bytes."""
    return np.dtype([("low", "<f4"), ("step", "<f4"), ("norm", "<f4"), ("bytes", "u1", (size,))])


def packed(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings, float32 [windows, size], as records [windows] of `record_type`."""
    records = np.zeros(len(embeddings), record_type(embeddings.shape[1]))
    if records.size and embeddings.shape[1]:
        low = embeddings.min(axis=1).astype(np.float32)
        step = ((embeddings.max(axis=1).astype(np.float64) - low) / LEVELS).astype(np.float32)
        levels = (embeddings - low[:, None]) / np.where(step > 0, step, 1)[:, None]
        records["low"], records["step"] = low, step
        records["bytes"] = np.clip(np.rint(levels), 0, LEVELS).astype(np.uint8)
        records["norm"] = np.linalg.norm(unpacked(records), axis=1)
    return records


def unpacked(records: np.ndarray) -> np.ndarray:
    """The embeddings that records stand for, float32 [windows, size].

    Example:
        >>> vectors = np.float32([[0, 1, 5.1], [2, 2, 2]])
        >>> bool((abs(unpacked(packed(vectors)) - vectors) <= [[0.01], [0]]).all())
        True
    """
    values: np.ndarray = records["bytes"].astype(np.float32)
    values *= records["step"][:, None]
    values += records["low"][:, None]
    return values
