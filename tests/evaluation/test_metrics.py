import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.evaluation import score
from samplecnn.task import Task

ABC = Task("abc", ("a", "b", "c"), "multilabel")
ONE = Task("one", ("a", "b", "c"), "multiclass")


def test_values_computed_manually():
    true = [[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]]
    prob = [[0.9, 0.2, 0.1], [0.6, 0.4, 0.7], [0.8, 0.9, 0.6], [0.1, 0.3, 0.2]]
    scores = score(true, prob, ABC)
    a, b, c = scores.per_class

    # a: positives 0.9 and 0.6 against 0.8 and 0.1: 3 of 4 pairs are in order; precision 1/1 and 2/3 at its two hits
    assert a.roc_auc == pytest.approx(3 / 4)
    assert a.pr_auc == pytest.approx((1 + 2 / 3) / 2)
    assert (a.precision, a.recall, a.f1, a.accuracy, a.support) == pytest.approx((2 / 3, 1, 0.8, 0.75, 2))
    # b: 0.4 and 0.9 against 0.2 and 0.3
    assert (b.roc_auc, b.pr_auc) == pytest.approx((1, 1))
    assert (b.precision, b.recall, b.f1, b.support) == pytest.approx((1, 0.5, 2 / 3, 2))
    # c: 0.6 is second to 0.7
    assert (c.roc_auc, c.pr_auc) == pytest.approx((2 / 3, 1 / 2))

    assert scores.roc_auc == pytest.approx((3 / 4 + 1 + 2 / 3) / 3)
    assert scores.pr_auc == pytest.approx((5 / 6 + 1 + 1 / 2) / 3)
    # over 0.5: clip 1 {a}: right; 2 {a, c} for {a, b}; 3 {a, b, c} for {b, c}; 4 {}: right
    assert scores.accuracy == scores.exact_match == pytest.approx(2 / 4)
    assert scores.f1 == pytest.approx((1 + 1 / 2 + 4 / 5 + 0) / 4)
    assert (scores.clips, scores.left_out) == (4, ())


def test_one_label_tasks_predict_the_most_probable_class():
    true = np.eye(3)[[0, 1, 2, 2]]
    prob = np.array([[0.4, 0.3, 0.3], [0.1, 0.8, 0.1], [0.6, 0.1, 0.3], [0.2, 0.2, 0.6]])
    scores = score(true, prob, ONE)
    assert scores.accuracy == pytest.approx(3 / 4)
    assert scores.exact_match == pytest.approx(2 / 4), "the first clip's class is the best, but below the threshold"
    assert scores.f1 == pytest.approx(2 / 4)
    assert scores.macro_f1 == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    first, _, third = scores.per_class
    assert (first.precision, first.recall) == pytest.approx((1 / 2, 1))
    assert (third.precision, third.recall) == pytest.approx((1, 1 / 2))


def test_the_threshold_is_the_tasks_and_exclusive():
    true, prob = [[1, 0, 0], [0, 1, 0]], [[0.1, 0.05, 0.0], [0.2, 0.3, 0.0]]
    low = score(true, prob, Task("dcs", ("a", "b", "c"), "multilabel", threshold=0.1))
    assert low.f1 == pytest.approx((0 + 2 / 3) / 2)
    assert score(true, prob, ABC).f1 == 0


def test_classes_without_positive_or_negative_clips_are_excluded_and_listed():
    true = [[1, 1, 0], [0, 1, 0], [1, 1, 0]]
    prob = [[0.9, 0.6, 0.3], [0.2, 0.7, 0.1], [0.8, 0.9, 0.1]]
    scores = score(true, prob, ABC)
    assert scores.left_out == ("b", "c")
    assert (scores.roc_auc, scores.pr_auc) == (1, 1)
    assert math.isnan(scores.per_class[1].roc_auc) and math.isnan(scores.per_class[2].pr_auc)
    assert scores.per_class[1].f1 == 1, "scores at the threshold are still given"


def test_no_class_with_an_area_gives_nan_and_null():
    scores = score([[1, 0, 0], [1, 0, 0]], [[0.9, 0.1, 0.1], [0.8, 0.1, 0.1]], ABC)
    assert math.isnan(scores.roc_auc) and math.isnan(scores.pr_auc)
    values = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert values["roc_auc"] is None and values["per_class"][0]["pr_auc"] is None
    assert values["left_out"] == ["a", "b", "c"] and values["per_class"][0]["support"] == 2


def test_json_holds_every_field():
    values = json.loads(json.dumps(score([[1, 0, 0], [0, 1, 1]], np.full((2, 3), 0.5), ABC).to_dict()))
    assert set(values) == {
        "roc_auc", "pr_auc", "accuracy", "f1", "macro_f1", "exact_match", "clips", "kind", "threshold", "per_class",
        "left_out",
    }  # fmt: skip
    assert set(values["per_class"][0]) == {
        "name", "roc_auc", "pr_auc", "accuracy", "f1", "precision", "recall", "support",
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_scikit_learn_ties_included(data):
    clips = data.draw(st.integers(2, 30))
    true = data.draw(arrays.arrays(np.uint8, (clips, 3), elements=st.integers(0, 1)))
    steps = data.draw(arrays.arrays(np.int64, (clips, 3), elements=st.integers(0, 8)))
    prob = (steps / 8).astype(np.float32)
    scores = score(true, prob, ABC)
    over = prob > 0.5
    assert scores.f1 == pytest.approx(reference.f1_score(true, over, average="samples", zero_division=0))
    assert scores.accuracy == pytest.approx(reference.accuracy_score(true, over))
    per_class = reference.precision_recall_fscore_support(true, over, average=None, zero_division=np.nan)
    for index, row in enumerate(scores.per_class):
        wanted = [values[index] for values in per_class]
        assert [row.precision, row.recall, row.f1, row.support] == pytest.approx(wanted, nan_ok=True)
    macro = reference.f1_score(true, over, average="macro", zero_division=np.nan)
    assert scores.macro_f1 == pytest.approx(macro, nan_ok=True)
    whole = [index for index in range(3) if 0 < true[:, index].sum() < clips]
    assert len(whole) == 3 - len(scores.left_out)
    if len(whole) > 1:
        kept = true[:, whole], prob[:, whole]
        assert scores.roc_auc == pytest.approx(reference.roc_auc_score(*kept, average="macro"))
        assert scores.pr_auc == pytest.approx(reference.average_precision_score(*kept, average="macro"))


@pytest.mark.parametrize(
    ("true", "prob", "error", "words"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3)), SampleCNNError, "no clip to score"),
        ([[1, 0, 0]], [[0.5, 0.2, 0.1]], SampleCNNError, "only one clip"),
        (
            [[1, 0, 0], [0, 1, 0]],
            [[0.5, math.nan, 0.1], [0.1, 0.1, 0.1]],
            SampleCNNError,
            "1 of 2 clips are not finite",
        ),
        ([[1, 0, 0], [0, 1, 0]], [[0.5, 0.1, 0.1]], UsageError, r"\[2, 3\] and \[1, 3\]"),
        ([[1, 0], [0, 1]], [[0.5, 0.1], [0.5, 0.1]], UsageError, r"\[clips, 3\]"),
        ([[2, 0, 0], [0, 1, 0]], [[0.5, 0.1, 0.1], [0.5, 0.1, 0.2]], UsageError, "0 or 1"),
    ],
)
def test_invalid_input_is_refused_with_the_reason(true, prob, error, words):
    with pytest.raises(error, match=words):
        score(true, prob, ABC)


def test_every_class_is_sorted_once_per_area(monkeypatch):
    """The work grows with the number of classes, not faster: one call of scikit-learn per class and area."""
    calls = {"roc_auc_score": 0, "average_precision_score": 0}

    def counted(name, function):
        def call(*arguments):
            calls[name] += 1
            return function(*arguments)

        return call

    for name in calls:
        monkeypatch.setattr(reference, name, counted(name, getattr(reference, name)))
    generator = np.random.default_rng(0)
    task = Task("mtt", tuple(map(str, range(50))), "multilabel")
    score(generator.random((4332, 50)) < 0.06, generator.random((4332, 50), dtype=np.float32), task)
    assert calls == {"roc_auc_score": 50, "average_precision_score": 50}
