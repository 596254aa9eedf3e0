"""Decisions on planted scores: what is heard, when, and how often."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplecnn.errors import UsageError
from samplecnn.listening.detector import Detector, DetectorRules, is_rejection
from samplecnn.task import Task

WORDS = Task("t", ("_unknown_", "yes", "no"), "multiclass", sample_rate=100, window=100)
TAGS = Task("t", ("rain", "dog"), "multilabel", sample_rate=100, window=100)
STREAM = Task("t", ("_background_", "yes", "no"), "multiclass", sample_rate=100, window=100)
HOP = 0.1


def heard(task, scores, thresholds=None, finish=True, **rules):
    """(kind, label, time) for scores by class, one list each; windows end after 0, 0.1, 0.2, ... seconds."""
    detector = Detector(task, thresholds or [0.5] * task.num_classes, DetectorRules(**{"smooth": 1, **rules}), HOP)
    columns = np.array([scores.get(name, [0] * len(next(iter(scores.values())))) for name in task.classes]).T
    found = [each for step, row in enumerate(columns) for each in detector(row, step * HOP)]
    found += detector.finish((len(columns) - 1) * HOP) if finish else []
    return [(each.kind, each.label, round(each.time, 3)) for each in found]


def events(*arguments, **rules):
    return [(label, time) for kind, label, time in heard(*arguments, **rules) if kind == "event"]


def test_an_utterance_is_one_event_when_it_stops_rising():
    assert heard(WORDS, {"yes": [0, 0.6, 0.9, 0.8, 0.7, 0.1, 0]}) == [("event", "yes", 0.3), ("end", "yes", 0.5)]


def test_a_rising_score_waits_no_longer_than_settle():
    rising = {"yes": [0, 0.51, 0.6, 0.7, 0.8, 0.9, 0.95, 0]}
    assert events(WORDS, rising, settle=0.2) == [("yes", 0.3)]
    assert events(WORDS, rising, settle=0.4) == [("yes", 0.5)]
    assert events(WORDS, rising, settle=0.0) == [("yes", 0.1)]


def test_the_better_of_two_classes_is_taken():
    assert events(WORDS, {"yes": [0, 0.55, 0.2, 0], "no": [0, 0.3, 0.8, 0]}) == [("no", 0.3)]


def test_margins_to_own_thresholds_decide():
    both = {"yes": [0, 0.8, 0.8, 0], "no": [0, 0.7, 0.7, 0]}
    assert events(WORDS, both, [0.5, 0.7, 0.4]) == [("no", 0.2)]


def test_rejection_classes_are_never_heard():
    assert heard(WORDS, {"_unknown_": [1.0] * 5}) == []
    assert [is_rejection(name) for name in ("_unknown_", "_background_", "_", "__", "_a", "a_b")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip


def test_refractory_time_and_hysteresis():
    twice = {"yes": [0.9, 0.9, 0.1, 0.9, 0.9, 0.1, 0, 0]}
    assert events(WORDS, twice, refractory=0.0) == [("yes", 0.1), ("yes", 0.4)]
    assert events(WORDS, twice, refractory=0.5) == [("yes", 0.1)]
    shallow = {"yes": [0.9, 0.9, 0.4, 0.9, 0.9, 0.1, 0, 0]}
    assert events(WORDS, shallow, refractory=0.0, hysteresis=0.7) == [("yes", 0.1)]
    assert events(WORDS, shallow, refractory=0.0, hysteresis=0.9) == [("yes", 0.1), ("yes", 0.4)]


def test_a_long_sound_is_one_event_with_its_length():
    detector = Detector(TAGS, [0.5, 0.5], DetectorRules(smooth=1), HOP)
    found = [each for step in range(100) for each in detector([0.9 if 10 <= step < 60 else 0.0, 0.0], step * HOP)]
    assert [each.kind for each in found] == ["event", "end"]
    assert (round(found[1].start, 3), round(found[1].end, 3)) == (1.0, 5.9)


def test_tags_are_heard_independently():
    both = {"rain": [0, 0.9, 0.9, 0.9, 0.9, 0], "dog": [0, 0, 0.9, 0.9, 0, 0]}
    assert events(TAGS, both) == [("rain", 0.2), ("dog", 0.3)]


def test_near_misses_are_told_once_and_not_in_the_tail_of_an_event():
    near = {"yes": [0, 0.35, 0.45, 0.4, 0.1, 0]}
    assert heard(WORDS, near) == [("near", "yes", 0.4)]
    assert heard(WORDS, near, near=1.0) == []
    tail = {"yes": [0, 0.9, 0.9, 0.1, *[0.45] * 9, 0.1, 0.45, 0.45, 0.1]}
    assert [kind for kind, *_ in heard(WORDS, tail, refractory=0.1)] == ["event", "end", "near", "near"]
    fading = {"yes": [0, 0.9, 0.9, 0.34, *[0.32] * 9, 0.1, 0]}
    assert [kind for kind, *_ in heard(WORDS, fading, refractory=0.1)] == ["event", "end"]


def test_scores_are_averaged():
    spike = {"yes": [0, 0, 0.9, 0, 0, 0]}
    assert events(WORDS, spike, smooth=1) and not events(WORDS, spike, smooth=2)


def test_odds_of_background_are_those_of_a_stream():
    scores = {"yes": [0, 0.9, 0.999, 0], "_background_": [1, 0.1, 0.001, 1]}
    assert events(STREAM, scores) == [("yes", 0.3)]
    detector = Detector(STREAM, [0.5] * 3, DetectorRules(smooth=1, background_odds=9), HOP)
    detector([0.1, 0.9, 0.0], 0.0)
    np.testing.assert_allclose(detector.averaged, [0.5, 0.5, 0])  # 0.1 * 9 : 0.9
    assert events(STREAM, scores, background_odds=1000) == []
    assert events(STREAM, scores, thresholds=[0.4] * 3, background_odds=1000) == [("yes", 0.3)]
    assert events(TAGS, {"dog": [0, 0.9, 0]}, background_odds=1000) == [("dog", 0.2)]


def test_the_end_of_the_stream_decides_what_waits():
    rising = {"yes": [0, 0.6]}
    assert events(WORDS, rising, finish=False) == []
    assert heard(WORDS, rising) == [("event", "yes", 0.1), ("end", "yes", 0.1)]


def test_thresholds_may_change_while_it_listens():
    detector = Detector(WORDS, [0.5] * 3, DetectorRules(smooth=1, settle=0), HOP)
    assert detector([0, 0.4, 0], 0.0) == []
    detector.thresholds = np.array([0.5, 0.3, 0.5])
    assert [each.label for each in detector([0, 0.4, 0], 0.1)] == ["yes"]


@given(
    st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=60),
    st.lists(st.floats(0.05, 0.95), min_size=3, max_size=3),
    st.sampled_from([1, 2, 5]),
    st.floats(0, 1),
    st.sampled_from([WORDS, Task("t", ("_unknown_", "yes", "no"), "multilabel", sample_rate=100, window=100)]),
)
def test_what_always_holds(rows, thresholds, smooth, refractory, task):
    rules = DetectorRules(smooth=smooth, refractory=refractory)
    detector = Detector(task, thresholds, rules, HOP)
    found = [each for step, row in enumerate(rows) for each in detector(row, step * HOP)]
    found += detector.finish((len(rows) - 1) * HOP)
    said = [each for each in found if each.kind == "event"]
    assert all(each.score > each.threshold and each.label != "_unknown_" for each in said)
    assert all(each.score <= each.threshold for each in found if each.kind == "near")
    for label in {each.label for each in said} if task.kind == "multilabel" else [None]:
        times = [each.time for each in said if label in (None, each.label)]
        assert all(later - earlier >= refractory - 1e-9 for earlier, later in itertools.pairwise(times))
    ends = [each for each in found if each.kind == "end"]
    assert len(ends) == len(said) and all(each.start <= each.end <= each.time for each in ends)


@pytest.mark.parametrize(
    "rules",
    [
        {"smooth": 0},
        {"background_odds": 0},
        {"refractory": -1},
        {"settle": float("nan")},
        {"hysteresis": 0},
        {"near": 1.5},
    ],
)
def test_rules_out_of_range(rules):
    with pytest.raises(UsageError, match=next(iter(rules))):
        DetectorRules(**rules)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3]), st.sampled_from([WORDS, TAGS, STREAM]))
def test_a_replay_is_the_same(seed, smooth, task):
    rng = np.random.default_rng(seed)
    scores = rng.random((80, task.num_classes)) ** 2 * (rng.random((80, 1)) > 0.3)
    times, rules = HOP * np.arange(80), DetectorRules(smooth=smooth, background_odds=2.0)
    live, again = (Detector(task, [0.4] * task.num_classes, rules, HOP) for _ in range(2))
    heard = [each for row, time in zip(scores, times, strict=True) for each in live(row, time)] + live.finish(times[-1])
    replayed = again.replay(scores, times)
    assert [each[:2] for each in replayed] == [each[:2] for each in heard]
    np.testing.assert_allclose([each[2:] for each in replayed], [each[2:] for each in heard], atol=1e-9)
