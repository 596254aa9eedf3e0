"""Rebuilds the packaged model `instruments`: 15 instruments, dynamics and articulations as labels of single notes.

    python zoo/build_instruments.py data/instruments/instruments.csv
    python zoo/build_instruments.py data/instruments/instruments.csv --pack data/zoo/log/<time>-instruments-instruments

The manifest has the columns path, labels (separated by |) and split; no pitch of an instrument is in two splits.
"""

import argparse
from pathlib import Path

import measuring
import packing

import samplecnn
from samplecnn.evaluation import score

DATASET = {"sample_rate": 16_000, "window": 32_000, "padding": "zero"}  # 2 s; longer notes have several segments
RECIPE = {"recipe": "modern", "features": 32, "speed": 0.15, "max_epochs": 20, "passes": 4}


INSTRUMENTS = (
    "banjo", "bass clarinet", "bassoon", "cello", "clarinet", "contrabassoon", "cor anglais", "double bass", "flute",
    "french horn", "guitar", "mandolin", "oboe", "saxophone", "trombone",
)  # fmt: skip
MOST_BYTES = 1_000_000
LIMITS = (
    "Trained on single notes, recorded in a quiet room, without other instruments: for music it is a beginning.",
    "Rare articulations have few clips; their scores say little.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, default=Path("data/zoo"), metavar="FOLDER", help="for all that is made")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pack", type=Path, metavar="RUN", help="pack this run")
    options = parser.parse_args()
    print("\n".join(samplecnn.build(str(options.manifest), options.out / "data", **DATASET).lines()))
    if options.pack:
        pack(options)
        return
    places = {"data_dir": options.out / "data", "log_dir": options.out / "log"}
    samplecnn.train(str(options.manifest), seed=options.seed, baseline=False, **places, **RECIPE)


def pack(options: argparse.Namespace) -> None:
    """Packs a run's weights, measures the packed model, and writes its card."""
    folder, data, dataset = packing.PACKAGE / "instruments", options.out / "data", str(options.manifest)
    packing.pack_weights(options.pack, folder)
    predictions, task = measuring.pooled([(folder, dataset, data)])
    columns = [task.classes.index(name) for name in INSTRUMENTS]
    right = predictions.y_prob[:, columns].argmax(axis=1) == predictions.y_true[:, columns].argmax(axis=1)
    scores, clips = score(predictions.y_true, predictions.y_prob, task), len(right)
    known = int(predictions.y_true.any(axis=0).sum())  # classes that the test has
    recording = next(iter(sorted((options.manifest.parent / "audio").iterdir())))
    facts = {
        "name": "instruments",
        "about": "15 instruments of the orchestra, with dynamics and articulation",
        "licence": "MIT, data free to use",
        "command": "python zoo/build_instruments.py data/instruments/instruments.csv",
        "seed": options.seed,
        "split": "by pitch: no pitch of an instrument is in two splits.",
        "counts": measuring.class_counts(dataset, data),
        "data": [
            {"name": "Philharmonia Orchestra sound samples", "licence": "free to use, not to be sold as samples",
             "use": "all"},
        ],
        "scores": [
            measuring.share("accuracy among the 15 instruments", right),
            {"name": f"ROC-AUC, mean of {known} classes", "value": scores.roc_auc, "clips": clips},
            {"name": f"PR-AUC, mean of {known} classes", "value": scores.pr_auc, "clips": clips},
        ],
        "scores_about": "Of one training. Logistic regression on log-mel statistics has 86.8 % for the instrument.",
        "per_class": scores.to_dict()["per_class"],
        "speed_about": measuring.machine(),
        "speed": measuring.speed(folder, recording),
        "limits": LIMITS,
    }  # fmt: skip
    packing.pack_card(folder, facts, MOST_BYTES)


if __name__ == "__main__":
    main()
