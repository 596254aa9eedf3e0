"""What the fields of the recipe `modern` are worth: each one changed alone, over several seeds, on clips that no choice
was made on before. Without --multi, which was not part of the recipe then.

    python benchmarks/ablation.py data/scd/raw data/esc10

Adds to benchmarks/ablation.json, one training at a time; the same command continues. `make docs-tables` writes the
table.

Eight words of Speech Commands, 150 training clips of each. The clips of the official validation list are divided by
speakers: one half decides which epoch is kept, the other is scored, as it is and with sounds of ESC-10 5 dB below it,
which training does not hear. The official test list is not read. A seed draws the training clips and is that of the
training. Changes are compared within a seed and a CPU: sums of another order are like another seed.
"""

import argparse
import contextlib
import io
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
from manifests import build_seconds, write_manifest

import samplecnn
from samplecnn.audio import decode
from samplecnn.system.cpu import cpu_name
from samplecnn.system.files import write_json

EPOCHS = 20
ABOUT = (
    f"8 words, 1,200 training clips, {{scored:,}} scored; 32 features, {EPOCHS} epochs; PyTorch 2.13 (CPU), bf16, one "
    "thread of a Xeon with AMX or of an AMD EPYC (Zen 4); differences are within a seed and a CPU"
)
RESULTS = Path(__file__).with_suffix(".json")
WORDS = ("bed", "cat", "down", "eight", "five", "go", "happy", "left")
COUNT = 150  # training clips of a word
RATE = 16000
NOISE_DB = 5.0  # of a clip over the sounds that are mixed with it
UNCHANGED = "modern, --no-multi"
CHANGES: dict[str, dict[str, Any]] = {
    UNCHANGED: {},
    "--crop 0 --shift 0": {"crop": 0.0, "shift": 0.0},
    "--speed 0": {"speed": 0.0},
    "--filter 0 --noise 0": {"filter": 0.0, "noise": 0.0},
    "--reverb 0.5": {"reverb": 0.5},
    "--mixing between-class --mixing-share 0.5": {"mixing": "between-class", "mixing_share": 0.5},
    "--label-smoothing 0.1": {"label_smoothing": 0.1},
    "--average 0": {"average": 0.0},
    "--norm-estimate 0": {"norm_estimate": 0},
    "--multi": {"multi": True},
    "--gain 0 --no-polarity": {"gain": 0.0, "polarity": False},
    "--mask 0.2": {"mask": 0.2},
    "--dropout 0.5": {"dropout": 0.5},
    "--weight-decay 0": {"weight_decay": 0.0},
    "--lr 0.001": {"lr": 0.001},
    "--optimizer sgd --lr 0.03 --weight-decay 0": {"optimizer": "sgd", "lr": 0.03, "weight_decay": 0.0},
}


def clips(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Clips of WORDS for training, for validation and for scoring."""
    listed = {
        name: {folder / line for line in (folder / f"{name}_list.txt").read_text().split()}
        for name in ("validation", "testing")
    }
    pool = sorted(path for word in WORDS for path in (folder / word).glob("*.wav"))
    train = [path for path in pool if path not in listed["validation"] | listed["testing"]]
    held = [path for path in pool if path in listed["validation"]]
    speakers = sorted({speaker(path) for path in held})
    random.Random(0).shuffle(speakers)
    scored = set(speakers[: len(speakers) // 2])
    return train, [p for p in held if speaker(p) not in scored], [p for p in held if speaker(p) in scored]


def speaker(path: Path) -> str:
    return path.name.split("_")[0]


def in_noise(paths: list[Path], noises: Path, folder: Path) -> list[Path]:
    """Copies of the clips with an excerpt of a sound each."""
    import soundfile

    rng = np.random.default_rng(0)
    sources = [decode(path, RATE) for path in sorted(noises.glob("*/*")) if path.name[0].isdigit()]
    out = []
    for path in paths:
        into = folder / path.parent.name / path.name
        out.append(into)
        clip, sound = decode(path, RATE), np.zeros(1)
        while not sound.any():  # some recordings are silent in part
            source = sources[rng.integers(len(sources))]
            start = rng.integers(len(source) - len(clip) + 1)
            sound = source[start : start + len(clip)]
        into.parent.mkdir(parents=True, exist_ok=True)
        factor = np.sqrt(np.mean(clip**2) / np.mean(sound**2)) * 10 ** (-NOISE_DB / 20)
        mixed = clip + factor * sound
        soundfile.write(into, mixed / max(1.0, np.abs(mixed).max()), RATE)
    return out


def built(splits: dict[str, list[Path]], name: str, work: Path) -> str:
    rows = ((path, path.parent.name, split) for split in splits for path in splits[split])
    manifest = write_manifest(work / f"{name}.csv", rows)
    build_seconds(manifest, work / "data")
    return str(manifest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", type=Path, help="folder of Speech Commands")
    parser.add_argument("sounds", type=Path, help="folder of ESC-10")
    parser.add_argument("--work", type=Path, default=Path("ablation"), help="folder for data sets and runs")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    pool, val, scored = clips(options.words)
    result = {"about": ABOUT.format(scored=len(scored)), "ablation": []}
    if RESULTS.exists():
        result = json.loads(RESULTS.read_text())
    done = {(row["change"], row["seed"]) for row in result["ablation"]}
    unchanged_here = {
        row["seed"] for row in result["ablation"] if (row["change"], row["cpu"]) == (UNCHANGED, cpu_name())
    }
    noisy = in_noise(scored, options.sounds, options.work / "noisy")
    for seed in range(options.seeds):
        changes = [change for change in CHANGES if (change, seed) not in done]
        if not changes:
            continue
        if seed not in unchanged_here and UNCHANGED not in changes:
            changes.insert(0, UNCHANGED)
        order = random.Random(seed).sample(pool, len(pool))
        train = [p for word in WORDS for p in [p for p in order if p.parent.name == word][:COUNT]]
        data = built({"train": train, "val": val, "test": scored}, f"words-{seed}", options.work)
        with_noise = built({"train": train[:8], "val": val[:8], "test": noisy}, f"noisy-{seed}", options.work)
        for change in changes:
            began = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):
                run = samplecnn.train(
                    data, recipe="modern", data_dir=options.work / "data", log_dir=options.work / "log", features=32,
                    max_epochs=EPOCHS, device="cpu", num_readers=1, seed=seed, baseline=False,
                    **{"multi": False, **CHANGES[change]},
                )  # fmt: skip
            noise = samplecnn.evaluate(run.run, with_noise, options.work / "data")
            row = {"change": change, "seed": seed, "cpu": cpu_name(), "accuracy": run.scores.accuracy}
            row |= {"in_noise": noise.accuracy, "cpu_seconds": time.process_time() - began}
            result["ablation"].append(row)
            write_json(RESULTS, result)
            print(change, seed, f"{row['accuracy']:.4f} {row['in_noise']:.4f}", flush=True)


if __name__ == "__main__":
    main()
