"""`samplecnn bench build`: what it measures is there and adds up; how fast it is, no test decides."""

import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile
import soxr
from typer.testing import CliRunner

from samplecnn import audio
from samplecnn.bench.build import ALONE, ORIGINAL, bench_build, worker_shares
from samplecnn.bench.recordings import RATE, SECONDS, found, made, music
from samplecnn.cli.app import app
from samplecnn.errors import SampleCNNError, UsageError


def test_recordings_are_of_magnatagatunes_shape(tmp_path):
    table = made(tmp_path / "raw", 3, distinct=2)
    assert len(table.clips) == 3 and table.clips[0].path == table.clips[2].path != table.clips[1].path
    assert len({clip.id for clip in table.clips}) == 3
    about = soundfile.info(table.clips[0].path)
    assert (about.samplerate, about.channels, about.format) == (RATE, 1, "MP3")
    assert about.duration == pytest.approx(SECONDS, abs=0.1)
    assert 20 < table.clips[0].path.stat().st_size * 8 / SECONDS / 1000 < 64  # kbit/s; the real ones have 32
    assert np.array_equal(music(1), music(1)) and not np.array_equal(music(1), music(2))
    assert table.task.window == 59049 and table.task.clip_seconds == 29.0


@pytest.mark.slow
def test_measures_and_tells(tmp_path):
    words = ["bench", "build", "--clips", "3", "--rounds", "1", "--data-dir", str(tmp_path / "data")]
    out = ["--json", str(tmp_path / "build.json"), "--picture", str(tmp_path / "build.png")]
    outcome = CliRunner().invoke(app, [*words, *out], catch_exceptions=False)
    assert outcome.exit_code == 0 and "clips/s" in outcome.stdout and "a worker's time: decoder" in outcome.stdout
    assert list((tmp_path / "data").iterdir()) == []
    values = json.loads((tmp_path / "build.json").read_text())
    names = [row["name"] for row in values["contenders"]]
    assert names[1] == ALONE and values["limit"]["rate"] == values["contenders"][1]["median"]
    assert values["baseline"] == (ORIGINAL if ORIGINAL in names else ALONE)
    assert (ORIGINAL in names) == bool(find_spec("librosa") and find_spec("resampy"))
    assert sum(values["shares"].values()) == pytest.approx(1) and all(share > 0 for share in values["shares"].values())
    assert 0.49 < values["bytes"]["arrow"] / values["bytes"]["tfrecord"] <= 0.51
    assert (tmp_path / "build.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_data_set_of_ones_own(built, tmp_path):
    result = bench_build(str(built / "sounds"), tmp_path, clips=5, rounds=1)
    assert result["settings"]["clips"] == 5 and result["settings"]["dataset"] == str(built / "sounds")
    table = found(str(built / "sounds"), tmp_path, 10)
    assert len(table.clips) == 10 and {clip.split for clip in table.clips} == {"train"} and table.measured


def test_a_worker_is_timed_where_it_works(tmp_path, monkeypatch):
    import time

    table = made(tmp_path / "raw", 1)
    before = audio.StraightFile.read, soxr.resample

    def slow(*arguments, **options):
        time.sleep(0.5)
        return before[1](*arguments, **options)

    monkeypatch.setattr(soxr, "resample", slow)
    shares = worker_shares(table, tmp_path / "out", times=1)
    assert shares["resampler"] > 0.5 and list(shares) == ["decoder", "resampler", "all else"]
    assert audio.StraightFile.read is before[0] and soxr.resample is slow  # as before
    assert {path.name for path in (tmp_path / "out" / "0").iterdir()} == {"train.arrow", "train.arrow.json"}


def test_what_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="unknown data set"):
        bench_build("nothing", tmp_path)
    (tmp_path / "sounds" / "a").mkdir(parents=True)
    with pytest.raises(UsageError):
        bench_build(str(tmp_path / "sounds"), tmp_path)
    with pytest.raises(SampleCNNError, match="librosa_build: its process ended"):
        bench_build(None, tmp_path, clips=1, rounds=1, librosa=_without_librosa(tmp_path))


def _without_librosa(folder):
    """An interpreter that finds no packages."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    script.chmod(0o755)
    return script
