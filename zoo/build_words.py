"""Rebuilds the packaged models `words` and `words-tiny` from Speech Commands (CC BY 4.0) and ESC-10 (CC BY 3.0).

samplecnn prepare scd
python zoo/build_words.py words --esc10 data/esc10
"""

import argparse
from pathlib import Path

import words_data

import samplecnn

DATASET = {"sample_rate": words_data.RATE, "window": words_data.SAMPLES, "clip_seconds": 1.0, "padding": "zero"}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("words", "words-tiny"))
    parser.add_argument("--speech-commands", type=Path, default=Path("data/scd/raw"), metavar="FOLDER")
    parser.add_argument("--esc10", type=Path, metavar="FOLDER", help="a folder per class; left out where not given")
    parser.add_argument("--out", type=Path, default=Path("data/zoo"), metavar="FOLDER", help="for all that is made")
    parser.add_argument("--leave-out", metavar="WORD", help="train without this unknown word, and test on it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", choices=("data",), help="only this step")
    options = parser.parse_args(arguments)
    data(options)


def data(options: argparse.Namespace) -> None:
    """Writes OUT/words/words.csv with its clips, and builds it into OUT/data/words."""
    name = "words" if options.leave_out is None else f"words-without-{options.leave_out}"
    manifest = words_data.write_manifest(
        options.speech_commands, options.out / name, options.esc10, options.leave_out, options.seed
    )
    report = samplecnn.build(str(manifest), options.out / "data", **DATASET)
    print("\n".join(report.lines()))


if __name__ == "__main__":
    main()
