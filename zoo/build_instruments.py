"""Trains the packaged model `instruments`: 15 instruments, dynamics and articulations as labels of single notes.

    python zoo/build_instruments.py data/instruments/instruments.csv

The manifest has the columns path, labels (separated by |) and split; no pitch of an instrument is in two splits.
"""

import argparse
from pathlib import Path

import samplecnn

DATASET = {"sample_rate": 16_000, "window": 32_000, "padding": "zero"}  # 2 s; longer notes have several segments
RECIPE = {"recipe": "modern", "features": 32, "speed": 0.15, "max_epochs": 10, "passes": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, default=Path("data/zoo"), metavar="FOLDER", help="for all that is made")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("\n".join(samplecnn.build(str(options.manifest), options.out / "data", **DATASET).lines()))
    places = {"data_dir": options.out / "data", "log_dir": options.out / "log"}
    samplecnn.train(str(options.manifest), seed=options.seed, baseline=False, **places, **RECIPE)


if __name__ == "__main__":
    main()
