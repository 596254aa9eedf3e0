"""Finds where in a recording a class is heard: one line per interval in which its probability exceeds a threshold.

    python find_moments.py MODEL RECORDING CLASS [THRESHOLD]

Windows overlap by half; needs no PyTorch.
"""

import sys

import numpy as np

import samplecnn


def moments(tags: "samplecnn.tagging.Tags", name: str, threshold: float) -> list[tuple[float, float, float]]:
    """(start, end, highest probability) of each run of windows above the threshold, in seconds."""
    probability = tags.over_time[:, tags.classes.index(name)]  # over_time is [windows, classes]
    window = tags.task.window / tags.task.sample_rate
    above = np.concatenate([[False], probability > threshold, [False]])
    starts, ends = np.flatnonzero(~above[:-1] & above[1:]), np.flatnonzero(above[:-1] & ~above[1:])
    return [
        (float(tags.times[first]), float(tags.times[last - 1] + window), float(probability[first:last].max()))
        for first, last in zip(starts, ends, strict=True)
    ]


def main(model: str, recording: str, name: str, threshold: str = "0.5") -> None:
    plain = samplecnn.Tagger(model)
    half = plain.task.window / plain.task.sample_rate / 2
    tags = samplecnn.Tagger(model, hop=half, engine="numpy")(recording)
    for start, end, score in moments(tags, name, float(threshold)):
        print(f"{start:.2f} to {end:.2f} s  {name} {score:.3f}")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])
