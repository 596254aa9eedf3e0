"""Trains a classifier on a folder with one sub-folder of recordings per class, and tags one recording with it.

    python train_own_sounds.py FOLDER RECORDING

The settings are for a first result in a short time; without them, width and epochs follow from the amount of data.
"""

import sys
from pathlib import Path

import samplecnn


def main(folder: str, recording: str) -> None:
    # Recordings of any rate and length become int16 segments in data/<folder>/arrow, split into train, val and test.
    report = samplecnn.build(folder, sample_rate=16000, window=6561, padding="tile")
    print({split: counts.clips for split, counts in report.splits.items()})

    result = samplecnn.train(folder, block="se", features=16, max_epochs=9, seed=0)
    print("run directory:", result.run)

    scores = samplecnn.evaluate(result.run, folder)
    print(f"ROC-AUC {scores.roc_auc:.3f}, accuracy {scores.accuracy:.3f} on {scores.clips} test clips")
    for row in scores.per_class:
        print(f"  {row.name}: ROC-AUC {row.roc_auc:.3f}")

    for name, score in samplecnn.Tagger(result.run)(recording).top(3):
        print(f"{Path(recording).name}: {name} {score:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
