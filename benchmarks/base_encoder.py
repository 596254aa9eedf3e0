"""Trains an encoder on all permissively licensed sets at once, for `benchmarks/transfer.py others --base RUN`.

    python benchmarks/base_encoder.py data/zoo/words/words.csv data/esc10 data/instruments/instruments.csv

words.csv is what `zoo/build_words.py words --step data` writes. 45 classes: its keywords, the four words that it
rejects, background, the sounds of ESC-10 and 15 instruments, at most 500 training clips each, in windows of a second.
Training starts from the packaged model `words`, which has heard more of these words, and takes 12 epochs.
"""

import argparse
import csv
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from manifests import build_seconds, write_manifest
from transfer import sounds

import samplecnn

MOST = {"train": 500, "val": 60, "test": 30}  # clips of a class
OTHER_WORDS = ("bed", "cat", "eight", "happy")
VAL_FOLD = "5"  # of ESC-10

Row = tuple[Path, str, str]


def read(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def spoken(manifest: Path) -> Iterator[Row]:
    """Words and noise; background that was cut from the other two sets is left out."""
    rows = read(manifest)
    random.Random(0).shuffle(rows)
    taken: Counter[tuple[str, str]] = Counter()
    for row in rows:
        label = row["source"] if row["labels"] == "_unknown_" else row["labels"]
        if row["source"] in ("esc10", "notes") or (row["labels"] == "_unknown_" and label not in OTHER_WORDS):
            continue
        taken[label, row["split"]] += 1
        if taken[label, row["split"]] <= MOST[row["split"]]:
            yield manifest.parent / row["path"], label, row["split"]


def notes(manifest: Path) -> Iterator[Row]:
    for row in read(manifest):
        yield manifest.parent / row["path"], f"note {row['instrument']}", row["split"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", type=Path, help="words.csv of zoo/build_words.py")
    parser.add_argument("sounds", type=Path, help="folder of ESC-10")
    parser.add_argument("notes", type=Path, help="manifest of the instruments")
    parser.add_argument("--work", type=Path, default=Path("base"), help="folder for the data set and the run")
    options = parser.parse_args()
    folds = ((c.path, f"sound {c.label}", "val" if c.group == VAL_FOLD else "train") for c in sounds(options.sounds))
    rows = [*spoken(options.words), *folds, *notes(options.notes)]
    manifest = write_manifest(options.work / "base.csv", rows)
    build_seconds(manifest, options.work / "data")
    samplecnn.train(
        str(manifest), "base", data_dir=options.work / "data", log_dir=options.work / "log", recipe="modern",
        init_from="words", lr=0.002, max_epochs=12, class_weights=True,
    )  # fmt: skip


if __name__ == "__main__":
    main()
