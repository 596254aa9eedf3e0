"""The classes `_background_` and `_unknown_`, added to a folder, a manifest and Speech Commands."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from samplecnn import build
from samplecnn.cli.app import app
from samplecnn.datasets import open_dataset
from samplecnn.datasets.rejection import with_rejection
from samplecnn.errors import UsageError
from samplecnn.shards import open_split

RATE, WINDOW = 8000, 729
OPTIONS = {"sample_rate": RATE, "window": WINDOW, "workers": 1, "progress": False}


def tone(path: Path, frequency: float, seconds: float = WINDOW / RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE), RATE)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """sounds/ with two classes of 20 clips, noise/ with a recording of 10 s whose level tells the time, other/."""
    folder = tmp_path_factory.mktemp("rejection")
    for number in range(20):
        tone(folder / "sounds/low" / f"{number}.wav", 200 + number)
        tone(folder / "sounds/high" / f"{number}.wav", 2000 + number)
        tone(folder / "other/word" / f"{number}.wav", 900 + number)
    (folder / "noise").mkdir()
    level = np.arange(10 * RATE) / (10 * RATE)
    soundfile.write(folder / "noise/ramp.wav", np.where(np.arange(10 * RATE) % 2, level, -level), RATE)
    return folder


def counts(data: Path, name: str, split: str) -> dict[str, int]:
    segments = open_split(name, data, split)
    labels = np.asarray(segments.labels)[segments.clip_starts]
    return dict(zip(segments.task.classes, labels.sum(axis=0).tolist(), strict=True))


def test_a_folder_with_both(made, tmp_path):
    report = build(made / "sounds", tmp_path, background=made / "noise", unknown=made / "other", **OPTIONS)
    assert report.task.classes == ("high", "low", "_background_", "_unknown_")
    assert counts(tmp_path, "sounds", "train") == {"high": 16, "low": 16, "_background_": 16, "_unknown_": 16}
    for split in ("val", "test"):
        assert counts(tmp_path, "sounds", split) == {"high": 2, "low": 2, "_background_": 2, "_unknown_": 2}


def test_no_sound_of_background_is_in_two_splits(made, tmp_path):
    table = open_dataset(str(made / "sounds"), tmp_path, sample_rate=RATE, window=WINDOW).table()
    table = with_rejection(table, tmp_path / "made", made / "noise", None, seed=3)
    heard: dict[str, list[float]] = {"train": [], "val": [], "test": []}
    levels = []
    for clip in table.clips:
        if clip.labels == (2,):
            level = np.abs(soundfile.read(clip.path)[0])
            assert len(level) == WINDOW
            rise = (
                (level[-50:].mean() - level[:50].mean()) / (WINDOW - 50) * 10 * RATE
            )  # 1 at the recording's own level
            if level.max() > 1e-3:  # not one of those that are almost silent
                heard[clip.split].append(float(level.mean() / rise))  # the share of the recording before its middle
                levels.append(float(rise))
    half = WINDOW / (10 * RATE) / 2
    assert all(heard.values()) and 0.01 < min(levels) < 0.9 < max(levels) < 1.01
    assert half - 1e-3 < min(heard["train"]) <= max(heard["train"]) < 0.8 - half + 1e-3
    assert 0.8 + half - 5e-3 < min(heard["val"]) <= max(heard["val"]) < 0.9 - half + 5e-3
    assert 0.9 + half - 5e-3 < min(heard["test"]) <= max(heard["test"]) < 1 - half + 5e-3


def test_clips_are_cut_once_and_again_where_anything_changed(made, tmp_path):
    table = open_dataset(str(made / "sounds"), tmp_path, sample_rate=RATE, window=WINDOW).table()

    def cut(noise: Path, seed: int) -> dict[str, tuple[bytes, int]]:
        clips = with_rejection(table, tmp_path / "made", noise, None, seed).clips
        paths = [clip.path for clip in clips if clip.labels == (2,)]
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}

    first = cut(made / "noise", 0)
    assert cut(made / "noise", 0) == first  # not written again: a build can continue where it stopped
    other = cut(made / "noise", 1)
    assert {name: content for name, (content, _) in other.items()} != {
        name: content for name, (content, _) in first.items()
    }
    again = cut(made / "noise", 0)
    assert {name: content for name, (content, _) in again.items()} == {
        name: content for name, (content, _) in first.items()
    }


def test_lists_in_the_folder_of_the_unknown_decide(made, tmp_path):
    shutil.copytree(made / "other", tmp_path / "other")
    (tmp_path / "other/testing_list.txt").write_text("".join(f"word/{number}.wav\n" for number in range(7)))
    (tmp_path / "other/validation_list.txt").write_text("word/9.wav\n")
    table = open_dataset(str(made / "sounds"), tmp_path, sample_rate=RATE, window=WINDOW).table()
    table = with_rejection(table, tmp_path, None, tmp_path / "other")
    assert Counter(clip.split for clip in table.clips if clip.labels == (2,)) == {"train": 12, "val": 1, "test": 7}


def test_a_manifest(made, tmp_path):
    rows = [f"{made}/sounds/{kind}/{number}.wav,{kind}" for kind in ("low", "high") for number in range(20)]
    (tmp_path / "table.csv").write_text("path,labels\n" + "\n".join(rows))
    report = build(tmp_path / "table.csv", tmp_path, unknown=made / "other", **OPTIONS)
    assert report.task.classes == ("high", "low", "_unknown_")


def test_speech_commands_on_the_command_line(made, tmp_path):
    raw = tmp_path / "scd/raw"
    for word in ("yes", "no"):
        for number in range(12):
            tone(raw / word / f"s{number}_nohash_0.wav", 300 + number, 1.0)
    for name, number in (("validation_list.txt", 1), ("testing_list.txt", 2)):
        (raw / name).write_text("".join(f"{word}/s{number}_nohash_0.wav\n" for word in ("yes", "no")))
    words = ["build", "scd", "--data-dir", tmp_path, "--background", made / "noise", "--workers", 1]
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    train = counts(tmp_path, "scd", "train")
    assert len(train) == 36 and train["yes"] == train["_background_"] == 10
    assert counts(tmp_path, "scd", "test")["_background_"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": "nowhere"}, "--background nowhere: no such folder"),
        ({"unknown": "empty"}, "--unknown empty: no recordings there"),
        ({"background": "damaged"}, "--background damaged: none of its recordings can be used: .*a.wav"),
        ({"background": "short"}, "--background: too few recordings for the val split; give 3, or one"),
        ({"unknown": "other", "kind": "multilabel"}, "--unknown: clips of sounds may have several labels"),
    ],
)
def test_what_cannot_be_used_is_said(made, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/a.wav").write_bytes(b"RIFF")
    tone(tmp_path / "short/a.wav", 100)
    shutil.copytree(made / "other", tmp_path / "other")
    with pytest.raises(UsageError, match=message):
        build(made / "sounds", tmp_path / "data", **OPTIONS, **options)


def test_a_class_that_is_there_already(made, tmp_path):
    shutil.copytree(made / "sounds", tmp_path / "sounds")
    rows = [f"{made}/sounds/low/{number}.wav,{'_unknown_' if number % 2 else 'low'}" for number in range(20)]
    (tmp_path / "table.csv").write_text("path,labels\n" + "\n".join(rows))
    with pytest.raises(UsageError, match="--unknown: table has a class _unknown_ already"):
        build(tmp_path / "table.csv", tmp_path, unknown=made / "other", **OPTIONS)
