"""Do several crops of a clip, averaged, score better than the clip as a whole?

    python benchmarks/averaged_crops.py log/RUN-OF-FOLD-1=fold1.csv log/RUN-OF-FOLD-2=fold2.csv [--data-dir DIR]

Each argument is a run that was trained with --crop, and its data set. Prints accuracy and loss of
whole windows, and of the mean probabilities of N evenly spaced crops of the length that was trained on, over the
validation clips of all of them, and over the test clips.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from samplecnn.audio import standardise
from samplecnn.inference import Engine, open_engine
from samplecnn.model_files import WEIGHTS, load, read_description
from samplecnn.shards.folds import open_built_splits

CROPS = (1, 2, 3, 4, 6, 8)
BATCH = 16


def probabilities(engine: Engine, audio: np.ndarray, length: int, crops: int) -> np.ndarray:
    """Mean over evenly spaced crops of standardised windows [clips, samples]: [clips, classes]."""
    rest = audio.shape[1] - length
    starts = np.rint(np.linspace(0, rest, crops)).astype(int) if crops > 1 else [rest // 2]
    found = [_in_batches(engine, np.ascontiguousarray(audio[:, start : start + length])) for start in starts]
    return np.mean(found, axis=0)


def _in_batches(engine: Engine, audio: np.ndarray) -> np.ndarray:
    return np.concatenate([engine(audio[start : start + BATCH]) for start in range(0, len(audio), BATCH)])


def results(run: str, dataset: str, data_dir: str) -> Iterator[tuple[str, str, np.ndarray]]:
    """For each split and kind of input: the probability of the right class, and whether it is the highest."""
    model = load(run)
    assert model.task is not None
    share = read_description(Path(run) / WEIGHTS)["training"]["options"]["crop"]
    engine = open_engine(model, "auto", "auto")
    for split, segments in open_built_splits(dataset, data_dir, None, ("val", "test"), any_source=True).items():
        audio = standardise(segments.gather(np.arange(len(segments))), model.task)
        right = np.asarray(segments.labels).argmax(axis=1)
        window, crop = audio.shape[1], round(share * audio.shape[1])
        kinds = [("whole", window, 1), *((f"{crops} of {share:g}", crop, crops) for crops in CROPS)]
        for name, length, crops in kinds:
            prob = probabilities(engine, audio, length, crops)
            yield split, name, np.stack([prob[np.arange(len(prob)), right], prob.argmax(axis=1) == right])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN=DATASET")
    parser.add_argument("--data-dir", default="data")
    arguments = parser.parse_args()
    pooled: dict[tuple[str, str], list[np.ndarray]] = {}
    for pair in arguments.runs:
        for split, name, values in results(*pair.split("=", 1), arguments.data_dir):
            pooled.setdefault((split, name), []).append(values)
    for (split, name), parts in sorted(pooled.items(), key=lambda item: item[0][0], reverse=True):
        prob, right = np.concatenate(parts, axis=1)
        loss = -np.log(np.maximum(prob, 1e-9)).mean()
        print(f"{split:5}{name:12}{len(right):6,} clips  accuracy {right.mean():.4f}  loss {loss:.4f}")


if __name__ == "__main__":
    main()
