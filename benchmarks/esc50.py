"""Accuracy on ESC-50 over its five folds, of networks that learn from its own clips alone.

    python benchmarks/esc50.py data/esc50            # the folder with esc50.csv and audio/
    python benchmarks/esc50.py data/esc50 --fold 2   # one fold

A fold is the test. Of the next one, the first clip of every class decides which epoch is kept; all others are trained
on: 1,550 clips. Every fold is a training of its own; the same command continues, and afterwards prints the row of
accuracy.json. The ten classes of ESC-10 are scored a second time as the only answers.
"""

import argparse
import csv
import json
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from closed_set import among
from manifests import write_manifest

import samplecnn
from samplecnn.evaluation import predict, score
from samplecnn.shards import open_split
from samplecnn.zoo.card import wilson

FOLDS = (1, 2, 3, 4, 5)
DATASET = {"sample_rate": 16_000, "window": 80_000}  # clips of 5 s
SETTINGS: dict[str, Any] = {
    "recipe": "modern", "features": 64, "crop": 0.75, "mixing": "between-class", "mixing_share": 0.5,
    "max_epochs": 12, "passes": 6,
}  # fmt: skip
TEN = (
    "dog", "rooster", "rain", "sea_waves", "crackling_fire", "crying_baby", "sneezing", "clock_tick", "helicopter",
    "chainsaw",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with esc50.csv and audio/")
    parser.add_argument("--fold", type=int, choices=FOLDS)
    parser.add_argument("--work", type=Path, default=Path("esc50"), help="folder for data sets and runs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = []
    for fold in FOLDS if options.fold is None else (options.fold,):
        manifest = str(write_manifest(options.work / f"esc50-{fold}.csv", split_clips(options.folder, fold)))
        samplecnn.build(manifest, options.work / "data", **DATASET)
        run = trained(manifest, fold, options.work, options.seed)
        found.append(scores(run, manifest, options.work))
        print(f"fold {fold}:", json.dumps(found[-1]), flush=True)
    print(json.dumps(row(found), indent=1))


def split_clips(folder: Path, fold: int) -> Iterator[tuple[Path, str, str]]:
    """Path, label and split of every clip."""
    with (folder / "esc50.csv").open(newline="", encoding="utf-8") as file:
        clips = sorted(csv.DictReader(file), key=lambda clip: clip["filename"])
    following = str(FOLDS[fold % len(FOLDS)])
    first = {clip["category"]: clip["filename"] for clip in reversed(clips) if clip["fold"] == following}
    for clip in clips:
        name, label = clip["filename"], clip["category"]
        split = "test" if clip["fold"] == str(fold) else "val" if first[label] == name else "train"
        [path] = (folder / "audio").glob(f"{Path(name).stem}.*")
        yield path, label, split


def trained(manifest: str, fold: int, work: Path, seed: int) -> Path:
    """The run of a fold, which is continued where it was interrupted."""
    begun = sorted((work / "log").glob(f"*-fold{fold}-seed{seed}/checkpoint.pt"))
    if begun:
        return samplecnn.resume(begun[-1].parent).run
    return samplecnn.train(
        manifest, f"fold{fold}-seed{seed}", data_dir=work / "data", log_dir=work / "log", seed=seed, baseline=False,
        **SETTINGS,
    ).run  # fmt: skip


def scores(run: Path, manifest: str, work: Path) -> dict[str, float]:
    """Of the test clips; `ten`: how many of those of ESC-10 are right if only its classes are answers."""
    model = samplecnn.load(run).eval()
    assert model.task is not None
    found = predict(model, open_split(manifest, work / "data", "test"))
    whole = score(found.y_true, found.y_prob, model.task)
    truth, guess = among(found, model.task, TEN)
    ten = float((truth == guess).mean())
    return {"accuracy": whole.accuracy, "roc_auc": whole.roc_auc, "pr_auc": whole.pr_auc, "ten": ten}


def row(folds: list[dict[str, float]]) -> dict[str, object]:
    """The folds' means as accuracy.json has them, with Wilson's intervals over all test clips."""
    mean = {name: statistics.fmean(fold[name] for fold in folds) for name in folds[0]}
    values = {"test_clips": 400 * len(folds), "by_fold": [round(fold["accuracy"], 4) for fold in folds]}
    for name, key, clips in (("accuracy", "interval", 400), ("ten", "ten_interval", 80)):
        low, high = wilson(round(mean[name] * clips * len(folds)), clips * len(folds))
        values |= {name: round(mean[name], 4), key: [round(low, 4), round(high, 4)]}
    values |= {name: round(mean[name], 4) for name in ("roc_auc", "pr_auc")}
    deviation = statistics.stdev(fold["accuracy"] for fold in folds) if len(folds) > 1 else math.nan
    return values | {"deviation": round(deviation, 4), "ten_by_fold": [round(fold["ten"], 4) for fold in folds]}


if __name__ == "__main__":
    main()
