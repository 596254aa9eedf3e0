"""Trains on ESC-10, one fold at a time: the scores of the cross-validation, and the packaged model `sounds` (fold 1).

    python zoo/build_sounds.py data/esc10 --fold 1

The folder has a folder of recordings for each class; the first digit of a file name is its fold, and what is between
the first two dashes the recording it was cut from. A fold is the test; of the other four, whole recordings with about a
tenth of the clips validate, the rest trains.
"""

import argparse
import csv
import random
from collections import defaultdict
from pathlib import Path

import samplecnn

DATASET = {"sample_rate": 16_000, "window": 80_000, "padding": "zero"}  # clips of 5 s
RECIPE = {"recipe": "modern", "features": 32, "crop": 0.75, "max_epochs": 12, "passes": 5}
VALIDATION = 3  # clips of a class, from recordings that gave no more than MOST clips
MOST = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, metavar="FOLDER")
    parser.add_argument("--fold", type=int, default=1, choices=range(1, 6), help="that is the test")
    parser.add_argument("--out", type=Path, default=Path("data/zoo"), metavar="FOLDER", help="for all that is made")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    manifest = write_manifest(options.recordings, options.out, options.fold)
    print("\n".join(samplecnn.build(str(manifest), options.out / "data", **DATASET).lines()))
    places = {"data_dir": options.out / "data", "log_dir": options.out / "log"}
    samplecnn.train(str(manifest), f"fold{options.fold}", seed=options.seed, baseline=False, **places, **RECIPE)


def write_manifest(recordings: Path, out: Path, fold: int) -> Path:
    """Writes OUT/sounds-FOLD.csv: path, label and split of every clip."""
    clips = sorted(path for path in recordings.resolve().glob("*/*") if path.suffix in (".ogg", ".wav"))
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
