"""`samplecnn bench build`: the measurement is complete and consistent; no test depends on speed."""

import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile
import soxr
from typer.testing import CliRunner

from samplecnn import sound_file
from samplecnn.bench import peers
from samplecnn.bench.build import BARE, ORIGINAL, bench_build, worker_shares
from samplecnn.bench.recordings import RATE, SECONDS, dataset_recordings, generated_recordings, music
from samplecnn.cli.app import app
from samplecnn.errors import SampleCNNError, UsageError


def test_recordings_have_the_format_of_magnatagatune(tmp_path):
    table = generated_recordings(tmp_path / "raw", 3, distinct=2)
    assert len(table.clips) == 3 and table.clips[0].path == table.clips[2].path != table.clips[1].path
    assert len({clip.id for clip in table.clips}) == 3
    about = soundfile.info(table.clips[0].path)
    assert (about.samplerate, about.channels, about.format) == (RATE, 1, "MP3")
    assert about.duration == pytest.approx(SECONDS, abs=0.1)
    assert 20 < table.clips[0].path.stat().st_size * 8 / SECONDS / 1000 < 64  # kbit/s; the real ones have 32
    assert np.array_equal(music(1), music(1)) and not np.array_equal(music(1), music(2))
    assert table.task.window == 59049 and table.task.clip_seconds == 29.0


@pytest.mark.slow
def test_the_command_measures_and_writes_results(tmp_path, short_music):
    arguments = ["bench", "build", "--clips", "3", "--rounds", "1", "--data-dir", str(tmp_path / "data")]
    out = ["--json", str(tmp_path / "build.json"), "--picture", str(tmp_path / "build.png")]
    outcome = CliRunner().invoke(app, [*arguments, *out], catch_exceptions=False)
    assert outcome.exit_code == 0 and "clips/s" in outcome.stdout and "a worker's time: decoder" in outcome.stdout
    assert list((tmp_path / "data").iterdir()) == []
    values = json.loads((tmp_path / "build.json").read_text())
    names = [row["name"] for row in values["contenders"]]
    assert names[1] == BARE and values["limit"]["rate"] == values["contenders"][1]["median"]
    assert values["baseline"] == (ORIGINAL if ORIGINAL in names else BARE)
    assert (ORIGINAL in names) == bool(find_spec("librosa") and find_spec("resampy"))
    assert sum(values["shares"].values()) == pytest.approx(1) and all(share > 0 for share in values["shares"].values())
    assert 0.49 < values["bytes"]["arrow"] / values["bytes"]["tfrecord"] <= 0.51
    assert (tmp_path / "build.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_custom_data_set(built, tmp_path):
    result = bench_build(str(built / "sounds"), tmp_path, clips=5, rounds=1)
    assert result["settings"]["clips"] == 5 and result["settings"]["dataset"] == str(built / "sounds")
    table = dataset_recordings(str(built / "sounds"), tmp_path, 10)
    assert len(table.clips) == 10 and {clip.split for clip in table.clips} == {"train"} and table.measured


def test_a_worker_is_timed_inside_its_calls(tmp_path, monkeypatch):
    import time

    table = generated_recordings(tmp_path / "raw", 1)
    before = sound_file.SequentialFile.read, soxr.resample

    def slow(*arguments, **options):
        time.sleep(0.5)
        return before[1](*arguments, **options)

    monkeypatch.setattr(soxr, "resample", slow)
    shares = worker_shares(table, tmp_path / "out", times=1)
    assert shares["resampler"] > 0.5 and list(shares) == ["decoder", "resampler", "everything else"]
    assert sound_file.SequentialFile.read is before[0] and soxr.resample is slow  # restored
    assert {path.name for path in (tmp_path / "out" / "0").iterdir()} == {"train.arrow", "train.arrow.json"}


def test_missing_recordings_and_packages(tmp_path, short_music):
    with pytest.raises(UsageError, match="unknown data set"):
        bench_build("nothing", tmp_path)
    (tmp_path / "sounds" / "a").mkdir(parents=True)
    with pytest.raises(UsageError):
        bench_build(str(tmp_path / "sounds"), tmp_path)
    with pytest.raises(SampleCNNError, match="librosa_build: its process ended"):
        bench_build(None, tmp_path, clips=1, rounds=1, librosa=_without_librosa(tmp_path))


def test_peers_are_skipped_without_a_source_checkout(tmp_path, monkeypatch, short_music):
    monkeypatch.setattr(peers, "PROGRAMS", tmp_path / "nowhere")
    result = bench_build(None, tmp_path, clips=1, rounds=1, librosa=sys.executable)
    assert [row["name"] for row in result["contenders"]] == ["samplecnn build, one worker", BARE]
    (line,) = result["left_out"]
    assert line.startswith(ORIGINAL) and "needs benchmarks/peers/librosa_build.py of a source checkout" in line
    assert result["baseline"] == BARE


def test_the_programs_of_the_peers_are_in_this_checkout():
    tensorflow = {"tensorflow_infer", "tensorflow_load", "tensorflow_network", "tensorflow_train"}
    wanted = {"librosa_build", "librosa_tag", "fastapi_serve"} | tensorflow
    assert {path.stem for path in peers.PROGRAMS.glob("*.py")} == wanted


def _without_librosa(folder):
    """An interpreter that finds no packages."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    script.chmod(0o755)
    return script
