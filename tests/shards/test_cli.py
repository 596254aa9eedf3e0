"""The command build and the original's script, as processes."""

import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from samplecnn.cli.build import window_samples
from samplecnn.errors import UsageError
from samplecnn.shards import open_split
from samplecnn.shards.tfrecord.reader import TFRecordSegments


@pytest.fixture
def sounds(tmp_path):
    """A folder with two classes of 12 recordings each, 1.5 s at 8 kHz, one of them broken."""
    random = np.random.default_rng(0)
    for name in ("one", "two"):
        folder = tmp_path / "sounds" / name
        folder.mkdir(parents=True)
        for number in range(12):
            soundfile.write(folder / f"{number:02d}.wav", random.uniform(-0.5, 0.5, 12000), 8000)
    (tmp_path / "sounds" / "one" / "05.wav").write_bytes(b"broken")
    return tmp_path / "sounds"


@pytest.fixture
def script(root, tmp_path):
    def run(*arguments: object, status: int = 0) -> subprocess.CompletedProcess:
        command = [sys.executable, str(root / "build_dataset.py"), *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert result.returncode == status, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result

    return run


def test_help_lists_every_option(script):
    text = script("-h").stdout
    for option in [
        "data-dir",
        "format",
        "padding",
        "workers",
        "seed",
        "sample-rate",
        "window",
        "clip-seconds",
        "kind",
        "threshold",
        "force",
    ]:
        assert f"--{option}" in text


@pytest.mark.slow
def test_tfrecord(script, sounds, tmp_path):
    result = script(sounds, "--format", "tfrecord", "--data-dir", "old")
    assert "built sounds" in result.stdout and "old/sounds/tfrecord" in result.stdout
    assert isinstance(open_split("sounds", tmp_path / "old", "train"), TFRecordSegments)
    assert "already" in script(sounds, "--format", "tfrecord", "--data-dir", "old").stdout
    assert "matroska" in script(sounds, "--format", "matroska", status=2).stderr


def test_end_to_end(script, sounds, tmp_path):
    result = script(sounds, "--workers", 2)
    assert "built sounds" in result.stdout and "1 skipped" in result.stdout
    assert "05.wav: not audio" in result.stdout and "report.csv" in result.stdout
    assert f"next: samplecnn train {sounds}" in result.stdout
    counts = [int(count) for count in re.findall(r"(\d+) clips, ", result.stdout)]
    assert sum(counts) == 23 and len(counts) == 3
    report = (tmp_path / "data" / "sounds" / "arrow" / "report.csv").read_text().splitlines()
    assert report[0] == "path,split,status,reason" and len(report) == 2
    assert len(open_split("sounds", tmp_path / "data", "train")) > 0
    assert "already built" in script(sounds).stdout
    assert "already built" not in script(sounds, "--force").stdout


@pytest.mark.slow
def test_options_for_custom_recordings(script, sounds, tmp_path):
    script(sounds, "--data-dir", "d", "--sample-rate", 4000, "--window", "0.5s", "--kind", "multilabel",
           "--threshold", 0.3, "--seed", 3, "--padding", "zero")  # fmt: skip
    train = open_split("sounds", tmp_path / "d", "train")
    task = train.task
    assert (task.sample_rate, task.window, task.kind, task.threshold, task.padding) == (
        4000, 2000, "multilabel", 0.3, "zero",
    )  # fmt: skip
    assert set(np.bincount(train.segment)) == {train.num_clips}  # 1.5 s: three segments per clip
    assert len(train) == 3 * train.num_clips
    script(sounds, "--data-dir", "d", "--sample-rate", 4000, "--window", "2000", "--clip-seconds", 1)
    again = open_split("sounds", tmp_path / "d", "train")
    assert len(again) == 2 * again.num_clips and again.task.clip_seconds == 1.0
    assert set(again.ids) != set(train.ids)  # the seed determines the split


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing-like-it"], "unknown data set"),
        (["scd", "--kind", "multilabel"], "kind cannot be chosen for scd"),
        (["scd", "--window", "2s"], "clips of 1 s are shorter than the window of 44100 samples"),
        (["sounds", "--window", "long"], "--window long"),
        (["sounds", "--padding", "mirror"], "'mirror' is not one of tile, zero, stretch"),
        (["sounds", "--kind", "odd"], "'odd' is not one of multilabel, multiclass"),
        (["sounds", "--workers", "0"], "workers"),
        (["mtt"], "samplecnn prepare mtt"),
    ],
)
def test_invalid_requests_are_refused(root, sounds, tmp_path, monkeypatch, capsys, arguments, message):
    """In this process, without what a new one spends on imports; test_tfrecord has a request in a process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["build_dataset.py", *arguments])
    usual = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(root / "build_dataset.py"), run_name="__main__")
    signal.signal(signal.SIGTERM, usual)
    errors = capsys.readouterr().err
    assert ended.value.code == 2 and message in errors and "Traceback" not in errors


def test_window_in_seconds_or_samples():
    assert window_samples("59049", 22050) == 59049
    assert window_samples("1.5s", 16000) == 24000
    assert window_samples(None, 16000) is None
    for wrong in ("s", "1.5", "inf" + "s", "x"):
        with pytest.raises(UsageError, match="--window"):
            window_samples(wrong, 16000)


def test_importing_the_command_is_light(root: Path):
    heavy = ("torch", "pyarrow", "soundfile", "numpy")
    program = f"import sys, samplecnn.cli.build; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
