"""Rebuilds the packaged model `sounds` from ESC-10 (CC BY 3.0, CC0): five trainings, each tested on another fold.

    python zoo/build_sounds.py data/esc10                                      # trains on every fold in turn
    python zoo/build_sounds.py data/esc10 --pack data/zoo/log/*-fold1 data/zoo/log/*-fold2 ...

The folder has a folder of recordings for each class; the first digit of a file name is its fold, and what is between
the first two dashes the recording it was cut from. A fold is the test; of the other four, whole recordings with about a
tenth of the clips validate, the rest trains. The first fold's model is packaged; the scores on its card are those of
all five, each on the fold that it has not seen.
"""

import argparse
import csv
import random
from collections import defaultdict
from pathlib import Path

import measuring
import packing

import samplecnn
from samplecnn.audio import decode
from samplecnn.shards import open_split

DATASET = {"sample_rate": 16_000, "window": 80_000, "padding": "zero"}  # clips of 5 s
RECIPE = {"recipe": "modern", "features": 32, "crop": 0.75, "max_epochs": 6, "passes": 20}
FOLDS = (1, 2, 3, 4, 5)
MOST_BYTES = 500_000
LIMITS = (
    "It answers with one of its ten sounds whatever it hears: there is no class for anything else.",
    "Trained on 289 clips of 5 s, most of them close and clear. Longer recordings are tagged in windows of 5 s.",
)
VALIDATION = 3  # clips of a class, from recordings that gave no more than MOST clips
MOST = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, metavar="FOLDER")
    parser.add_argument("--fold", type=int, choices=FOLDS, help="train only the model that is tested on this fold")
    parser.add_argument("--pack", nargs=len(FOLDS), type=Path, metavar="RUN", help="pack these runs, by fold")
    parser.add_argument("--noise", type=Path, metavar="FOLDER", help="of noise, for scores with background")
    parser.add_argument("--out", type=Path, default=Path("data/zoo"), metavar="FOLDER", help="for all that is made")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folds = FOLDS if options.fold is None else (options.fold,)
    manifests = {fold: write_manifest(options.recordings, options.out, fold) for fold in folds}
    for manifest in manifests.values():
        print("\n".join(samplecnn.build(str(manifest), options.out / "data", **DATASET).lines()))
    if options.pack:
        pack(options, manifests)
        return
    places = {"data_dir": options.out / "data", "log_dir": options.out / "log"}
    for fold, manifest in manifests.items():
        samplecnn.train(str(manifest), f"fold{fold}", seed=options.seed, baseline=False, **places, **RECIPE)


def pack(options: argparse.Namespace, manifests: dict[int, Path]) -> None:
    """Packs the first run, and measures all of them for its card."""
    folder, data = packing.PACKAGE / "sounds", options.out / "data"
    packing.pack_weights(options.pack[0], folder)
    models = [folder, *options.pack[1:]]
    tests = [(model, str(manifests[fold]), data) for model, fold in zip(models, FOLDS, strict=True)]
    predictions, task = measuring.pooled(tests)
    right = predictions.y_prob.argmax(axis=1) == predictions.y_true.argmax(axis=1)
    sizes = [int(path.name[0]) for path in clips_of(options.recordings)]
    own = right[: sizes.count(1)]
    test = open_split(str(manifests[1]), data, "test")
    noises = [decode(path, task.sample_rate) for path in sorted(options.noise.glob("*.wav"))] if options.noise else []
    facts = {
        "name": "sounds",
        "about": "10 sounds: " + ", ".join(name.replace("_", " ") for name in task.classes),
        "licence": "MIT, data CC BY",
        "command": "python zoo/build_sounds.py data/esc10",
        "seed": options.seed,
        "split": "by fold, as published; a recording that clips were cut from is in one fold only. This model is "
        "tested on fold 1; of folds 2 to 5, about a tenth validates, the rest trains.",
        "counts": measuring.class_counts(str(manifests[1]), data),
        "data": [{"name": "ESC-10 (Piczak 2015)", "licence": "CC BY 3.0, CC0", "use": "all"}],
        "scores": [
            measuring.share("accuracy over 5 folds", right),
            measuring.share("accuracy of this model, fold 1", own),
        ],
        "scores_about": "Over 5 folds: of five models, each on the fold that it has not seen, as are the tables below. "
        "People reach 95.7 % (Piczak 2015).",
        **measuring.one_label_tables(predictions, task),
        "snr_about": "This model on the clips of fold 1, with noise that was not in the training added.",
        "snr": measuring.accuracy_over_snr(folder, test, noises, (), options.seed) if noises else [],
        "speed_about": measuring.machine(),
        "speed": measuring.speed(folder, clips_of(options.recordings)[0]),
        "limits": LIMITS,
    }  # fmt: skip
    packing.pack_card(folder, facts, MOST_BYTES)


def clips_of(recordings: Path) -> list[Path]:
    return sorted(path for path in recordings.resolve().glob("*/*") if path.suffix in (".ogg", ".wav"))


def write_manifest(recordings: Path, out: Path, fold: int) -> Path:
    """Writes OUT/sounds-FOLD.csv: path, label and split of every clip."""
    clips = clips_of(recordings)
    validation = validation_clips(clips, fold)
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / f"sounds-{fold}.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "split"))
        for path in clips:
            split = "test" if int(path.name[0]) == fold else "val" if path in validation else "train"
            writer.writerow((path, path.parent.name, split))
    return manifest


def validation_clips(clips: list[Path], fold: int) -> set[Path]:
    """About VALIDATION clips of every class outside of the fold, whole recordings each."""
    chosen, rng = set(), random.Random(fold)
    for label in sorted({path.parent.name for path in clips}):
        recordings: dict[str, list[Path]] = defaultdict(list)
        for path in clips:
            if path.parent.name == label and int(path.name[0]) != fold:
                recordings[path.name.split("-")[1]].append(path)
        names, taken = sorted(recordings), []
        rng.shuffle(names)
        for name in names:
            if len(taken) < VALIDATION and len(recordings[name]) <= MOST:
                taken += recordings[name]
        chosen.update(taken)
    return chosen


if __name__ == "__main__":
    main()
