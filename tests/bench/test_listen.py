"""Misses and false alarms of listening, on streams for which it is known what is to be heard."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from samplecnn.bench import BENCHMARKS
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.listening.detector import Heard
from samplecnn.listening.operating_point import OperatingPoint, operating_point_of
from samplecnn.listening.spliced import LEVEL, Outcome, Utterance, loud_power, outcome, spliced

RATE = 8000
HOPS = (0.2, 0.20025)  # as asked for, and as NumPy rounds it


def event(label, time):
    return Heard("event", label, 0.9, 0.5, time, time - 1, time)


def test_events_are_assigned_by_their_time():
    truth = [Utterance("yes", 1.0, 2.0), Utterance("", 3.5, 4.5), Utterance("no", 6.0, 7.0), Utterance("no", 8.5, 9.5)]
    heard = [
        event("yes", 2.9),
        event("yes", 3.2),
        event("no", 4.0),
        event("yes", 6.5),
        event("no", 7.5),
        event("no", 9.0),
    ]
    assert outcome(truth, heard) == Outcome(heard=2, utterances=3, wrong=1, alarms=1, others=1, between=1)
    assert outcome(truth, []) == Outcome(0, 3, 0, 0, 1, 0)
    assert outcome(truth, [Heard("near", "yes", 0.4, 0.5, 1.5, 0.5, 1.5)]).heard == 0


@pytest.mark.parametrize("snr", [20.0, 0.0])
def test_a_stream_has_its_clips_at_their_times_and_its_ratio(snr):
    tone = np.sin(np.arange(RATE) * 0.5).astype(np.float32) * 0.3
    clips = [("a", tone), ("b", 0.1 * tone), ("", np.concatenate((np.zeros(RATE // 2, np.float32), tone)))]
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    stream, truth = spliced(clips, [noise], snr, RATE, seed=1)
    silent, same = spliced(clips, [np.zeros(10, np.float32)], snr, RATE, seed=1)
    assert truth == same and sorted(each.label for each in truth) == ["", "a", "b"]
    for each in truth:
        part = silent[round(each.start * RATE) : round(each.end * RATE)]
        assert 10 * np.log10(loud_power(part, RATE) / LEVEL**2) == pytest.approx(snr, abs=0.1)
        assert not silent[round(each.end * RATE) : round(each.end * RATE) + RATE // 2].any()
    assert np.sqrt(np.mean((stream - silent) ** 2)) == pytest.approx(LEVEL, rel=0.02)
    gaps = [later.start - earlier.end for earlier, later in itertools.pairwise(truth)]
    assert all(1.0 <= gap <= 2.5 for gap in gaps)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A manifest of noises that are called yes and dog, and a recording of other noise."""
    folder = tmp_path_factory.mktemp("words")
    rng = np.random.default_rng(0)
    rows = ["path,label,split"]
    for number in range(6):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(16_000), 16_000)
        rows.append(f"{number}.wav,{'yes' if number % 2 else 'dog'},test")
    (folder / "words.csv").write_text("\n".join(rows) + "\n")
    soundfile.write(folder / "noise.wav", 0.1 * rng.standard_normal(80_000), 16_000)
    return folder


def run(folder, *more):
    program = [sys.executable, "-m", "samplecnn", "bench", "listen", str(folder / "words.csv"), *more]
    return subprocess.run(program, capture_output=True, text=True)


def test_the_operating_point_is_measured_stored_and_used(recordings, tmp_path):
    """Over all thresholds; then `listen` starts from it. Of a packaged model it is refused, as its files stay."""
    copy = tmp_path / "copy"
    subprocess.run([sys.executable, "-m", "samplecnn", "convert", "words", str(copy)], check=True, capture_output=True)
    given = ("--model", str(copy), "--without", str(recordings / "noise.wav"), "--snr", "5", "--target", "1000000")
    given += ("--smooth", "6", "--background-odds", "100", "--settle", "0.1")
    done = run(recordings, *given, "--store", "--json", str(tmp_path / "out.json"), "--hop", "0.2")
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "out.json").read_text())
    rows = measured["rows"]
    assert measured["utterances"] == 6 and measured["hours"] == pytest.approx(5 / 3600)
    assert list(rows[0]["misses"]) == ["no noise", "5 dB"] and rows[-1]["misses"]["no noise"] == 1.0
    assert all(row["false_alarms_low"] <= row["false_alarms"] <= row["false_alarms_high"] for row in rows)
    assert "operating point: threshold 0.05" in done.stdout
    point = operating_point_of(copy)
    assert point == OperatingPoint(**measured["operating_point"]) and point.threshold == 0.05 and point.hop in HOPS
    assert (point.smooth, point.background_odds, point.settle) == (6, 100, 0.1)
    listened = subprocess.run(
        [sys.executable, "-m", "samplecnn", "listen", str(copy), str(recordings / "noise.wav"), "--smooth", "1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    start = json.loads(listened.stdout.splitlines()[0])
    config = json.loads((copy / "config.json").read_text())
    config["listening"]["smooth"] = 0
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(SampleCNNError, match="smooth"):
        operating_point_of(copy)
    assert start["hop"] in HOPS and set(start["thresholds"].values()) == {0.05} and start["rules"]["smooth"] == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--model", "words"), "needs --without"),
        (("--model", "words", "--without", "noise.wav", "--clips", "3"), "has no --clips"),
        (("--model", "words", "--without", "noise.wav", "--window", "729"), "has no --window"),
        (("--model", "words", "--without", "missing"), "no recordings found"),
        (("--model", "words", "--without", "noise.wav", "--split", "val"), "no val clip of a class of this model"),
        (("--model", "words", "--without", "noise.wav", "--scale"), "--scale is for speed"),
    ],
)
def test_wrong_use_is_one_line(recordings, more, says):
    more = [str(recordings / "noise.wav") if each == "noise.wav" else each for each in more]
    done = run(recordings, *more)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_nothing_is_measured_without_what_it_needs():
    with pytest.raises(UsageError, match="DATASET and --without"):
        BENCHMARKS["listen"].run({"model": "words"})
