"""The figures of a card, measured of a small model and of signals whose answer is known."""

import measuring
import numpy as np
import pytest

from samplecnn.shards import open_split

RATE = 8000


@pytest.fixture(scope="module")
def data(workspace):
    return workspace / "data"


def test_scores_and_counts(hums, data):
    counts = measuring.class_counts("sounds", data)
    test = open_split("sounds", data, "test")
    assert {name: by_split["test"] for name, by_split in counts.items()} == dict(
        zip(test.task.classes, test.labels.sum(axis=0).tolist(), strict=True)
    )
    assert sum(sum(by_split.values()) for by_split in counts.values()) == 120
    found = measuring.test_scores(hums / "hums", "sounds", data, ("hiss",))
    rows = {row["name"]: row for row in found["scores"]}
    matrix = np.array(found["confusion"]["counts"])
    assert rows["accuracy"]["value"] == pytest.approx(matrix.trace() / matrix.sum())
    assert rows["accuracy"]["low"] < rows["accuracy"]["value"] <= rows["accuracy"]["high"]
    assert rows["`hiss` recognised"]["value"] == pytest.approx(matrix[1, 1] / matrix[1].sum())
    assert rows["accuracy on the clips of the 2 classes"]["clips"] == matrix[[0, 2]].sum()
    closed = rows["accuracy on the clips of the 2 classes, these alone as answers"]
    assert closed["value"] >= rows["accuracy on the clips of the 2 classes"]["value"]


def test_noise_takes_accuracy_away(hums, data):
    test = open_split("sounds", data, "test")
    noise = np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    rows = measuring.accuracy_over_snr(hums / "hums", test, [noise], without=("hiss",))
    assert [row["snr"] for row in rows] == list(measuring.SNRS)
    clean = measuring.test_scores(hums / "hums", "sounds", data, ("hiss",))["scores"][2]
    assert rows[0]["value"] == pytest.approx(clean["value"]) and rows[0]["clips"] == clean["clips"]
    assert rows[-1]["value"] < rows[0]["value"]  # a beep in loud noise is taken for a hiss


@pytest.mark.parametrize("snr", [20.0, 0.0, -5.0])
def test_the_ratio_of_a_mixture_is_as_asked(snr, hums):
    task = open_split_task(hums)
    time = np.arange(RATE) / RATE
    wave = (0.01 * np.sin(2 * np.pi * 1000 * time) * (time < 0.5)).astype(np.float32)  # silent in its second half
    noise = (0.3 * np.sin(2 * np.pi * 100 * time)).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(measuring.mixed(wave, noise, snr, task, np.random.default_rng(0))[: RATE // 2])) ** 2
    assert 10 * np.log10(spectrum[500] / spectrum[50]) == pytest.approx(snr, abs=0.2)


def open_split_task(hums):
    from samplecnn.model_files import load_stored

    return load_stored(hums / "hums").task


def test_false_alarms_are_counted_as_runs_of_windows(hums):
    time = np.arange(4 * RATE) / RATE
    hum, beep = (np.sin(2 * np.pi * hertz * time) for hertz in (220, 2000))
    twice = 0.3 * np.where((time % 2) < 1, hum, beep)  # a hum, a beep, a hum, a beep: every window of a tone is alike
    found = measuring.false_alarms(hums / "hums", "tones", [twice.astype(np.float32)], ("hiss", "beep"), 0.5)
    assert found["events"] == 2 and found["hours"] == pytest.approx(4 / 3600)
    none = measuring.false_alarms(hums / "hums", "tones", [twice.astype(np.float32)], ("hiss", "beep", "hum"), 0.5)
    assert none["events"] == 0


def test_speed_is_measured_of_the_whole_command(hums, workspace):
    rows = measuring.speed(hums / "hums", workspace / "hum.wav")
    assert [float(row["value"].split()[0]) > 0 for row in rows] == [True, True]
    assert "one recording of 3 s" in rows[0]["what"]
