"""Thresholds and calibration: fitted to what is known, written into the model, and used by all that reads it."""

import json
import shutil

import numpy as np
import pytest
import torch

import samplecnn
from samplecnn import model_files
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.evaluation.calibration import Calibration, clip_means, expected_calibration_error, fit_calibration
from samplecnn.evaluation.fitting import fit
from samplecnn.evaluation.metrics import decide
from samplecnn.evaluation.run_eval import run_eval
from samplecnn.evaluation.thresholds import Goal, fit_thresholds
from samplecnn.task import Task

TWO = Task("pair", ("low", "rare"), "multilabel", threshold=0.4)


def by_hand(true: np.ndarray, prob: np.ndarray, threshold: float) -> tuple[float, float, float]:
    above = prob > threshold
    hits = (above & true).sum()
    precision, recall = hits / max(above.sum(), 1), hits / true.sum()
    return precision, recall, 2 * hits / (above.sum() + true.sum())


@pytest.fixture
def scores():
    """Labels and probabilities of 300 clips: equal values among them, the classes apart but not separable."""
    rng = np.random.default_rng(0)
    true = np.stack([rng.random(300) < 0.3, rng.random(300) < 0.05], axis=1)
    return true, (1 / (1 + np.exp(-(2.5 * true - 2 + rng.standard_normal((300, 2)))))).round(2)


@pytest.mark.parametrize("goal", ["f1", "precision=0.8", "recall=0.9"])
def test_thresholds_are_the_best_of_all(scores, goal):
    true, prob = scores
    goal = Goal.parse(goal)
    for index, found in enumerate(fit_thresholds(true, prob, TWO, goal)):
        values = np.unique(prob[:, index])
        candidates = [*((values[:-1] + values[1:]) / 2), values[0] / 2]
        figures = {cut: by_hand(true[:, index], prob[:, index], cut) for cut in candidates}
        precision, recall, f1 = figures[min(figures, key=lambda cut: abs(cut - found.threshold))]
        assert (found.precision, found.recall, found.f1) == pytest.approx((precision, recall, f1))
        assert (precision, recall, f1) == pytest.approx(by_hand(true[:, index], prob[:, index], found.threshold))
        assert found.low <= found.threshold <= found.high and found.clips == true[:, index].sum()
        if goal.measure == "f1":
            assert f1 == max(row[2] for row in figures.values())
        elif goal.measure == "precision":
            assert found.met and recall == max(row[1] for row in figures.values() if row[0] >= 0.8)
        else:
            assert found.met and precision >= max(
                row[0] for cut, row in figures.items() if row[1] >= 0.9 and cut <= found.threshold
            )
            assert all(row[1] < 0.9 for cut, row in figures.items() if cut > found.threshold + 1e-9)


def test_intervals_are_wider_for_fewer_clips_and_for_groups(scores):
    true, prob = scores
    few, many = fit_thresholds(true[:60], prob[:60], TWO, Goal())[0], fit_thresholds(true, prob, TWO, Goal())[0]
    assert few.high - few.low > many.high - many.low
    same = [f"speaker {index % 6}" for index in range(300)]
    assert fit_thresholds(true, prob, TWO, Goal(), same)[0].low != many.low
    assert fit_thresholds(true, prob, TWO, Goal(), [""] * 300)[0] == many  # "" is a group of one clip
    assert fit_thresholds(true, prob, TWO, Goal())[0] == many  # the same seed


def test_a_goal_out_of_reach_and_a_class_without_clips():
    true = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], bool)
    prob = np.array([[0.2, 0.1], [0.9, 0.2], [0.6, 0.3], [0.1, 0.4]])
    found, rare = fit_thresholds(true, prob, TWO, Goal("precision", 0.9))
    assert not found.met and found.precision == pytest.approx(2 / 3)
    assert not rare.fitted and rare.threshold == rare.low == 0.4 and np.isnan(rare.f1)
    assert rare.to_dict()["f1"] is None


@pytest.mark.parametrize("text", ["f2", "precision", "precision=1.5", "recall=0", "recall=x", "f1=0.5", "recall=nan"])
def test_other_goals_are_refused(text):
    with pytest.raises(UsageError, match="is no goal for thresholds; expected f1, precision=P, recall=R or none"):
        Goal.parse(text)


def drawn(kind: str, overconfident: float, size: int = 4000) -> tuple[Task, np.ndarray, np.ndarray]:
    """Labels drawn from known probabilities, and probabilities with their logits multiplied; two segments a clip."""
    rng = np.random.default_rng(1)
    task = Task("drawn", ("a", "b", "c"), kind)
    logits = 1.5 * rng.standard_normal((size, 3))
    if kind == "multiclass":
        right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        true = np.eye(3, dtype=bool)[(right.cumsum(axis=1) < rng.random((size, 1))).sum(axis=1)]
        wrong = np.exp(overconfident * logits)
        wrong /= wrong.sum(axis=1, keepdims=True)
    else:
        true = rng.random((size, 3)) < 1 / (1 + np.exp(-logits))
        wrong = 1 / (1 + np.exp(-(overconfident * logits + 1)))
    return task, true, wrong.repeat(2, axis=0)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
@pytest.mark.parametrize("overconfident", [3.0, 0.5])
def test_calibration_finds_what_was_done_to_the_logits(kind, overconfident):
    task, true, wrong = drawn(kind, overconfident)
    clip = np.arange(len(true)).repeat(2)
    found = fit_calibration(wrong, clip, true, task)
    np.testing.assert_allclose(found.scale, 1 / overconfident, rtol=0.1)
    np.testing.assert_allclose(found.shift, 0 if kind == "multiclass" else -1 / overconfident, atol=0.15)
    before, after = (expected_calibration_error(true, clip_means(p, clip), task) for p in (wrong, found(wrong, task)))
    assert after < 0.03 < before
    if kind == "multiclass":
        np.testing.assert_array_equal(found(wrong, task).argmax(axis=1), wrong.argmax(axis=1))


def test_what_is_calibrated_stays_as_it_is():
    task, true, prob = drawn("multiclass", 1.0)
    found = fit_calibration(prob, np.arange(len(true)).repeat(2), true, task)
    np.testing.assert_allclose(found.scale, 1, rtol=0.05)
    few = Task("few", ("a", "b"), "multilabel")
    true = np.zeros((30, 2), bool)
    true[:9, 0] = True
    sure = np.eye(3)[np.arange(12) % 3] * 0.9 + 0.03
    found = fit_calibration(sure, np.arange(12), sure > 0.5, Task("sure", ("a", "b", "c")))
    assert 0.85 < found(sure, task).max() < 0.97  # 12 of 12 are right, which is not certainty
    found = fit_calibration(np.full((30, 2), 0.9), np.arange(30), true, few)
    assert found.scale.tolist() == [1, 1] and found.shift.tolist() == [0, 0]  # too few clips of either class
    found = fit_calibration(sure[:9], np.arange(9), sure[:9] > 0.5, Task("sure", ("a", "b", "c")))
    assert found.scale.tolist() == [1] * 3  # too few clips


def test_two_calibrations_are_one():
    first, second = (
        Calibration(np.array([scale, 1.0]), np.array([shift, 0.0])) for scale, shift in ((2, 1), (0.5, -3))
    )
    task = Task("two", ("a", "b"), "multilabel")
    prob = np.array([[0.3, 0.6], [0.9, 0.2]])
    np.testing.assert_allclose(second.after(first)(prob, task), second(first(prob, task), task))


@pytest.fixture
def run(workspace, tmp_path):
    """A copy of the small trained run, too sure of itself: its logits are made up to three times as large.

    At most so large that they are 40 apart: what float32 cannot hold, less than e^-87, no calibration can restore.
    """
    trained = workspace / "log" / "20261122_101500-sounds-se_multi"
    stored = model_files.load_stored(trained)
    apart = -np.log(samplecnn.Tagger(trained, engine="numpy")(workspace / "hum.wav").over_time.min())
    factor = np.float32(min(3, 40 / apart))
    values = {name: value * factor if name.startswith("logit.") else value for name, value in stored.values.items()}
    model_files.save(type(stored)(values, stored.config, stored.task), tmp_path / "run", {"epoch": 1})
    return tmp_path / "run"


def test_a_model_is_calibrated_for_all_that_loads_it(run, workspace):
    before = samplecnn.Tagger(run, engine="numpy")(workspace / "hum.wav")
    weights = (run / "model.safetensors").read_bytes()
    fitted = fit(run, "sounds", workspace / "data", "f1")
    config = json.loads((run / "config.json").read_text())
    assert (run / "model.safetensors").read_bytes() == weights and config["training"] == {"epoch": 1}
    assert config["task"]["thresholds"] == [row.threshold for row in fitted.thresholds]
    assert len(set(config["calibration"]["scale"])) == 1 and config["thresholds"]["goal"] == "f1"
    assert fitted.calibration.scale[0] < 0.9  # its logits were made too large

    after = samplecnn.Tagger(run, engine="numpy")(workspace / "hum.wav")
    np.testing.assert_allclose(after.over_time, fitted.calibration(before.over_time, before.task), atol=1e-5)
    assert after.above() == [
        (name, score)
        for name, score in after.top(3)
        if score > dict(zip(after.classes, after.task.thresholds, strict=True))[name]
    ]
    model = samplecnn.load(run)
    with torch.no_grad():
        wave = torch.zeros(1, model.task.window)
        np.testing.assert_allclose(model.probabilities(wave).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(
        samplecnn.Tagger(model, engine="torch", precision="fp32")(workspace / "hum.wav").over_time,
        after.over_time,
        atol=1e-5,
    )
    model_files.save(model, run.parent / "copy")  # its weights are calibrated: nothing is applied twice
    np.testing.assert_allclose(
        samplecnn.Tagger(run.parent / "copy", engine="numpy")(workspace / "hum.wav").over_time,
        after.over_time,
        atol=1e-5,
    )
    assert samplecnn.load(run.parent / "copy").task.thresholds == after.task.thresholds

    again = fit(run, "sounds", workspace / "data", "recall=0.9")
    np.testing.assert_allclose(again.calibration.scale, 1, rtol=0.02)  # on top of the first: nothing is left to do


def test_calibration_alone_leaves_the_thresholds(run, workspace):
    fitted = fit(run, "sounds", workspace / "data", "none")
    config = json.loads((run / "config.json").read_text())
    assert "thresholds" not in config["task"] and config["calibration"]["scale"] == fitted.calibration.scale.tolist()
    assert "as they were" in fitted.lines()[0] and fitted.calibration.scale[0] < 0.9


def test_eval_fits_before_it_scores(run, workspace, capsys, tmp_path):
    path = tmp_path / "scores.json"
    run_eval("sounds", str(run), str(workspace / "data"), json=str(path), pictures=str(tmp_path), fit_thresholds="f1")
    shown = capsys.readouterr().out
    assert "thresholds for f1 on sounds's validation clips" in shown and "the classes' own thresholds" in shown
    values = json.loads(path.read_text())
    for row in values["fitted"]["classes"]:
        cells = f"{row['clips']} {row['threshold']:.4f} {row['low']:.4f} to {row['high']:.4f} {row['precision']:.4f}"
        assert f"{row['name']} {cells}" in " ".join(shown.split())
    assert values["thresholds"] == [row["threshold"] for row in values["fitted"]["classes"]]
    assert set(values["fitted"]["ece"]) == {"val", "test"}


def test_models_that_cannot_be_changed_are_named(run, workspace, tmp_path):
    from samplecnn.interop.keras import h5

    h5.write(samplecnn.load(run), tmp_path / "model.h5")
    with pytest.raises(UsageError, match=r"has no config.json; make a folder of it with `samplecnn convert"):
        fit(tmp_path / "model.h5", "sounds", workspace / "data")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(UsageError, match="no such model"):
        fit(tmp_path / "run", "sounds", workspace / "data")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("calibration", {"scale": [1.0], "shift": [0.0]}, "1 values of calibration for 3 classes"),
        (
            "calibration",
            {"scale": [0.0, 1, 1], "shift": [0, 0, 0]},
            "calibration.scale.0. must be a finite number above 0",
        ),
        ("calibration", {"scale": [1, 1, 1]}, "calibration.shift is missing"),
    ],
)
def test_damaged_calibrations_are_named(run, key, value, message):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(SampleCNNError, match=message):
        model_files.load_stored(run)


def test_thresholds_of_a_task():
    task = Task("pair", ("a", "b"), "multilabel", thresholds=[0.2, 0.8])
    assert Task.from_json(task.to_json()) == task and task.class_thresholds == (0.2, 0.8)
    assert decide(np.array([[0.3, 0.7]]), task).tolist() == [[True, False]]
    assert "thresholds" not in TWO.to_dict() and TWO.class_thresholds == (0.4, 0.4)
    for wrong, message in (
        ([0.5], "1 thresholds for 2 classes"),
        ([0.5, 1.5], r"thresholds\[1\] must be"),
        (0.5, "a list"),
    ):
        with pytest.raises(SampleCNNError, match=message):
            Task("pair", ("a", "b"), thresholds=wrong)


def test_thresholds_follow_their_classes_into_another_order(run, workspace):
    fit(run, "sounds", workspace / "data")
    before = samplecnn.load(run).task
    from samplecnn.interop.class_names import reorder

    (run / "order.txt").write_text("hum\nbeep\nhiss\n")
    stored = model_files.load_stored(run)
    after = reorder(dict(stored.values), stored.task, str(run / "order.txt"))
    assert dict(zip(after.classes, after.thresholds, strict=True)) == dict(
        zip(before.classes, before.thresholds, strict=True)
    )
