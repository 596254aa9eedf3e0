"""End to end, as a user works: published labels, recordings, shards, training, scores, tags."""

import csv
import io
import json
import runpy
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

import samplecnn
from samplecnn.datasets import open_dataset
from samplecnn.shards import open_split
from samplecnn.training.logging import read_metrics

pytestmark = pytest.mark.slow


def command(root: Path, script: str, *words: str, cwd: Path) -> str:
    """Runs one of the original's commands; returns what it printed."""
    done = subprocess.run(
        [sys.executable, str(root / script), *words], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def in_this_process(root: Path, script: str, *words: str) -> None:
    """The same without what a new process spends on imports."""
    usual, sys.argv = sys.argv, [script, *words]
    try:
        runpy.run_path(str(root / script), run_name="__main__")
    except SystemExit as ended:
        assert not ended.code
    finally:
        sys.argv = usual


def unpack(shared: Path, cwd: Path, *names: str) -> None:
    script = str(shared / "data" / "unpack.py")
    subprocess.run([sys.executable, script, "data", *names], cwd=cwd, check=True, capture_output=True)


def speech_commands(shared: Path, raw: Path, words: tuple[str, ...], per_split: int) -> Path:
    """Real recordings of some words, the first `per_split` of each in every split, laid out as the data set."""
    raw.mkdir(parents=True)
    split_of = {}
    for split in ("validation", "testing"):
        shutil.copy(shared / "data" / f"{split}_list.txt", raw)
        split_of |= dict.fromkeys((raw / f"{split}_list.txt").read_text().split(), split)
    written = Counter[tuple[str, str]]()
    with tarfile.open(shared / "data" / "speech-commands-16.tar") as recordings:
        for member in recordings:
            path = (raw / member.name).with_suffix(".wav")
            kind = (path.parent.name, split_of.get(f"{path.parent.name}/{path.name}", "training"))
            if kind[0] in words and written[kind] < per_split:
                path.parent.mkdir(exist_ok=True)
                samples, rate = soundfile.read(io.BytesIO(recordings.extractfile(member).read()), dtype="int16")
                soundfile.write(path, samples, rate, subtype="PCM_16")
                written[kind] += 1
    assert set(written.values()) == {per_split} and len(written) == 3 * len(words)
    return raw


def write_recordings(name: str, data: Path, per_split: int, rate: int, seconds: float, **form: str) -> int:
    """Writes recordings for a data set's clips, under their real names: one tone per label."""
    clips = open_dataset(name, data).table().clips
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * rate)) / rate
    written = 0
    for split in ("train", "val", "test"):
        chosen = [clip for clip in clips if clip.split == split]
        for clip in (chosen[i] for i in rng.permutation(len(chosen))[:per_split]):
            wave = 0.02 * rng.standard_normal(len(time))
            wave += sum(0.2 * np.sin(2 * np.pi * 150 * 1.05**label * time) for label in clip.labels)
            clip.path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(clip.path, wave / max(1, np.abs(wave).max()), rate, **form)
            written += 1
    return written


@pytest.mark.parametrize(
    ("name", "per_split", "form", "segments"),
    [
        ("mtt", 4, {"rate": 16000, "seconds": 29.1, "format": "MP3"}, 10),
        ("dcs", 6, {"rate": 44100, "seconds": 10.0, "subtype": "PCM_16"}, 10),
    ],
)
def test_published_labels_with_recordings_under_their_names(
    shared, root, tmp_path, monkeypatch, capsys, name, per_split, form, segments
):
    unpack(shared, tmp_path, name)
    written = write_recordings(name, tmp_path / "data", per_split, **form)
    clips = open_dataset(name, tmp_path / "data").table().clips
    present = [clip for clip in clips if clip.path.exists()]
    assert written <= len(present) <= written + 1  # the one real clip of mtt

    monkeypatch.chdir(tmp_path)
    in_this_process(root, "build_dataset.py", name)
    with (tmp_path / "data" / name / "arrow" / "report.csv").open() as report:
        assert sum(row["status"] == "skipped" for row in csv.DictReader(report)) == len(clips) - len(present)
    test = open_split(name, tmp_path / "data", "test")
    expected = [clip for clip in present if clip.split == "test"]
    assert len(test) == segments * len(expected) and set(test.ids) == {str(clip.id) for clip in expected}

    words = [name, "--num-stages", "1", "--max-epochs", "1", "--features", "8", "--block", "se"]
    in_this_process(root, "train.py", *words)
    (final,) = (tmp_path / "log").glob("*/final-auc_*-acc_*-f1_*.h5")
    capsys.readouterr()
    in_this_process(root, "eval.py", name, str(final), "--json", "scores.json")
    said = capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert f"{scores['scores']['roc_auc'] if 'scores' in scores else scores['roc_auc']:.6f}" in said + final.name
    model = samplecnn.load(final)
    assert model.task.name == name and model.config.num_blocks == {"mtt": 9, "dcs": 8}[name]
    tags = samplecnn.Tagger(model)(expected[0].path)
    assert tags.scores.shape == (model.task.num_classes,) and tags.classes == model.task.classes


def test_real_words_end_to_end_with_the_originals_commands(shared, root, tmp_path):
    """Two words of the shared speech, as scd and as a folder of classes; a narrow model, one epoch."""
    words = ("yes", "stop")
    raw = speech_commands(shared, tmp_path / "data" / "scd" / "raw", words, per_split=20)
    command(root, "build_dataset.py", "scd", cwd=tmp_path)
    build = [sys.executable, "-m", "samplecnn", "build", str(raw)]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    for split in ("train", "val", "test"):
        as_scd = open_split("scd", tmp_path / "data", split)
        as_folder = open_split(str(raw), tmp_path / "data", split)
        assert sorted(as_scd.ids) == sorted(as_folder.ids)
    assert as_folder.task.classes == tuple(sorted(words))
    options = ["--features", "8", "--num-stages", "1", "--max-epochs", "1"]
    command(root, "train.py", str(raw), *options, cwd=tmp_path)
    (run,) = (tmp_path / "log").iterdir()
    said = command(root, "eval.py", str(raw), str(run), cwd=tmp_path)
    test = read_metrics(run)[-1]
    assert f"rocauc={test['roc_auc']:.6f} prauc={test['pr_auc']:.6f} acc={test['accuracy']:.6f}" in said
