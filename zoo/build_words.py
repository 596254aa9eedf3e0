"""Rebuilds `words`, `words-logmel` and `words-tiny` from Speech Commands (CC BY 4.0) and ESC-10 (CC BY 3.0, CC0).

    samplecnn prepare scd
    python zoo/build_words.py words --esc10 data/esc10

Steps: data (clips, manifest, shards), train, fit (calibration), pack (weights in float16, measured card), listen (with
--alarms: the threshold from which `samplecnn listen` starts).
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measuring
import packing
import words_data
from words_data import BACKGROUND, KEYWORDS, UNKNOWN, UNKNOWN_WORDS

import samplecnn
from samplecnn.audio import decode
from samplecnn.bench.listen import bench_listen
from samplecnn.evaluation.fitting import fit
from samplecnn.shards import open_split

DATASET = {"sample_rate": words_data.RATE, "window": words_data.SAMPLES, "clip_seconds": 1.0, "padding": "zero"}
REJECTING = (UNKNOWN, BACKGROUND)
COMMON = {"recipe": "modern", "block": "se", "batch_size": 64, "passes": 1, "crop": 1.0, "shift": 0.1, "multi": False}


@dataclass(frozen=True)
class Packed:
    """What the models differ in.

    Args:
        recipe: of the training.
        most_bytes: of the weights.
        variant: what the list of models says behind ABOUT.
        background_odds: of `samplecnn listen`, chosen as RULES.
        limits: that the card names after LIMITS.
    """

    recipe: dict[str, Any]
    most_bytes: int
    variant: str = ""
    background_odds: float = 100.0
    limits: tuple[str, ...] = ()


MODELS = {
    "words": Packed(
        COMMON | {"features": 64, "max_epochs": 24, "speed": 0.12, "filter": 5.0, "noise": 0.2, "class_weights": True},
        most_bytes=4_000_000,
    ),
    "words-logmel": Packed(
        COMMON
        | {"frontend": "logmel", "block": "rese2", "multi": True, "features": 96, "max_epochs": 40}
        | {"speed": 0.25, "filter": 8.0, "mask": 0.1, "noise": 0.2, "class_weights": True},
        most_bytes=4_000_000,
        variant="; on log-mel frames",
        background_odds=300.0,
        limits=(
            "It hears log-mel frames in place of the waveform: Keras cannot represent it, every other format can. "
            "Steady noise as loud as the word makes it answer background more often than `words` does.",
        ),
    ),
    "words-tiny": Packed(
        COMMON
        | {"features": 32, "max_epochs": 30, "speed": 0.15, "filter": 6.0, "noise": 0.2, "label_smoothing": 0.05},
        most_bytes=500_000,
        variant="; a small network",
    ),
}
ABOUT = "15 spoken words of English, other words and background"
THRESHOLD = 0.5  # of a false alarm
MOST_ALARMS = 1.0  # an hour, where `samplecnn listen` starts
RULES = {"smooth": 6, "settle": 0.0}  # chosen on validation clips, see docs/listening.md
SPLIT = (
    "the official lists of Speech Commands; training clips of listed speakers are left out, so that no speaker is in "
    "two splits. Background recordings are divided by time (60 / 20 / 20 %), ESC-10 by fold (1 to 3, 4, 5)."
)
LIMITS = (
    f"`{UNKNOWN}` was learnt from {', '.join(UNKNOWN_WORDS)}, from words played backward and from halves of words "
    f"joined. Its test clips are of the same {len(UNKNOWN_WORDS)} words, by other speakers: how often words are "
    "rejected that it has never heard is not part of these scores.",
    "Trained and tested on recordings of one second, each with one word, by volunteers with the microphones of their "
    "own computers. Far, sung or shouted speech was not tested.",
    "The windows of a long recording may cut a word in two: tag it with --hop 0.25.",
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=tuple(MODELS))
    parser.add_argument("--speech-commands", type=Path, default=Path("data/scd/raw"), metavar="FOLDER")
    parser.add_argument("--esc10", type=Path, metavar="FOLDER", help="a folder for each class; optional")
    parser.add_argument("--notes", type=Path, metavar="CSV", help="manifest of notes of instruments; optional")
    parser.add_argument(
        "--alarms", type=Path, metavar="FOLDER", help="more recordings without words, to count alarms on"
    )
    parser.add_argument("--out", type=Path, default=Path("data/zoo"), metavar="FOLDER", help="for all that is made")
    parser.add_argument("--leave-out", metavar="WORD", help="train without this unknown word, and test on it")
    parser.add_argument("--run", type=Path, metavar="RUN", help="a trained run, instead of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", action="append", choices=tuple(STEPS), help="only this step; may be repeated")
    options = parser.parse_args(arguments)
    options.name = "words" if options.leave_out is None else f"words-without-{options.leave_out}"
    options.manifest = options.out / options.name / f"{options.name}.csv"
    options.data = options.out / "data"
    for name in options.step or STEPS:
        STEPS[name](options)


def data(options: argparse.Namespace) -> None:
    """Writes OUT/words/words.csv with its clips, and builds it into OUT/data/words."""
    folder = options.manifest.parent
    words_data.write_manifest(
        options.speech_commands, folder, options.esc10, options.notes, options.leave_out, options.seed
    )
    print("\n".join(samplecnn.build(options.manifest, options.data, **DATASET).lines()))


def train(options: argparse.Namespace) -> None:
    """Trains with the model's recipe, unless there is a run."""
    if options.run is None:
        options.run = samplecnn.train(
            str(options.manifest),
            options.model,
            data_dir=options.data,
            log_dir=options.out / "log",
            background=options.manifest.parent / "background" / "train",
            seed=options.seed,
            **MODELS[options.model].recipe,
        ).run


def calibrate(options: argparse.Namespace) -> None:
    """Calibrates the run on the validation clips; the threshold stays at 0.5 for every class."""
    print("\n".join(fit(trained(options), str(options.manifest), options.data, "none").lines()))


def pack(options: argparse.Namespace) -> None:
    """Packs the weights, measures the packed model, and writes its card."""
    folder = packing.PACKAGE / options.model
    packing.pack_weights(trained(options), folder)
    dataset, test = str(options.manifest), open_split(str(options.manifest), options.data, "test")
    clips = options.manifest.parent / "background" / "test"
    noises = [decode(path, words_data.RATE) for path in sorted(clips.glob("*.wav"))]
    sounds = sorted(options.esc10.glob(f"*/{words_data.FOLDS['test']}-*")) if options.esc10 else []
    heard = [*noises, *(decode(path, words_data.RATE) for path in sounds)]
    alarms = [measuring.false_alarms(folder, "background and ESC-10 of the test", heard, REJECTING, THRESHOLD)]
    if options.alarms:
        more = (decode(path, words_data.RATE) for path in sorted(options.alarms.iterdir()))
        alarms.append(
            measuring.false_alarms(folder, f"other sounds ({options.alarms.name})", more, REJECTING, THRESHOLD)
        )
    clip = next(path for path in sorted((options.speech_commands / "yes").iterdir()))
    facts = {
        "name": options.model,
        "about": ABOUT + MODELS[options.model].variant,
        "licence": "MIT, data CC BY",
        "command": f"python zoo/build_words.py {options.model} --esc10 data/esc10"
        + (" --notes data/instruments/instruments.csv" if options.notes else ""),
        "seed": options.seed,
        "split": SPLIT,
        "counts": measuring.class_counts(dataset, options.data),
        "data": [
            {"name": "Speech Commands v0.02 (Warden 2018)", "licence": "CC BY 4.0", "use": "all words; background"},
            *([{"name": "ESC-10 (Piczak 2015)", "licence": "CC BY 3.0, CC0", "use": f"`{BACKGROUND}`"}]
              if options.esc10 else []),
            *([{"name": "Philharmonia Orchestra sound samples", "licence": "free, not to be sold as samples",
                "use": f"`{BACKGROUND}`"}] if options.notes else []),
        ],
        **measuring.test_scores(folder, dataset, options.data, REJECTING),
        "scores_about": "Of one training.",
        "snr_about": f"Test clips of the {len(KEYWORDS)} words with background that was not in the training added; all "
        "classes are possible answers.",
        "snr": measuring.accuracy_over_snr(folder, test, noises, REJECTING, options.seed),
        "false_alarms": alarms,
        "speed_about": measuring.machine(),
        "speed": measuring.speed(folder, clip),
        "limits": LIMITS + MODELS[options.model].limits,
    }  # fmt: skip
    packing.pack_card(folder, facts, MODELS[options.model].most_bytes)


def listen(options: argparse.Namespace) -> None:
    """Stores the lowest threshold with at most MOST_ALARMS an hour on the sounds of --alarms, which no test has."""
    if options.alarms:
        folder = packing.PACKAGE / options.model
        found = bench_listen(
            str(options.manifest), str(folder), [str(options.alarms)], utterances=800, target=MOST_ALARMS, split="val",
            background_odds=MODELS[options.model].background_odds, **RULES,
        )  # fmt: skip
        packing.add_operating_point(folder, found["operating_point"])


def trained(options: argparse.Namespace) -> Path:
    if options.run is None:
        raise SystemExit("which run? train first, or give --run")
    return options.run


STEPS = {"data": data, "train": train, "fit": calibrate, "pack": pack, "listen": listen}

if __name__ == "__main__":
    main()
