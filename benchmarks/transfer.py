"""With few recordings: does it help to start from the packaged model `words`, and what of it should be trained?

    python benchmarks/transfer.py words data/scd/raw       # 4 words of Speech Commands, 5 to 50 recordings a class
    python benchmarks/transfer.py sounds data/esc10        # ESC-10, 20 recordings a class
    python benchmarks/transfer.py others data/esc50 --base RUN   # the 40 classes of ESC-50 that ESC-10 lacks

Adds to benchmarks/transfer.json, one training at a time; the same command continues. `make docs-tables` writes the
table.

words: bed, cat, eight and happy, clips of the official test list, which the packaged model was not trained on. It was
trained on others of these words, all of them as `_unknown_`. Half of the speakers are the test split, the others give
10 clips a class for validation, and the training clips.

sounds: fold 5 is the test split, fold 4 validates, folds 1 to 3 give the training clips. The packaged model was trained
on crops of folds 1 to 3, all of them as `_background_`.

others: the same folds. RUN is that of benchmarks/base_encoder.py, an encoder that has learnt words, instruments and the
sounds of ESC-10 at once. ESC-50 is not for commercial use: it is for measuring, no packaged model has heard it.

A seed draws the recordings, and is that of the training.
"""

import argparse
import contextlib
import csv
import io
import json
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from manifests import build_seconds, write_manifest

import samplecnn
from samplecnn.evaluation import Scores, score
from samplecnn.evaluation.baselines import BASELINES, run_baseline
from samplecnn.shards.folds import open_built_splits
from samplecnn.system.files import write_json

TEST_CLIPS = {
    "words": "242 test clips of other speakers; 2-core Xeon with AMX (words-logmel: AMD EPYC, Zen 4)",
    "sounds": "80 test clips of another fold; 2-core Xeon with AMX (words-logmel: AMD EPYC, Zen 4)",
    "others": "320 test clips of another fold; 2-core AMD EPYC (Zen 4)",
}
SHARED = "PyTorch 2.13 (CPU), bf16, one thread, shared with other work; CPU seconds include validation and test"
ABOUT = {data: f"{text}, {SHARED}" for data, text in TEST_CLIPS.items()}
RESULTS = Path(__file__).with_suffix(".json")
WORDS = ("bed", "cat", "eight", "happy")
VAL_CLIPS = 10  # a class, of words
COUNTS = {"words": (5, 50, 20, 10), "sounds": (20,), "others": (5, 20)}  # in this order
SHORT = {"init_from": "words", "lr": 0.001, "max_epochs": 4}
METHODS: dict[str, dict[str, Any]] = {
    "from nothing": {"max_epochs": 10, "features": 32},
    "--init-from words": SHORT,
    "--init-from words --depth-rate 0.7": SHORT | {"depth_rate": 0.7},
    "--init-from words --freeze 4": SHORT | {"freeze": 4},
    "--init-from words --freeze all": SHORT | {"freeze": "all"},
    "--init-from words --head-only": {"init_from": "words", "head_only": True},
    "--init-from words-logmel": SHORT | {"init_from": "words-logmel"},
    "--init-from words-logmel --head-only": {"init_from": "words-logmel", "head_only": True},
}
LONGER = SHORT | {"max_epochs": 10}
OTHERS: dict[str, dict[str, Any]] = {  # "base": the given run
    "from nothing": {},
    "--init-from words": LONGER,
    "--init-from BASE": LONGER | {"init_from": "base"},
    "--init-from words --head-only": {"init_from": "words", "head_only": True},
    "--init-from BASE --head-only": {"init_from": "base", "head_only": True},
    "--init-from words-logmel": LONGER | {"init_from": "words-logmel"},
    "--init-from words-logmel --head-only": {"init_from": "words-logmel", "head_only": True},
}
EPOCH_SEGMENTS = 1000  # at least, by several passes over the data


class Clip(NamedTuple):
    path: Path
    label: str
    group: str  # speaker, or fold


def spoken(folder: Path) -> list[Clip]:
    """Clips of WORDS in the official test list."""
    names = [Path(line) for line in (folder / "testing_list.txt").read_text().split()]
    return [
        Clip(folder / name, name.parent.name, name.name.split("_")[0]) for name in names if name.parent.name in WORDS
    ]


def split_words(clips: list[Clip], count: int, seed: int) -> dict[str, list[Clip]]:
    speakers = sorted({clip.group for clip in clips})
    random.Random(0).shuffle(speakers)
    half = len(speakers) // 2
    test, pool = set(speakers[:half]), speakers[half:]
    random.Random(seed).shuffle(pool)
    left, splits = {"val": VAL_CLIPS, "train": count}, defaultdict(list)
    for split, wanted in left.items():  # whole speakers, until every class has enough
        taken: dict[str, int] = defaultdict(int)
        while any(taken[word] < wanted for word in WORDS):
            speaker = pool.pop()
            for clip in (clip for clip in clips if clip.group == speaker and taken[clip.label] < wanted):
                taken[clip.label] += 1
                splits[split].append(clip)
    return {**splits, "test": [clip for clip in clips if clip.group in test]}


def split_sounds(clips: list[Clip], count: int, seed: int) -> dict[str, list[Clip]]:
    pool = [clip for clip in clips if clip.group in "123"]
    random.Random(seed).shuffle(pool)
    train = [
        clip for label in sorted({c.label for c in clips}) for clip in [c for c in pool if c.label == label][:count]
    ]
    return {split: [c for c in clips if c.group == fold] for split, fold in (("val", "4"), ("test", "5"))} | {
        "train": train
    }


def sounds(folder: Path) -> list[Clip]:
    return [Clip(path, path.parent.name, path.name[0]) for path in sorted(folder.glob("*/*")) if path.name[0].isdigit()]


def others(folder: Path) -> list[Clip]:
    """Clips of the classes of ESC-50 that are not in ESC-10."""
    with (folder / "esc50.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["esc10"] == "False"]
    paths = {path.stem: path for path in sorted((folder / "audio").iterdir())}
    return [Clip(paths[Path(row["filename"]).stem], row["category"], row["fold"]) for row in rows]


CLIPS = {"words": spoken, "sounds": sounds, "others": others}


def built(data: str, clips: list[Clip], count: int, seed: int, folder: Path) -> Path:
    """A manifest of the drawn clips, built at the packaged model's rate and window."""
    splits = (split_words if data == "words" else split_sounds)(clips, count, seed)
    rows = ((clip.path, clip.label, split) for split in splits for clip in splits[split])
    manifest = write_manifest(folder / f"{data}-{count}-{seed}.csv", rows)
    build_seconds(manifest, folder / "data")
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=COUNTS)
    parser.add_argument("folder", type=Path, help="of the recordings")
    parser.add_argument("--work", type=Path, default=Path("transfer"), help="folder for data sets and runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base", type=Path, metavar="RUN", help="others: the run of base_encoder.py")
    options = parser.parse_args()
    if options.data == "others" and options.base is None:
        parser.error("others needs --base RUN")
    methods = OTHERS if options.data == "others" else METHODS
    options.work.mkdir(parents=True, exist_ok=True)
    clips = CLIPS[options.data](options.folder)
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"about": ABOUT, "transfer": []}
    done = {(row["data"], row["method"], row["count"], row["seed"]) for row in result["transfer"]}
    for seed in range(options.seeds):
        for count in COUNTS[options.data]:
            wanted = [(options.data, method, count, seed) for method in (*methods, *BASELINES)]
            if done.issuperset(wanted):
                continue
            manifest = built(options.data, clips, count, seed, options.work)
            splits = open_built_splits(str(manifest), options.work / "data", None)
            for key in (key for key in wanted if key not in done):
                began = time.process_time()
                if key[1] in BASELINES:
                    found = run_baseline(key[1], [splits["train"], splits["val"]], splits["test"], seed)
                    scores = score(found.y_true, found.y_prob, splits["test"].task)
                else:
                    settings = methods[key[1]]
                    if settings.get("init_from") == "base":
                        settings = settings | {"init_from": str(options.base)}
                    scores = trained(manifest, options.work, len(splits["train"]), seed, settings)
                row = dict(zip(("data", "method", "count", "seed"), key, strict=True))
                row |= {"accuracy": scores.accuracy, "clips": scores.clips, "cpu_seconds": time.process_time() - began}
                result["transfer"].append(row)
                write_json(RESULTS, result)
                print(*key, f"{scores.accuracy:.4f}", f"{row['cpu_seconds']:.0f} s", flush=True)


def trained(manifest: Path, work: Path, segments: int, seed: int, settings: dict[str, Any]) -> Scores:
    if "max_epochs" in settings:
        settings = settings | {"passes": -(-EPOCH_SEGMENTS // segments)}
    if "head_only" not in settings:
        settings = settings | {"recipe": "modern"}
    with contextlib.redirect_stdout(io.StringIO()):
        result = samplecnn.train(
            str(manifest), data_dir=work / "data", log_dir=work / "log", device="cpu",
            num_readers=1, seed=seed, baseline=False, **settings,
        )  # fmt: skip
    return result.scores


if __name__ == "__main__":
    main()
