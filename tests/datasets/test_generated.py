"""The generated recordings: distinct kinds, variety within a kind, the same samples from the same seed."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from samplecnn.datasets import REGISTRY, generated, open_dataset, synthesis
from samplecnn.errors import UsageError

pytestmark = pytest.mark.slow


def contents(raw: Path) -> dict[str, bytes]:
    return {str(path.relative_to(raw)): path.read_bytes() for path in raw.rglob("*") if path.is_file()}


def test_the_classes_are_the_kinds_of_sounds() -> None:
    assert tuple(sorted(synthesis.KINDS)) == generated.CLASSES and len(generated.CLASSES) >= 8
    task = REGISTRY["demo"].task()
    assert task.sample_rate == synthesis.RATE and task.clip_seconds and task.clip_seconds <= synthesis.SECONDS


def test_generated_recordings_are_a_data_set(tmp_path: Path) -> None:
    raw = tmp_path / "demo/raw"
    assert generated.generate(raw, clips_per_class=20) == 200
    table = open_dataset("demo", tmp_path).table()
    assert table.measured and table.task.num_classes == 10
    assert Counter((clip.split, clip.labels) for clip in table.clips) == {
        (split, (label,)): count for split, count in (("train", 14), ("val", 3), ("test", 3)) for label in range(10)
    }
    for clip in table.clips[::17]:
        info = soundfile.info(clip.path)
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (22050, 1, "PCM_16", 22050)
        assert clip.path.parent.name == table.task.classes[clip.labels[0]]


def test_equal_seeds_give_equal_bytes_and_other_seeds_others(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        generated.generate(tmp_path / name, clips_per_class=3, seed=seed)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    other = contents(tmp_path / "three")
    assert all(other[name] != data for name, data in contents(tmp_path / "one").items() if name.endswith(".wav"))


def test_an_interrupted_run_is_resumed_with_the_same_result(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    generated.generate(raw, clips_per_class=4)
    whole = contents(raw)
    assert generated.generate(raw, clips_per_class=4) == 0  # nothing left to do
    (raw / "labels.csv").unlink()
    (raw / "bell/0002.wav").unlink()
    (raw / "sine/0001.wav").write_bytes(whole["sine/0001.wav"][:1000])
    assert generated.generate(raw, clips_per_class=4) == 2
    assert contents(raw) == whole


def test_other_settings_replace_only_generated_files(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    generated.generate(raw, clips_per_class=5)
    (raw / "bell/mine.wav").write_bytes(b"mine")
    generated.generate(raw, clips_per_class=3, seed=2)
    generated.generate(tmp_path / "fresh", clips_per_class=3, seed=2)
    expected = contents(tmp_path / "fresh")
    assert contents(raw) == {**expected, "bell/mine.wav": b"mine"}


def test_labels_are_written_last_so_that_an_incomplete_data_set_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = synthesis.render

    def render(kind: str, seed: int, index: int) -> np.ndarray:
        made.append(kind)
        if len(made) == 7:
            raise KeyboardInterrupt
        return real(kind, seed, index)

    monkeypatch.setattr(synthesis, "render", render)
    with pytest.raises(KeyboardInterrupt):
        generated.generate(tmp_path / "demo/raw", clips_per_class=3)
    with pytest.raises(UsageError, match="samplecnn demo"):
        open_dataset("demo", tmp_path).table()
    assert generated.generate(tmp_path / "demo/raw", clips_per_class=3) == 24
    assert len(open_dataset("demo", tmp_path).table().clips) == 30


def test_damaged_labels_and_sizes_out_of_range_are_named(tmp_path: Path) -> None:
    raw = tmp_path / "demo/raw"
    generated.generate(raw, clips_per_class=3)
    whole = (raw / "labels.csv").read_text()
    for text, words in (
        (whole + "x/1.wav,spaceship,train\n", "line 32"),
        ("path,labels,split\n", "lists no recordings"),
    ):
        (raw / "labels.csv").write_text(text)
        with pytest.raises(UsageError, match=words):
            open_dataset("demo", tmp_path).table()
        assert generated.generate(raw, clips_per_class=3) == 0 and (raw / "labels.csv").read_text() == whole
    with pytest.raises(UsageError, match="2 clips per class"):
        generated.generate(tmp_path / "few", clips_per_class=2)
    shutil.rmtree(raw)


@pytest.mark.parametrize("kind", generated.CLASSES)
def test_recordings_of_a_kind_vary_in_level_position_and_noise(kind: str) -> None:
    waves = np.stack([synthesis.render(kind, 0, index) for index in range(30)]).astype(float) / 32768
    peaks = 20 * np.log10(np.abs(waves).max(axis=1))
    assert -22 < peaks.min() < -12 and -7 < peaks.max() < -2.9  # dB of full scale
    starts = np.array([np.argmax(np.abs(wave) > 0.5 * np.abs(wave).max()) for wave in waves])
    assert np.unique(starts).size > 20
    floors = [np.sqrt(np.mean(frame**2)) for wave in waves for frame in (wave[:200],)]
    assert max(floors) > 5 * min(floors) > 0


def power(wave: np.ndarray) -> np.ndarray:
    return np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2


def width(wave: np.ndarray) -> float:
    """Effective number of frequency bins that hold the power."""
    return float(power(wave).sum() ** 2 / (power(wave) ** 2).sum())


def centroids(wave: np.ndarray) -> np.ndarray:
    """Centre of the spectrum in bins, every 512 samples."""
    frames = [power(wave[at : at + 512]) for at in range(0, len(wave) - 512, 512)]
    return np.array([(frame * np.arange(len(frame))).sum() / frame.sum() for frame in frames])


@pytest.mark.parametrize("seed", range(8))
def test_each_kind_has_the_properties_of_its_name(seed: int) -> None:
    """Without background and envelope, where the answer is known."""
    time = np.arange(18000) / synthesis.RATE
    made = {kind: make(np.random.default_rng(seed), time) for kind, make in synthesis.KINDS.items()}
    assert all(np.isfinite(wave).all() and wave.shape == time.shape for wave in made.values())
    assert width(made["noise"]) > 3000 > width(made["band"]) > 50
    assert width(made["sine"]) < 5 and width(made["chord"]) > width(made["sine"]) < width(made["pulse"])
    assert (np.diff(centroids(made["sweep_up"])) > 0).mean() > 0.6
    assert (np.diff(centroids(made["sweep_down"])) < 0).mean() > 0.6
    energy = made["bell"] ** 2
    assert energy[:4000].sum() > 10 * energy[-4000:].sum()
    loudness = np.sqrt((made["tremolo"].reshape(-1, 400) ** 2).mean(axis=1))
    assert loudness.max() > 1.8 * loudness.min()
    crest = {kind: np.abs(wave).max() / np.sqrt(np.mean(wave**2)) for kind, wave in made.items()}
    assert crest["clicks"] > 3.5 > 1.5 > crest["sine"]
