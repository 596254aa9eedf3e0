import io
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from samplecnn.evaluation import Predictions, score
from samplecnn.evaluation.confusion import confusion_counts, confusion_matrix
from samplecnn.evaluation.plots import draw_areas, draw_confusion, draw_precision_recall, save_pictures
from samplecnn.evaluation.precision_recall import class_curves, curve, shown_classes, thinned
from samplecnn.evaluation.score_table import print_report
from samplecnn.system.plotting import MAX_PIXELS, drawable
from samplecnn.task import Task

WORDS = tuple(f"{first}{second}" for first in "bdfgklm" for second in ("ackward", "ed", "ird", "our", "even"))


@pytest.fixture
def one_label():
    """35 classes, 700 clips, two of three right; the wrong ones are predicted as the next class."""
    task = Task("words", WORDS)
    true = np.arange(700) % 35
    predicted = np.where(np.arange(700) % 3 == 0, (true + 1) % 35, true)
    prob = np.full((700, 35), 0.01, np.float32)
    prob[np.arange(700), predicted] = 0.66
    return task, Predictions([str(n) for n in range(700)], np.eye(35, dtype=np.uint8)[true], prob, np.ones(700, int))


@pytest.fixture
def multi_label():
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


def pixels(figure) -> float:
    return float(np.prod(figure.get_size_inches())) * figure.dpi**2


def test_the_table_of_a_one_label_task(one_label):
    task, predictions = one_label
    text = report_of(task, predictions)
    lines = text.splitlines()
    row = next(line.split() for line in lines if line.strip().startswith("backward"))
    assert row[1] == "20" and float(row[4]) == pytest.approx(13 / 20, abs=0.2)
    assert row[7:] == ["bed", "(35", "%)"], "the class that it is most often confused with"
    assert sum(line.strip().startswith(WORDS) for line in lines) == 35
    assert lines[-1].startswith("=> Test scores: rocauc=0.")
    assert "acc=0.665714 macro_f1=0.66" in lines[-1] and lines[-1].endswith(" sample_f1=0.665714"), "six digits"
    assert "accuracy 66.57 %, macro F1 0.66" in text


def test_names_of_classes_are_plain_text():
    """Not markup, not emoji codes, and no control characters."""
    names = ("[noise]", ":bell:", "[/unk]", "[bold]loud", "a\x1b[2Jb\nc")
    task = Task("words", names)
    true = np.eye(5, dtype=np.uint8)[np.arange(20) % 5]
    prob = np.roll(true, 1, axis=1).astype(np.float32)
    predictions = Predictions([str(n) for n in range(20)], true, prob, np.ones(20, int))
    lines = report_of(task, predictions).splitlines()
    shown = [*names[:4], "a\\x1b[2Jb\\nc"]
    assert [line.split()[0] for line in lines if line.strip().startswith(tuple(shown))] == shown
    assert all(f"{name} (100 %)" in "\n".join(lines) for name in shown)


def test_the_share_above_the_threshold_is_in_percent():
    task = Task("t", ("a", "b"), threshold=0.7)
    true = np.eye(2, dtype=np.uint8)[[0, 1, 0, 1]]
    prob = np.array([[0.9, 0.1], [0.1, 0.9], [0.8, 0.2], [0.4, 0.6]], np.float32)
    text = report_of(task, Predictions(list("1234"), true, prob, np.ones(4, int)))
    assert "75.00 % of the clips have their class, and no other, above it" in text and "0.75 of" not in text


def test_the_table_of_a_multi_label_task_lists_the_excluded_classes(multi_label):
    text = report_of(*multi_label)
    assert "excluded from the averages (no clip has them, or every clip): never" in text
    assert "most often confused with" not in text
    assert "nan" not in text.lower()


def test_multi_label_accuracy_is_called_exact_match(multi_label):
    task, predictions = multi_label
    scores = score(predictions.y_true, predictions.y_prob, task)
    text = report_of(task, predictions)
    assert "exact_match: share of clips" in text and "accuracy" not in text and " acc=" not in text
    assert f"exact_match={scores.exact_match:.6f} macro_f1={scores.macro_f1:.6f} sample_f1={scores.f1:.6f}" in text
    assert f"PR-AUC {scores.pr_auc:.4f}, macro F1 {scores.macro_f1:.4f}" in text


def test_a_class_never_predicted_has_no_precision():
    task = Task("t", ("a", "b"))
    true, prob = np.eye(2, dtype=np.uint8)[[0, 0, 1]], np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    predictions = Predictions(list("xyz"), true, prob, np.ones(3, int))
    row = next(line.split() for line in report_of(task, predictions).splitlines() if line.strip().startswith("b "))
    assert row[:2] == ["b", "1"] and row[4:7] == ["–", "0.0000", "0.0000"]  # precision, recall, F1


def test_long_class_names_are_not_cut_in_a_pipe():
    name = "Civil defense siren, air raid siren and other very long names of classes"
    task = Task("t", (name, "b"), "multilabel")
    predictions = Predictions(["x", "y"], np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.float32), np.ones(2, int))
    assert name in report_of(task, predictions)


def test_confusion_counts_every_clip_once(one_label):
    task, predictions = one_label
    counts = confusion_counts(predictions, task)
    assert counts.sum() == 700 and (counts.sum(axis=1) == 20).all()
    assert counts[0, 0] == 13 and counts[0, 1] == 7
    assert (counts.diagonal() + counts[np.arange(35), (np.arange(35) + 1) % 35] == 20).all()


def test_the_confusion_matrix_shows_all_classes_and_counts(one_label):
    task, predictions = one_label
    matrix = confusion_matrix(predictions, task)
    figure = draw_confusion(matrix, score(predictions.y_true, predictions.y_prob, task), task)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(WORDS)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(WORDS)
    shown = sorted(int(text.get_text()) for text in axes.texts)
    counts = confusion_counts(predictions, task)
    assert shown == sorted(counts[counts > 0].tolist())
    np.testing.assert_allclose(matrix.share, counts / 20)
    colours = axes.images[0].get_array()
    np.testing.assert_allclose(colours.diagonal(), counts.diagonal() / 20)  # right: above zero
    np.testing.assert_array_equal(colours < 0, (counts > 0) & ~np.eye(35, dtype=bool))  # wrong: below
    wrong = counts[colours < 0]
    assert (np.argsort(-colours[colours < 0], kind="stable") == np.argsort(wrong, kind="stable")).all()


def test_of_many_classes_the_most_confused_are_shown():
    classes = 1000
    task = Task("many", tuple(f"class {number}" for number in range(classes)))
    true = np.arange(3 * classes) % classes
    predicted = true.copy()
    predicted[:60:2] += 1  # one clip of each of 30 classes goes to the next
    prob = np.zeros((len(true), classes), np.float32)
    prob[np.arange(len(true)), predicted] = 0.9
    labels = np.zeros(prob.shape, np.uint8)
    labels[np.arange(len(true)), true] = 1
    predictions = Predictions([str(number) for number in range(len(true))], labels, prob, np.ones(len(true), int))
    matrix = confusion_matrix(predictions, task)
    assert len(matrix.names) == 100 and matrix.total == classes
    assert {f"class {number}" for number in range(60)} <= set(matrix.names)
    assert matrix.share.sum() == pytest.approx(100 * 1.0)  # shares are of all clips of a class
    assert "the 100 of 1,000 classes" in matrix.note
    figure = draw_confusion(matrix, score(labels, prob, task), task)
    assert any(matrix.note in text.get_text() for text in figure.texts)
    assert pixels(figure) <= MAX_PIXELS


def test_multi_label_pictures_show_every_class_best_first(multi_label):
    task, predictions = multi_label
    scores = score(predictions.y_true, predictions.y_prob, task)
    classes, note = shown_classes(scores)
    assert note == "" and sorted(classes) == list(range(50))
    curves = class_curves(predictions, scores, classes)
    panels = [axes for axes in draw_precision_recall(curves, scores, task).axes if axes.get_title()]
    names = [axes.get_title().splitlines()[0] for axes in panels]
    assert sorted(names) == sorted(task.classes) and names[-1] == "never"
    areas = [float(axes.get_title().splitlines()[1]) for axes in panels[:-1]]
    assert areas == sorted(areas, reverse=True)
    left = draw_areas(curves, scores, task).axes[0]
    assert len(left.patches) == 50
    assert left.get_yticklabels()[-1].get_text() == "never (0)"
    widths = [patch.get_width() for patch in left.patches]
    assert widths[:-1] == pytest.approx(sorted((row.pr_auc for row in scores.per_class[:-1]), reverse=True))


def test_of_many_labels_the_best_and_the_worst_are_shown():
    generator = np.random.default_rng(1)
    task = Task("many", tuple(f"tag {number}" for number in range(300)), "multilabel")
    true = (generator.random((60, 300)) < 0.3).astype(np.uint8)
    prob = (0.5 * generator.random((60, 300)) + np.linspace(0, 0.4, 300) * true).astype(np.float32)
    predictions = Predictions([str(number) for number in range(60)], true, prob, np.ones(60, int))
    scores = score(true, prob, task)
    classes, note = shown_classes(scores)
    assert len(classes) == 100 and note == "the best 50 and the worst 50 of 300 classes"
    areas = np.array([row.pr_auc for row in scores.per_class])
    assert set(areas[classes[:50]]) == set(np.sort(areas)[-50:]) and set(areas[classes[50:]]) == set(
        np.sort(areas)[:50]
    )
    figure = draw_precision_recall(class_curves(predictions, scores, classes), scores, task, note)
    assert len(figure.axes) == 100 and any(note in text.get_text() for text in figure.texts)
    assert pixels(figure) <= MAX_PIXELS


def test_the_curve_is_scikit_learns():
    generator = np.random.default_rng(2)
    true, prob = generator.integers(0, 2, 200), np.round(generator.random(200), 1)
    precision, recall = curve(true, prob)
    wanted_precision, wanted_recall, _ = precision_recall_curve(true, prob)
    np.testing.assert_allclose(precision[1:], wanted_precision[-2::-1])
    np.testing.assert_allclose(recall[1:], wanted_recall[-2::-1])
    assert np.sum(np.diff(recall) * precision[1:]) == pytest.approx(average_precision_score(true, prob))


def test_a_long_curve_is_thinned_without_changing_its_shape():
    generator = np.random.default_rng(3)
    true = (generator.random(5000) < 0.01).astype(np.uint8)  # few positives: many points have the same recall
    precision, recall = curve(true, generator.random(5000) + 0.3 * true)
    fewer_precision, fewer_recall = thinned(precision, recall)
    assert len(fewer_recall) <= 2 * true.sum() + 2 < len(recall)
    for level in np.unique(recall):
        at, kept = precision[recall == level], fewer_precision[fewer_recall == level]
        assert kept[0] == at[0] and kept[-1] == at[-1]
    many = curve(np.arange(9000) % 2, generator.random(9000))
    fewest_precision, fewest_recall = thinned(*many, max_points=150)
    assert 100 < len(fewest_recall) <= 150 and len(fewest_precision) == len(fewest_recall)
    assert (fewest_recall[0], fewest_recall[-1]) == (0, 1)


def test_names_in_any_script_are_drawn_without_missing_glyphs(tmp_path, recwarn):
    """Fonts that are installed are used; a character in none of them is shown as its code point, not as a box."""
    names = ("高い音", "низкий", "\ue123 private use")
    task = Task("音", names)
    true, prob = np.eye(3, dtype=np.uint8)[[0, 1, 2, 2]], np.eye(3, dtype=np.float32)[[0, 1, 2, 1]]
    predictions = Predictions(list("wxyz"), true, prob, np.ones(4, int))
    save_pictures(predictions, score(true, prob, task), task, tmp_path)
    assert not [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)]
    assert drawable("низкий") == "низкий"
    assert drawable("\U0010abcd") == "<10ABCD>", "matplotlib's font of last resort, which has boxes only, is not used"


def test_pictures_are_files_that_open(tmp_path, one_label, multi_label):
    from matplotlib.image import imread

    for (task, predictions), names in ((one_label, ["confusion"]), (multi_label, ["precision_recall", "per_class"])):
        scores = score(predictions.y_true, predictions.y_prob, task)
        paths = save_pictures(predictions, scores, task, tmp_path / "new" / task.name)
        assert [path.stem for path in paths] == names
        for path in paths:
            image = imread(path)
            assert min(image.shape[:2]) > 600 and np.ptp(image[..., :3]) == 1
        assert len(list((tmp_path / "new" / task.name).iterdir())) == len(names), "no temporary file is left"


@pytest.mark.parametrize("classes", [1, 2, 61])
@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_few_and_many_classes(tmp_path, classes, kind):
    task = Task("t", tuple(f"class ${n}$ _" for n in range(classes)), kind)
    true = np.eye(classes, dtype=np.uint8)[np.arange(6) % classes]
    prob = np.random.default_rng(0).random((6, classes)).astype(np.float32)
    predictions = Predictions(list("abcdef"), true, prob, np.ones(6, int))
    scores = score(true, prob, task)
    assert all(path.stat().st_size > 5000 for path in save_pictures(predictions, scores, task, tmp_path))
    assert "=> Test scores" in report_of(task, predictions)
    assert math.isnan(scores.roc_auc) == (classes == 1)
