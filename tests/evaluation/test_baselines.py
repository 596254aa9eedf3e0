"""Quick baselines: their features by signals whose spectrum is known, their predictions, and what is kept of them."""

import numpy as np
import pytest

from samplecnn.evaluation import baselines, score
from samplecnn.evaluation.baselines import BANDS, BASELINES, clip_statistics, run_baseline
from samplecnn.mel import hertz, mel
from samplecnn.shards import open_split
from samplecnn.shards.arrow import ShardWriter, shard_name
from samplecnn.shards.arrow_segments import ArrowSegments
from samplecnn.shards.folds import open_fold
from samplecnn.task import Task


def written(folder, waves: list[np.ndarray], window: int = 2000, rate: int = 8000):
    """A test split with a clip for each waveform, int16, whole segments of it."""
    folder.mkdir()
    with ShardWriter(folder / shard_name("test", 1, 1), Task("t", ("a", "b"), "multiclass", rate, window)) as writer:
        for number, wave in enumerate(waves):
            writer.add(f"{number}", [number % 2], wave.astype(np.int16).reshape(-1, window))
    return ArrowSegments(folder, "test")


def test_statistics_of_tones_and_silence(tmp_path):
    time = np.arange(24_000) / 8000
    tone = 16000 * np.sin(2 * np.pi * 1000 * time)
    half = np.where(time < 1.5, tone, 0)
    found = clip_statistics(written(tmp_path / "arrow", [tone, half, np.zeros(24_000)], window=8000))
    assert found.shape == (3, 3 * BANDS) and found.dtype == np.float32
    mean, deviation, highest = np.split(found, 3, axis=1)
    edges = hertz(np.linspace(0, mel(4000), BANDS + 2))
    loudest = mean[0].argmax()
    assert edges[loudest] <= 1000 <= edges[loudest + 2] and highest[0].argmax() == loudest
    assert deviation[0][loudest] < 0.05 < 5 < deviation[1][loudest]  # steady, and there for half of the time
    assert highest[1][loudest] == pytest.approx(highest[0][loudest], abs=0.05)
    assert np.allclose(mean[2], np.log(baselines.FLOOR), atol=1e-4) and np.allclose(deviation[2], 0, atol=1e-2)


def test_a_long_clip_in_pieces_has_the_same_statistics(tmp_path, monkeypatch):
    wave = np.random.default_rng(0).normal(0, 3000, 40 * 2000)  # 2000 is no multiple of a hop of 128
    segments = written(tmp_path / "arrow", [wave])
    whole = clip_statistics(segments)
    monkeypatch.setattr(baselines, "AT_ONCE_SAMPLES", 10 * 2000)
    assert np.allclose(clip_statistics(segments), whole, atol=1e-4)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("dataset", ["sounds", "labels"])
def test_baselines_learn_tones_and_noise(built, dataset, name):
    train, test = (open_split(dataset, built / "data", split) for split in ("train", "test"))
    found = run_baseline(name, [train], test, num_readers=1)
    assert found.y_prob.shape == found.y_true.shape == (test.num_clips, test.task.num_classes)
    assert found.ids == list(dict.fromkeys(test.ids)) and found.segments.sum() == len(test)
    if dataset == "sounds":
        assert np.allclose(found.y_prob.sum(axis=1), 1, atol=1e-5)
    scores = score(found.y_true, found.y_prob, test.task)
    assert scores.accuracy > 0.85 and scores.pr_auc > 0.9


def test_predictions_have_the_groups_of_their_clips(built):
    train, test = (open_split("sounds", built / "data", split) for split in ("train", "test"))
    assert run_baseline("logistic regression", [train], test, num_readers=1).groups is None
    test.groups = [f"speaker of {id}" for id in test.ids]
    found = run_baseline("logistic regression", [train], test, num_readers=1)
    assert found.groups == [f"speaker of {id}" for id in found.ids]


@pytest.mark.parametrize("name", BASELINES)
def test_classes_that_no_training_clip_or_every_one_has(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 6))
    several = np.stack([x[:, 0] > 0, np.zeros(30), np.ones(30)], axis=1).astype(np.uint8)
    probabilities = BASELINES[name](x, several, "multilabel")(x)
    assert probabilities.shape == (30, 3) and (probabilities[:, 1] == 0).all() and (probabilities[:, 2] == 1).all()
    assert ((probabilities[:, 0] > 0.5) == several[:, 0]).mean() > 0.9
    one = np.zeros((30, 3), np.uint8)
    one[np.arange(30), np.where(x[:, 0] > 0, 0, 2)] = 1
    probabilities = BASELINES[name](x, one, "multiclass")(x)
    assert (probabilities[:, 1] == 0).all() and np.allclose(probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("name", BASELINES)
def test_a_single_class_in_training_is_the_only_answer(name):
    x, y = np.random.default_rng(0).normal(size=(6, 3)), np.tile([0, 1, 0], (6, 1))
    assert np.array_equal(BASELINES[name](x, y, "multiclass")(x[:2]), [[0, 1, 0]] * 2)


def test_statistics_are_kept_and_shared_by_splits_and_folds(built, monkeypatch, tmp_path):
    monkeypatch.setenv("SAMPLECNN_CACHE", str(tmp_path))
    parts = {split: open_split("sounds", built / "data", split) for split in ("train", "val", "test")}
    by_clip = {}
    for segments in parts.values():
        by_clip.update(zip(dict.fromkeys(segments.ids), clip_statistics(segments), strict=True))
    fold = open_fold("sounds", built / "data", "1/3")["train"]
    monkeypatch.setattr(type(fold), "waveforms", lambda *a: pytest.fail("statistics were computed again"))
    assert np.array_equal(clip_statistics(fold), np.array([by_clip[id] for id in dict.fromkeys(fold.ids)]))
    monkeypatch.undo()
    monkeypatch.setenv("SAMPLECNN_CACHE", str(tmp_path))
    (kept,) = tmp_path.glob("logmel-*.npz")
    for damage in (b"", b"damaged", kept.read_bytes()[:-40]):
        kept.write_bytes(damage)
        assert np.array_equal(clip_statistics(fold), np.array([by_clip[id] for id in dict.fromkeys(fold.ids)]))
