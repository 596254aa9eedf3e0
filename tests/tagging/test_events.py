from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplecnn.audio import Remarks
from samplecnn.errors import UsageError
from samplecnn.tagging.events import Event, EventRules, find_events, smooth_scores, window_bounds
from samplecnn.tagging.tags import Tags
from samplecnn.task import Task

SECOND = np.arange(100.0)


def found(scores, rules=None, threshold=0.5, bounds=None):
    """(start, end, score) of the events of one class."""
    column = np.array(scores, np.float64)[:, None]
    bounds = SECOND[: len(column) + 1] if bounds is None else np.asarray(bounds)
    events = find_events(column, bounds, ["x"], np.array([threshold]), rules or EventRules())
    return [(event.start, event.end, event.score) for event in events]


def test_events_are_the_windows_above_the_threshold():
    assert found([0, 0.6, 0.9, 0, 0.7]) == [(1, 3, 0.9), (4, 5, 0.7)]
    assert found([0.5, 0.5]) == [], "above, not equal"
    assert found([0.6, 0.6]) == [(0, 2, 0.6)]
    assert found([0, 0]) == found([]) == []


def test_classes_have_their_own_thresholds_and_events_are_sorted_by_start():
    scores = np.array([[0.2, 0.9], [0.4, 0.9], [0.4, 0.1]])
    events = find_events(scores, SECOND[:4], ["low", "high"], np.array([0.3, 0.8]), EventRules())
    assert events == [Event(0, 2, "high", 0.9), Event(1, 3, "low", 0.4)]


def test_hysteresis_extends_an_event_in_both_directions_but_starts_none():
    scores = [0.3, 0.3, 0.6, 0.3, 0.1, 0.3, 0.3]
    assert found(scores) == [(2, 3, 0.6)]
    assert found(scores, EventRules(hysteresis=0.5)) == [(0, 4, 0.6)]
    assert found([0, 0.25, 0.6], EventRules(hysteresis=0.5)) == [(2, 3, 0.6)], "above, not equal"


def test_gaps_up_to_the_limit_are_joined():
    scores = [0.6, 0, 0.9, 0, 0, 0.7]
    assert found(scores, EventRules(max_gap=1)) == [(0, 3, 0.9), (5, 6, 0.7)]
    assert found(scores, EventRules(max_gap=0.999)) == [(0, 1, 0.6), (2, 3, 0.9), (5, 6, 0.7)]
    assert found(scores, EventRules(max_gap=2)) == [(0, 6, 0.9)]
    tenths = np.arange(7) / 10  # 0.2 - 0.1 and 0.3 - 0.2 differ as floats
    assert len(found([0.6, 0, 0.9, 0, 0.6], EventRules(max_gap=0.1), bounds=tenths[:6])) == 1


def test_short_events_are_dropped_after_joining():
    scores = [0.6, 0, 0.9, 0, 0, 0, 0.7]
    assert found(scores, EventRules(min_seconds=1)) == [(0, 1, 0.6), (2, 3, 0.9), (6, 7, 0.7)]
    assert found(scores, EventRules(min_seconds=1.5)) == []
    assert found(scores, EventRules(min_seconds=3, max_gap=1)) == [(0, 3, 0.9)]


def test_events_within_the_refractory_time_are_dropped_and_do_not_extend_it():
    scores = [0.9, 0, 0.8, 0, 0.7, 0, 0.6]
    assert found(scores, EventRules(refractory=1)) == [(0, 1, 0.9), (2, 3, 0.8), (4, 5, 0.7), (6, 7, 0.6)]
    assert found(scores, EventRules(refractory=2)) == [(0, 1, 0.9), (4, 5, 0.7)]
    assert found(scores, EventRules(refractory=100)) == [(0, 1, 0.9)]


def test_a_median_removes_single_windows_and_fills_single_gaps():
    scores = [0, 0.9, 0, 0, 0.8, 0.8, 0.1, 0.8, 0.8]
    assert found(scores, EventRules(smooth=3)) == [(4, 9, 0.8)]
    mean = found(scores, EventRules(smooth=3, smoothing="mean"), threshold=0.55)
    assert mean == [(5, 9, pytest.approx(0.8))]
    assert smooth_scores(np.array([[1.0], [2], [6]]), 3, "mean")[:, 0] == pytest.approx([4 / 3, 3, 14 / 3])
    assert smooth_scores(np.array([[1.0], [2], [6]]), 5, "median")[:, 0].tolist() == [1, 2, 6]


def test_scores_apply_to_the_time_around_the_centre_of_the_window():
    starts = np.array([0, 0.5, 1.0, 1.2])
    assert window_bounds(starts, starts + 1) == pytest.approx([0, 0.75, 1.25, 1.6, 2.2])
    starts = np.arange(4.0)
    assert window_bounds(starts, starts + 1).tolist() == [0, 1, 2, 3, 4], "those of the windows without overlap"
    assert window_bounds(np.array([0.0]), np.array([0.3])).tolist() == [0, 0.3]


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=30),
    st.floats(0.1, 1),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_rules_hold_for_any_scores(scores, hysteresis, max_gap, min_seconds, refractory):
    rules = EventRules(hysteresis=hysteresis, max_gap=max_gap, min_seconds=min_seconds, refractory=refractory)
    events = found(scores, rules)
    above = {index for index, score in enumerate(scores) if score > 0.5}
    for start, end, score in events:
        inside = range(int(start), int(end))
        assert end - start >= max(min_seconds, 1)
        assert score == max(scores[i] for i in inside) > 0.5
        assert scores[inside[0]] > 0.5 * hysteresis and scores[inside[-1]] > 0.5 * hysteresis
    for (_, end, _), (start, _, _) in pairwise(events):
        assert start - end > max_gap and start - end >= refractory
    if not min_seconds and not refractory:
        assert above <= {index for start, end, _ in events for index in range(int(start), int(end))}


TASK = Task("t", ("dog", "cat"), "multilabel", 1000, 1000, threshold=0.4)
TAGS = Tags(TASK, np.array([[0.45, 0.1], [0.9, 0.1], [0.2, 0.6]], np.float32), np.array([0, 1000, 1500]), 2500)


def test_events_of_tags_use_the_threshold_of_the_task():
    assert [(event.start, event.end, event.label) for event in TAGS.events()] == [(0, 1.75, "dog"), (1.75, 2.5, "cat")]
    assert [event.label for event in TAGS.events(0.7)] == ["dog"]
    assert [(event.start, event.label) for event in TAGS.events({"cat": 0.7})] == [(0, "dog")]
    assert replace(TAGS, silent=True, remarks=Remarks()).events() == []
    short = Tags(TASK, TAGS.over_time[:1], np.array([0]), 300)
    assert short.events() == [Event(0, 0.3, "dog", pytest.approx(0.45))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "between 0 and 1"),
        ({"threshold": {"dog": -1}}, "between 0 and 1"),
        ({"threshold": {"bird": 0.5}}, "'bird', which is not a class"),
        ({"smooth": 2}, "odd number of windows, not 2"),
        ({"smoothing": "mode"}, "median or mean, not 'mode'"),
        ({"hysteresis": 0}, "hysteresis"),
        ({"max_gap": -1}, "max_gap"),
        ({"min_seconds": float("nan")}, "min_seconds"),
        ({"refractory": float("inf")}, "refractory"),
    ],
)
def test_rules_out_of_range_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        TAGS.events(**options)


def test_rules_as_plain_values():
    rules = EventRules({"dog": 0.3}, smooth=3, max_gap=1.5)
    assert EventRules(**rules.to_dict()) == rules


def test_rejecting_classes_have_no_events_and_thresholds_of_the_task_apply():
    task = Task("words", ("yes", "no", "_unknown_"), sample_rate=100, window=100, thresholds=(0.3, 0.6, 0.1))
    scores = np.array([[0.1, 0.5, 0.4], [0.4, 0.5, 0.1], [0.1, 0.2, 0.7]], np.float32)
    tags = Tags(task, scores, np.array([0, 100, 200]), 300)
    assert [(event.label, event.start, event.end) for event in tags.events()] == [("yes", 1, 2)]
    assert [name for name, _ in tags.above()] == ["_unknown_"]  # means are 0.2, 0.4 and 0.4
    assert [name for name, _ in tags.above(0.3)] == ["no", "_unknown_"]
