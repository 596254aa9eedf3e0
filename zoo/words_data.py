"""The clips of the models of words: keywords of Speech Commands, `_unknown_` and `_background_`, in a manifest.

- Keywords and unknown words: the official lists decide the split. Training clips whose speaker is in one of the lists
  (123 of 10,043 clips of sixteen words) are left out, so that no speaker is in two splits.
- `_unknown_`: clips of UNKNOWN_WORDS, and, for training and validation only, made words: the first half of one word
  spliced to the second half of another, and words played backward. The test has real words only.
- `_background_`: crops of `_background_noise_`, whose recordings are divided by time (the first 60 % train, the next
  20 % validate, the rest tests), crops of ESC-10 where it is given (folds 1 to 3, 4, 5), coloured noise and silence;
  for training and validation only, synthetic tones, sweeps and bursts, and notes of instruments where they are given.

The recordings of the background's training part are also written whole, for mixing into training clips.
"""

import csv
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from samplecnn.datasets import synthesis

RATE = 16_000  # Hz, of Speech Commands
SAMPLES = RATE  # of a clip
KEYWORDS = (
    "yes", "up", "down", "left", "right", "on", "off", "stop", "go", "zero", "one", "two", "three", "four", "five",
)  # fmt: skip
UNKNOWN_WORDS = ("bed", "cat", "happy", "eight")
UNKNOWN, BACKGROUND = "_unknown_", "_background_"
SPLITS = ("train", "val", "test")
LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
PARTS = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0)}  # of a background recording, by time
FOLDS = {"train": "123", "val": "4", "test": "5"}  # of ESC-10
MADE = {"splice": 2000, "reverse": 800}  # made words for training; a tenth of it for validation
CROPS = {"noise": 600, "esc10": 1000, "coloured": 300, "silence": 100}  # for training; a fifth of it in val and test
MORE_CROPS = {"synthetic": 800, "notes": 800}  # for training; a tenth of it in val
CROSSFADE = RATE // 100  # 10 ms
ACTIVE = 0.02  # share of the loudest 10 ms above which a part of a clip is taken for speech


@dataclass(frozen=True)
class Entry:
    """A row of the manifest; `group` is the speaker or the recording a clip is from."""

    path: Path
    label: str
    split: str
    group: str
    source: str


def write_manifest(
    speech: Path,
    out: Path,
    esc10: Path | None = None,
    notes: Path | None = None,
    leave_out: str | None = None,
    seed: int = 0,
) -> Path:
    """Writes a manifest with the name of OUT in OUT, and the clips that are made, in OUT/clips and OUT/background.

    Args:
        speech: Speech Commands: WORD/SPEAKER_nohash_N.wav, the official lists and `_background_noise_`.
        out: folder.
        esc10: folder with one folder per class, the first digit of a file name being its fold.
        notes: manifest of recordings without speech, with the columns `path` and `split`.
        leave_out: one of UNKNOWN_WORDS: it is not in training or validation, and is the only unknown word of the
            test. This measures how words are rejected that the training has not heard.
        seed: of all random choices.
    """
    if leave_out is not None and leave_out not in UNKNOWN_WORDS:
        raise SystemExit(f"--leave-out {leave_out}: expected {', '.join(UNKNOWN_WORDS)}")
    clips = spoken(speech)
    kept = [
        entry
        for entry in clips
        if entry.source in KEYWORDS or leave_out is None or (entry.source == leave_out) == (entry.split == "test")
    ]
    words = [entry for entry in kept if entry.split != "test" and entry.source != leave_out]
    rng = np.random.default_rng(seed)
    kept += made_words(words, out / "clips", rng)
    kept += background(speech / "_background_noise_", esc10, out, rng)
    kept += more_background(notes, out, np.random.default_rng([seed, 1]))  # leaves the clips above as they are
    path = out / f"{out.name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "labels", "split", "group", "source"))
        for entry in kept:
            name = Path(os.path.relpath(entry.path, out)).as_posix()
            writer.writerow((name, entry.label, entry.split, entry.group, entry.source))
    return path


def spoken(speech: Path) -> list[Entry]:
    """The clips of keywords and unknown words, with the splits of the official lists."""
    split_of = {
        line.strip(): split for split, name in LISTS.items() for line in (speech / name).read_text().splitlines()
    }
    listed = {speaker(Path(name)) for name in split_of}
    entries = []
    for word in (*KEYWORDS, *UNKNOWN_WORDS):
        found = sorted((speech / word).glob("*.wav"))
        if not found:
            raise SystemExit(f"{speech / word}: no recordings of this word; run `samplecnn prepare scd`")
        for path in found:
            split = split_of.get(f"{word}/{path.name}", "train")
            if split != "train" or speaker(path) not in listed:
                label = word if word in KEYWORDS else UNKNOWN
                entries.append(Entry(path, label, split, speaker(path), word))
    return entries


def speaker(path: Path) -> str:
    return path.name.split("_nohash_")[0]


def made_words(words: list[Entry], folder: Path, rng: np.random.Generator) -> list[Entry]:
    """Sounds like words that are none: halves of two words joined, and words backward; nothing from the test split."""
    entries = []
    for split, share in (("train", 1.0), ("val", 0.1)):
        pool: dict[str, list[Entry]] = defaultdict(list)
        for entry in words:
            if entry.split == split:
                pool[entry.source].append(entry)
        names = sorted(pool)
        for number in range(round(share * MADE["splice"])):
            first, second = rng.choice(len(names), 2, replace=False)
            one, other = (pool[names[index]][rng.integers(len(pool[names[index]]))] for index in (first, second))
            wave = spliced(read(one.path), read(other.path))
            path = folder / split / f"splice-{number:04}.wav"
            entries.append(Entry(write(path, wave), UNKNOWN, split, one.group, f"splice {one.source}+{other.source}"))
        for number in range(round(share * MADE["reverse"])):
            name = names[rng.integers(len(names))]
            one = pool[name][rng.integers(len(pool[name]))]
            path = folder / split / f"reverse-{number:04}.wav"
            wave = read(one.path)[::-1]
            entries.append(Entry(write(path, wave), UNKNOWN, split, one.group, f"reverse {name}"))
    return entries


def spliced(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The first half of one word and the second half of another, equally loud; float32 [SAMPLES].

    A word is cut where half of its energy lies behind.
    """
    start, middle, _ = speech_bounds(one)
    _, cut, end = speech_bounds(other)
    head, tail = one[start : middle + CROSSFADE], other[cut:end].copy()
    level = np.sqrt(np.mean(head**2) / max(float(np.mean(tail**2)), 1e-10)) if len(tail) else 1.0
    tail *= np.clip(level, 0.1, 10)
    over = min(CROSSFADE, len(head), len(tail))
    fade = np.linspace(0, 1, over, dtype=np.float32)
    joint = head[len(head) - over :] * (1 - fade) + tail[:over] * fade
    wave = np.concatenate([one[:start], head[: len(head) - over], joint, tail[over:], other[end:]])
    return wave[:SAMPLES]


def speech_bounds(wave: np.ndarray) -> tuple[int, int, int]:
    """Samples where the speech of a clip starts, where half of its energy has passed, and where it ends."""
    frame = RATE // 100
    count = max(len(wave) // frame, 1)
    energy = (wave[: count * frame].reshape(count, -1) ** 2).sum(axis=1)
    active = np.flatnonzero(energy > ACTIVE * energy.max()) if energy.max() > 0 else np.arange(count)
    first, last = int(active[0]), int(active[-1])
    passed = np.cumsum(energy[first : last + 1])
    middle = first + int(np.searchsorted(passed, passed[-1] / 2))
    return first * frame, min(middle + 1, last) * frame, (last + 1) * frame


def background(noise: Path, esc10: Path | None, out: Path, rng: np.random.Generator) -> list[Entry]:
    """Clips of a second without any word, from each split's part of the recordings at levels from -40 to 0 dB."""
    recordings = [path for path in sorted(noise.iterdir()) if path.suffix in (".wav", ".flac", ".ogg")]
    parts: dict[str, list[tuple[str, np.ndarray]]] = {split: [] for split in SPLITS}
    for path in recordings:
        wave = read(path)
        for split, (low, high) in PARTS.items():
            part = wave[int(low * len(wave)) : int(high * len(wave))]
            parts[split].append((path.stem, part))
            write(out / "background" / split / f"{path.stem}.wav", part)
    sounds: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for path in sorted(esc10.glob("*/*")) if esc10 is not None else ():
        for split, folds in FOLDS.items():
            if path.name[0] in folds and path.suffix in (".ogg", ".wav"):
                sounds[split].append(path)
    entries = []
    for split in SPLITS:
        share = 1.0 if split == "train" else 0.2
        for kind, most in CROPS.items():
            if kind == "esc10" and not sounds[split]:
                continue
            for number in range(round(share * most)):
                group, wave = _background_clip(kind, parts[split], sounds[split], rng)
                path = out / "clips" / split / f"background-{kind}-{number:04}.wav"
                entries.append(Entry(write(path, wave), BACKGROUND, split, group, kind))
    return entries


def _background_clip(
    kind: str, parts: list[tuple[str, np.ndarray]], sounds: list[Path], rng: np.random.Generator
) -> tuple[str, np.ndarray]:
    """A clip of background sound and the recording it is from ("" for noise that is computed)."""
    if kind == "silence":
        return "", np.float32(10 ** rng.uniform(-6, -4)) * rng.standard_normal(SAMPLES).astype(np.float32)
    if kind == "coloured":
        group, wave = "", coloured_noise(rng.uniform(-1, 2), rng)
    else:
        if kind == "noise":
            name, wave = parts[rng.integers(len(parts))]
        else:
            path = sounds[rng.integers(len(sounds))]
            name, wave = path.stem, read(path)
        start = rng.integers(max(len(wave) - SAMPLES, 0) + 1)
        wave = wave[start : start + SAMPLES]
        group = "" if kind == "noise" else name  # parts of one recording are in several splits, as the text above says
    return group, leveled(wave, rng)


def more_background(notes: Path | None, out: Path, rng: np.random.Generator) -> list[Entry]:
    """Clips of a second of synthetic sounds, and of recordings of a manifest, at levels from -40 to 0 dB."""
    listed: list[dict[str, str]] = []
    if notes is not None:
        with notes.open(newline="", encoding="utf-8") as file:
            listed = list(csv.DictReader(file))
    kinds = tuple(synthesis.KINDS.values())
    time = np.arange(synthesis.RATE) / synthesis.RATE  # a second
    entries = []
    for split, share in (("train", 1.0), ("val", 0.1)):
        pool = [row["path"] for row in listed if row["split"] == split]
        for kind, most in MORE_CROPS.items():
            for number in range(round(share * most) if kind == "synthetic" or pool else 0):
                if kind == "synthetic":
                    start, length = rng.uniform(0, 0.5), rng.uniform(0.05, 1)  # seconds
                    sound = kinds[rng.integers(len(kinds))](rng, time) * ((time >= start) & (time < start + length))
                    group, wave = "", soxr.resample(sound.astype(np.float32), synthesis.RATE, RATE)
                else:
                    name = pool[rng.integers(len(pool))]
                    group, wave = Path(name).stem, read(notes.parent / name)
                    start = rng.integers(max(len(wave) - SAMPLES, 0) + 1)
                    wave = wave[start : start + SAMPLES]
                path = out / "clips" / split / f"background-{kind}-{number:04}.wav"
                entries.append(Entry(write(path, leveled(wave, rng)), BACKGROUND, split, group, kind))
    return entries


def leveled(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A wave with its peak at a random level from -40 to 0 dB of full scale."""
    peak = float(np.abs(wave).max())
    return wave * np.float32(10 ** (rng.uniform(-40, 0) / 20) / max(peak, 1e-4))


def coloured_noise(exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls with frequency as 1 / f ** exponent, float32 [SAMPLES]."""
    spectrum = np.fft.rfft(rng.standard_normal(SAMPLES))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (exponent / 2)
    spectrum[0] = 0
    wave = np.fft.irfft(spectrum, SAMPLES)
    return (wave / np.abs(wave).max()).astype(np.float32)


def read(path: Path) -> np.ndarray:
    """A recording as mono at RATE, float32 [samples]."""
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = wave.mean(axis=1)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE)


def write(path: Path, wave: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(wave, -1, 1 - 2**-15), RATE, subtype="PCM_16")
    return path
