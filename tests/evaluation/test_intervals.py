"""Confidence intervals where clips are not independent."""

import numpy as np
import pytest

from samplecnn.evaluation.intervals import intervals
from samplecnn.task import Task

TASK = Task("t", ("a", "b"), "multiclass", 8000, 1000)


def answers(right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels of two classes in turn, and probabilities of which those `right` are right."""
    true = np.eye(2, dtype=np.uint8)[np.arange(len(right)) % 2]
    return true, np.where(right[:, None], 0.1 + 0.8 * true, 0.9 - 0.8 * true).astype(np.float32)


def test_groups_of_equal_clips_count_as_one_clip_each():
    of_group = np.random.default_rng(0).random(60) < 0.7
    true, prob = answers(np.repeat(of_group, 10))
    groups = [f"speaker {number}" for number in np.repeat(np.arange(60), 10)]
    over_clips, over_groups = intervals(true, prob, TASK), intervals(true, prob, TASK, draws=3000, groups=groups)
    assert (over_groups.unit, over_groups.units, over_clips.unit, over_clips.units) == ("groups", 60, "clips", 600)
    share = of_group.mean()
    for found, count in ((over_clips, 600), (over_groups, 60)):
        half = 1.96 * np.sqrt(share * (1 - share) / count)  # normal approximation of the binomial
        assert found.overall["accuracy"] == pytest.approx((share - half, share + half), abs=0.012)
    for name in ("macro_f1", "roc_auc"):
        assert np.diff(over_groups.overall[name]) > 2 * np.diff(over_clips.overall[name]), name
    for name in ("precision", "recall"):
        assert (np.diff(over_groups.per_class[name]) > 2 * np.diff(over_clips.per_class[name])).all(), name


def test_clips_without_a_group_are_groups_of_one():
    true, prob = answers(np.random.default_rng(0).random(80) < 0.7)
    found = intervals(true, prob, TASK, seed=3, groups=["", "x", "", "x"] * 20)
    assert found.units == 41
    alone = intervals(true, prob, TASK, seed=3, groups=[""] * 80)
    assert alone.units == 80 and alone.overall["macro_f1"] == intervals(true, prob, TASK, seed=3).overall["macro_f1"]


def test_a_perfect_score_over_few_groups_is_wide():
    true, prob = answers(np.ones(60, bool))
    groups = [f"album {number % 5}" for number in range(60)]
    assert intervals(true, prob, TASK, draws=50, groups=groups).overall["accuracy"] == pytest.approx(
        (0.5655, 1), abs=1e-3
    )


def test_without_areas_the_other_scores_are_the_same():
    true, prob = answers(np.random.default_rng(0).random(40) < 0.7)
    whole, part = intervals(true, prob, TASK, draws=50), intervals(true, prob, TASK, draws=50, areas=False)
    assert set(whole.overall) - set(part.overall) == {"roc_auc", "pr_auc"}
    assert part.overall == {name: whole.overall[name] for name in part.overall}
    assert part.to_dict()["accuracy"] == [*part.overall["accuracy"]] and part.to_dict()["over"] == "clips"
