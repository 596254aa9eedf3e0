import io
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from samplecnn.evaluation import Predictions, score
from samplecnn.evaluation.plots import confusion_matrix, curve, per_class_bars, precision_recall, save_pictures
from samplecnn.evaluation.score_table import confusion, print_report
from samplecnn.task import Task

WORDS = tuple(f"{first}{second}" for first in "bdfgklm" for second in ("ackward", "ed", "ird", "our", "even"))


@pytest.fixture
def one_label():
    """35 classes, 700 clips, two of three right; what is wrong is taken for the next class."""
    task = Task("words", WORDS)
    true = np.arange(700) % 35
    said = np.where(np.arange(700) % 3 == 0, (true + 1) % 35, true)
    prob = np.full((700, 35), 0.01, np.float32)
    prob[np.arange(700), said] = 0.66
    return task, Predictions([str(n) for n in range(700)], np.eye(35, dtype=np.uint8)[true], prob, np.ones(700, int))


@pytest.fixture
def many_labels():
    """50 classes, 500 clips; the last class never occurs."""
    generator = np.random.default_rng(0)
    task = Task("tags", (*(f"tag number {n}" for n in range(49)), "never"), "multilabel")
    true = (generator.random((500, 50)) < np.linspace(0.3, 0.02, 50)).astype(np.uint8)
    true[:, 49] = 0
    prob = (0.5 * generator.random((500, 50)) + 0.4 * true).astype(np.float32)
    return task, Predictions([str(n) for n in range(500)], true, prob, np.ones(500, int))


def report_of(task, predictions) -> str:
    text = io.StringIO()
    print_report(score(predictions.y_true, predictions.y_prob, task), task, predictions, text)
    return text.getvalue()


def test_the_table_of_a_one_label_task(one_label):
    task, predictions = one_label
    text = report_of(task, predictions)
    lines = text.splitlines()
    row = next(line.split() for line in lines if line.strip().startswith("backward"))
    assert row[1] == "20" and float(row[4]) == pytest.approx(13 / 20, abs=0.2)
    assert row[7:] == ["bed", "(35", "%)"], "which class it is most often taken for"
    assert sum(line.strip().startswith(WORDS) for line in lines) == 35
    assert lines[-1].startswith("=> Test scores: rocauc=0.")
    assert "acc=0.665714 f1=0.665714" in lines[-1], "six digits"


def test_the_table_of_a_many_label_task_names_what_is_left_out(many_labels):
    text = report_of(*many_labels)
    assert "left out of the averages (no clip has them, or every clip): never" in text
    assert "most often taken for" not in text
    assert "nan" not in text.lower()


def test_long_class_names_are_not_cut_in_a_pipe():
    name = "Civil defense siren, air raid siren and other very long names of classes"
    task = Task("t", (name, "b"), "multilabel")
    predictions = Predictions(["x", "y"], np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.float32), np.ones(2, int))
    assert name in report_of(task, predictions)


def test_confusion_counts_every_clip_once(one_label):
    task, predictions = one_label
    counts = confusion(predictions, task)
    assert counts.sum() == 700 and (counts.sum(axis=1) == 20).all()
    assert (
        counts[0, 0] == 13
        and counts[0, 1] == 7
        and (counts.diagonal() + counts[np.arange(35), (np.arange(35) + 1) % 35] == 20).all()
    )


def test_the_confusion_matrix_shows_all_classes_and_counts(one_label):
    task, predictions = one_label
    figure = confusion_matrix(predictions, score(predictions.y_true, predictions.y_prob, task), task)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(WORDS)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(WORDS)
    shown = sorted(int(text.get_text()) for text in axes.texts)
    counts = confusion(predictions, task)
    assert shown == sorted(counts[counts > 0].tolist())
    np.testing.assert_allclose(axes.images[0].get_array(), counts / 20)


def test_many_label_pictures_show_every_class_best_first(many_labels):
    task, predictions = many_labels
    scores = score(predictions.y_true, predictions.y_prob, task)
    panels = [axes for axes in precision_recall(predictions, scores, task).axes if axes.get_title()]
    names = [axes.get_title().splitlines()[0] for axes in panels]
    assert sorted(names) == sorted(task.classes) and names[-1] == "never"
    areas = [float(axes.get_title().splitlines()[1]) for axes in panels[:-1]]
    assert areas == sorted(areas, reverse=True)
    left = per_class_bars(scores, task).axes[0]
    assert len(left.patches) == 50
    assert left.get_yticklabels()[-1].get_text() == "never (0)"
    widths = [patch.get_width() for patch in left.patches]
    assert widths[:-1] == pytest.approx(sorted((row.pr_auc for row in scores.per_class[:-1]), reverse=True))


def test_the_curve_is_scikit_learns():
    generator = np.random.default_rng(2)
    true, prob = generator.integers(0, 2, 200), np.round(generator.random(200), 1)
    precision, recall = curve(true, prob)
    wanted_precision, wanted_recall, _ = precision_recall_curve(true, prob)
    np.testing.assert_allclose(precision[1:], wanted_precision[-2::-1])
    np.testing.assert_allclose(recall[1:], wanted_recall[-2::-1])
    assert np.sum(np.diff(recall) * precision[1:]) == pytest.approx(average_precision_score(true, prob))


def test_pictures_are_files_that_open(tmp_path, one_label, many_labels):
    from matplotlib.image import imread

    for (task, predictions), names in ((one_label, ["confusion"]), (many_labels, ["precision_recall", "per_class"])):
        scores = score(predictions.y_true, predictions.y_prob, task)
        paths = save_pictures(predictions, scores, task, tmp_path / "new" / task.name)
        assert [path.stem for path in paths] == names
        for path in paths:
            image = imread(path)
            assert min(image.shape[:2]) > 600 and np.ptp(image[..., :3]) == 1
        assert len(list((tmp_path / "new" / task.name).iterdir())) == len(names), "nothing half-written is left"


@pytest.mark.parametrize("classes", [1, 2, 61])
@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_few_and_very_many_classes(tmp_path, classes, kind):
    task = Task("t", tuple(f"class ${n}$ _" for n in range(classes)), kind)
    true = np.eye(classes, dtype=np.uint8)[np.arange(6) % classes]
    prob = np.random.default_rng(0).random((6, classes)).astype(np.float32)
    predictions = Predictions(list("abcdef"), true, prob, np.ones(6, int))
    scores = score(true, prob, task)
    assert all(path.stat().st_size > 5000 for path in save_pictures(predictions, scores, task, tmp_path))
    assert "=> Test scores" in report_of(task, predictions)
    assert math.isnan(scores.roc_auc) == (classes == 1)
