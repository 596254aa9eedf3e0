"""Task descriptions: values of the wrong type or out of range are named, whatever file they come from."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplecnn.errors import SampleCNNError
from samplecnn.task import Task

GOOD = Task("birds", ("owl", "crow"), "multilabel", 16000, 8000, 2.5, 0.01, 0.2, 0.3, "zero")


def test_descriptions_are_read_back() -> None:
    assert Task.from_json(GOOD.to_json()) == GOOD == Task.from_dict({**GOOD.to_dict(), "added later": 1})
    assert Task.from_dict({"name": "a", "classes": ["x"]}) == Task("a", ("x",))
    assert Task("a", ("x",), mean=np.float64(0.5), window=np.int64(100)).window == 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 7}, "name must be a text of at most 1,000 characters"),
        ({"name": "x" * 5000}, "name must be a text of at most 1,000 characters"),
        ({"classes": "owl"}, "classes must be a list"),
        ({"classes": 5}, "classes must be a list"),
        ({"classes": []}, "classes must have 1 to 100,000 entries, not 0"),
        ({"classes": ["a", "a"]}, "must be all different"),
        ({"classes": ["a", 5]}, r"classes\[1\] must be a text of 1 to 1,000 characters, not 5"),
        ({"classes": ["a", ""]}, r"classes\[1\] must be a text of 1 to 1,000 characters, not ''"),
        ({"classes": ["a", "\ud800"]}, r"classes\[1\] must be a text"),
        ({"kind": "both"}, "kind must be multilabel or multiclass, not 'both'"),
        ({"kind": ["multilabel"]}, "kind must be multilabel or multiclass"),
        ({"padding": "mirror"}, "padding must be tile, zero or stretch, not 'mirror'"),
        ({"sample_rate": "8000"}, "sample_rate must be a whole number from 1 to 768,000"),
        ({"sample_rate": 0}, "sample_rate must be a whole number from 1 to 768,000"),
        ({"sample_rate": 10**12}, "sample_rate must be a whole number from 1 to 768,000"),
        ({"sample_rate": True}, "sample_rate must be a whole number from 1 to 768,000"),
        ({"window": 100.5}, "window must be a whole number from 1 to 2,147,483,648, not 100.5"),
        ({"window": 10**400}, "window must be a whole number"),
        ({"clip_seconds": "1"}, "clip_seconds must be a finite number above 0 and at most 1e\\+06"),
        ({"clip_seconds": -1}, "clip_seconds must be a finite number above 0 and at most 1e\\+06"),
        ({"clip_seconds": float("nan")}, "clip_seconds must be a finite number above 0 and at most 1e\\+06"),
        ({"clip_seconds": 1e300}, "clip_seconds must be a finite number above 0 and at most 1e\\+06"),
        ({"clip_seconds": 0.25}, "shorter than a window"),
        ({"mean": None}, "mean must be a finite number"),
        ({"mean": 10**400}, "mean must be a finite number"),
        ({"std": 0}, "std must be a finite number above 0"),
        ({"std": float("inf")}, "std must be a finite number above 0"),
        ({"threshold": 2}, "threshold must be a finite number of at least 0 and at most 1"),
        ({"threshold": [0.5]}, "threshold must be a finite number of at least 0 and at most 1"),
    ],
)
def test_values_out_of_range_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SampleCNNError, match=message) as error:
        Task.from_dict({**GOOD.to_dict(), **change})
    assert "\n" not in str(error.value) and len(str(error.value)) < 6000


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "7", "[]", "null", "{}", '{"name": "a"}', '{"classes": ["a"]}']
)
def test_anything_else_is_not_a_description(text: str) -> None:
    with pytest.raises(SampleCNNError, match="not the description of a task"):
        Task.from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(change=st.dictionaries(st.sampled_from(list(GOOD.to_dict())), JSON, max_size=4))
def test_any_values_give_a_task_or_a_single_error(change: dict[str, Any]) -> None:
    text = json.dumps({**GOOD.to_dict(), **change})
    try:
        task = Task.from_json(text)
    except SampleCNNError:
        return
    assert Task.from_json(task.to_json()) == task
    assert task.segments_per_clip is None or task.segments_per_clip >= 1
