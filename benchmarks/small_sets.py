"""What `samplecnn train` reaches with its defaults on a few hundred to a thousand clips, next to the quick baselines.

    python benchmarks/small_sets.py words data/scd/raw                       # 8 words, 800 training clips
    python benchmarks/small_sets.py notes data/instruments/instruments.csv   # 15 instruments, 1,247 training clips
    python benchmarks/small_sets.py sounds data/esc10                        # ESC-10, 5 folds

Each is one `samplecnn compare` of a network with all options at their defaults, which takes one thread; the same
command continues, but only one that was not interrupted knows the processor's minutes. Writes its rows into
benchmarks/small-sets.json. `make docs-tables` writes the table.

words: the first 100 clips of each word in the official lists for training, and 20 for validation; all of the test list.
sounds: a fold is the test, another one validates. The runs differ by fold, of the others by seed.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ablation import WORDS
from manifests import write_manifest
from transfer import sounds

import samplecnn
from samplecnn.comparison.records import NETWORK
from samplecnn.system.files import write_json

RESULTS = Path(__file__).with_name("small-sets.json")
ABOUT = (
    "`samplecnn train` with its defaults, next to baselines on log-mel statistics; mean ± deviation over the folds or "
    "seeds; 2-core Xeon with AMX, PyTorch 2.13 (CPU), bf16, one thread, shared with other work"
)
TRAIN_CLIPS, VAL_CLIPS = 100, 20  # of a word
Row = tuple[Path, str, str]


def words(folder: Path) -> Iterator[Row]:
    """Path, label and split of the clips."""
    lists = {name: (folder / f"{name}_list.txt").read_text().split() for name in ("validation", "testing")}
    for word in WORDS:
        held = {name: [folder / line for line in lines if line.startswith(f"{word}/")] for name, lines in lists.items()}
        clips = sorted({*(folder / word).glob("*.wav")}.difference(*held.values()))
        yield from ((path, word, "train") for path in clips[:TRAIN_CLIPS])
        yield from ((path, word, "val") for path in held["validation"][:VAL_CLIPS])
        yield from ((path, word, "test") for path in held["testing"])


class Data(NamedTuple):
    name: str
    rows: Callable[[Path], Iterable[Row]] | None  # None: it comes with a manifest
    column: str  # that the third value of a row is for
    build: dict[str, Any]
    runs: dict[str, Any]  # seeds or folds


DATA = {
    "words": Data("8 words", words, "split", {"window": 16000, "padding": "zero"}, {"seeds": 3}),
    "notes": Data("notes of 15 instruments, 62 labels", None, "", {"window": 32000, "padding": "zero"}, {"seeds": 3}),
    "sounds": Data("ESC-10", sounds, "fold", {"window": 80000}, {"folds": "column"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=DATA)
    parser.add_argument("source", type=Path, help="folder of the recordings, or a manifest")
    parser.add_argument("--work", type=Path, default=Path("small-sets"), help="folder for data sets and runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, manifest = DATA[options.data], options.source
    if data.rows is not None:
        manifest = write_manifest(options.work / f"{options.data}.csv", data.rows(options.source), data.column)
    samplecnn.build(str(manifest), options.work / "data", sample_rate=16000, **data.build)
    began = time.process_time()
    compared = samplecnn.compare(
        str(manifest), {"block": ["se"]}, data_dir=options.work / "data", log_dir=options.work / "log", **data.runs
    )
    runs = sum(run.kind == NETWORK for run in compared.runs)
    cpu_minutes = (time.process_time() - began) / runs / 60  # the baselines take seconds
    rows = [
        {
            "data": options.data,
            "name": data.name,
            "clips": compared.clips[0],
            "measure": compared.measure,
            "method": "samplecnn" if row.kind == NETWORK else row.label,
            "values": list(row.values),
            "cpu_minutes": cpu_minutes if row.kind == NETWORK else None,
        }
        for row in compared.rows
    ]
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"about": ABOUT, "small_sets": []}
    result["small_sets"] = [row for row in result["small_sets"] if row["data"] != options.data] + rows
    write_json(RESULTS, result)


if __name__ == "__main__":
    main()
