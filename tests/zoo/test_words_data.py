"""The clips of the packaged model `words`, from a small copy of Speech Commands' layout."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import words_data as data

RATE = data.RATE


def utterance(frequency: float, start: float, seconds: float) -> np.ndarray:
    """A tone in silence, as long as a clip."""
    wave = np.zeros(data.SAMPLES, np.float32)
    time = np.arange(int(seconds * RATE)) / RATE
    first = int(start * RATE)
    wave[first : first + len(time)] = 0.4 * np.sin(2 * np.pi * frequency * time)
    return wave


@pytest.fixture
def speech(tmp_path, monkeypatch) -> Path:
    """A folder as of Speech Commands: six speakers, of whom b validates and c tests; one clip of c is in no list."""
    monkeypatch.setattr(data, "MADE", {"splice": 20, "reverse": 10})
    monkeypatch.setattr(data, "CROPS", {"noise": 10, "esc10": 10, "coloured": 5, "silence": 5})
    monkeypatch.setattr(data, "MORE_CROPS", {"synthetic": 20, "notes": 10})
    folder = tmp_path / "speech"
    lists: dict[str, list[str]] = {"b": [], "c": []}
    for number, word in enumerate((*data.KEYWORDS, *data.UNKNOWN_WORDS)):
        (folder / word).mkdir(parents=True)
        for speaker in "abcdef":
            name = f"{word}/{speaker}_nohash_0.wav"
            soundfile.write(folder / name, utterance(200 + 50 * number, 0.2, 0.5), RATE)
            lists.get(speaker, []).append(name)
    soundfile.write(folder / "yes/c_nohash_1.wav", utterance(100, 0.2, 0.5), RATE)  # unlisted, by a listed speaker
    (folder / "validation_list.txt").write_text("\n".join(lists["b"]))
    (folder / "testing_list.txt").write_text("\n".join(lists["c"]))
    noise = folder / "_background_noise_"
    noise.mkdir()
    # The level tells the second: a part's clips are recognised by where they are from.
    ramp = np.repeat(np.arange(10) / 10, RATE) * np.where(np.arange(10 * RATE) % 2, 1, -1)
    soundfile.write(noise / "ramp.wav", ramp, RATE, subtype="FLOAT")
    return folder


@pytest.fixture
def esc10(tmp_path) -> Path:
    folder = tmp_path / "esc10" / "rain"
    folder.mkdir(parents=True)
    for fold in range(1, 6):
        soundfile.write(folder / f"{fold}-100-A.wav", 0.1 * np.ones(2 * RATE), RATE)
    return folder.parent


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_no_speaker_and_no_test_clip_is_in_the_training(speech, esc10, tmp_path):
    found = rows(data.write_manifest(speech, tmp_path / "out", esc10))
    spoken = [row for row in found if "_nohash_" in row["path"]]
    splits = {split: {row["group"] for row in spoken if row["split"] == split} for split in data.SPLITS}
    assert splits == {"train": set("adef"), "val": {"b"}, "test": {"c"}}
    assert not [row for row in found if "c_nohash_1" in row["path"]]  # its speaker is in the list of tests
    made = [row for row in found if row["source"].startswith(("splice", "reverse"))]
    assert {(row["split"], row["group"]) for row in made} <= {("train", name) for name in "adef"} | {("val", "b")}
    assert all(row["label"] == data.UNKNOWN for row in made for row["label"] in [row["labels"]])


def test_classes_and_counts(speech, esc10, tmp_path):
    found = rows(data.write_manifest(speech, tmp_path / "out", esc10))
    counts = Counter((row["labels"], row["split"]) for row in found)
    assert {label for label, _ in counts} == {*data.KEYWORDS, data.UNKNOWN, data.BACKGROUND}
    for word in data.KEYWORDS:
        assert [counts[word, split] for split in data.SPLITS] == [4, 1, 1]
    words = len(data.UNKNOWN_WORDS)
    assert [counts[data.UNKNOWN, split] for split in data.SPLITS] == [4 * words + 30, words + 3, words]
    assert [counts[data.BACKGROUND, split] for split in data.SPLITS] == [50, 8, 6]
    assert all((tmp_path / "out" / row["path"]).exists() for row in found)


def test_a_word_that_is_left_out_is_heard_in_the_test_only(speech, tmp_path):
    found = rows(data.write_manifest(speech, tmp_path / "out", leave_out="cat"))
    real = {(row["source"], row["split"]) for row in found if row["labels"] == data.UNKNOWN}
    assert {split for source, split in real if source == "cat"} == {"test"}
    assert {source for source, split in real if split == "test"} == {"cat"}
    assert not [source for source, _ in real if "cat" in source and source != "cat"]  # nor in a splice
    with pytest.raises(SystemExit, match="expected bed, cat"):
        data.write_manifest(speech, tmp_path / "out", leave_out="dog")


def test_background_is_divided_by_time_and_by_fold(speech, esc10, tmp_path):
    out = tmp_path / "out"
    found = rows(data.write_manifest(speech, out, esc10))
    levels = {
        split: np.unique(np.abs(soundfile.read(out / "background" / split / "ramp.wav")[0]).round(3))
        for split in data.SPLITS
    }
    assert levels["train"].tolist() == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert levels["val"].tolist() == [0.6, 0.7] and levels["test"].tolist() == [0.8, 0.9]
    folds = {split: {row["group"][0] for row in found if row["source"] == "esc10" and row["split"] == split}
             for split in data.SPLITS}  # fmt: skip
    assert folds["train"] <= set("123") and folds["val"] == {"4"} and folds["test"] == {"5"}


def test_notes_are_background_of_training_and_validation(speech, tmp_path):
    (tmp_path / "notes").mkdir()
    for split in data.SPLITS:
        soundfile.write(tmp_path / f"notes/{split}.wav", utterance(440, 0, 1), RATE)
    manifest = tmp_path / "notes.csv"
    manifest.write_text("path,split\n" + "".join(f"notes/{split}.wav,{split}\n" for split in data.SPLITS))
    found = rows(data.write_manifest(speech, tmp_path / "out", notes=manifest))
    counts = Counter((row["source"], row["split"], row["group"]) for row in found if row["labels"] == data.BACKGROUND)
    assert {key: count for key, count in counts.items() if key[0] in data.MORE_CROPS} == {
        ("synthetic", "train", ""): 20,
        ("synthetic", "val", ""): 2,
        ("notes", "train", "train"): 10,
        ("notes", "val", "val"): 1,
    }
    sounds = [soundfile.read(tmp_path / f"out/clips/train/background-synthetic-{number:04}.wav")[0]
              for number in range(20)]  # fmt: skip
    assert all(np.abs(sound).max() > 0.005 for sound in sounds)  # of 0.01 at least, sampled


def test_the_same_seed_gives_the_same_clips(speech, tmp_path):
    one, other, third = (
        data.write_manifest(speech, tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one.read_text() == other.read_text() != third.read_text()
    name = "clips/train/splice-0003.wav"
    assert (one.parent / name).read_bytes() == (other.parent / name).read_bytes()


def test_a_splice_is_the_first_half_of_one_word_and_the_second_of_another():
    one, other = utterance(300, 0.2, 0.4), 0.1 * utterance(1500, 0.3, 0.4)
    start, middle, end = data.speech_bounds(one)
    assert abs(start / RATE - 0.2) < 0.02 and abs(middle / RATE - 0.4) < 0.02 and abs(end / RATE - 0.6) < 0.02
    wave = data.spliced(one, other)
    head, tail = wave[int(0.25 * RATE) : int(0.35 * RATE)], wave[int(0.45 * RATE) : int(0.55 * RATE)]
    peaks = [np.abs(np.fft.rfft(part)).argmax() * RATE / len(part) for part in (head, tail)]
    assert peaks == [300, 1500]
    assert abs(np.abs(tail).max() / np.abs(head).max() - 1) < 0.1  # equally loud
    assert np.abs(wave[int(0.65 * RATE) :]).max() == 0  # ends where the second half ends
