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
        ({"name": 7}, "name must be a text"),
        ({"name": "x" * 5000}, "name must be a text"),
        ({"classes": "owl"}, "classes must be a list"),
        ({"classes": 5}, "classes must be a list"),
        ({"classes": []}, "must be present and all different"),
        ({"classes": ["a", "a"]}, "must be present and all different"),
        ({"classes": ["a", 5]}, "class names must be texts"),
        ({"classes": ["a", ""]}, "class names must be texts"),
        ({"kind": "both"}, "kind must be multilabel or multiclass, not 'both'"),
        ({"kind": ["multilabel"]}, "kind must be multilabel or multiclass"),
        ({"padding": "mirror"}, "padding must be tile, zero or stretch, not 'mirror'"),
        ({"sample_rate": "8000"}, "sample rate and window"),
        ({"sample_rate": 0}, "sample rate and window"),
        ({"sample_rate": 10**12}, "sample rate and window"),
        ({"sample_rate": True}, "sample rate and window"),
        ({"window": 100.5}, "sample rate and window"),
        ({"window": 10**400}, "sample rate and window"),
        ({"clip_seconds": "1"}, "clip seconds must be"),
        ({"clip_seconds": -1}, "clip seconds must be"),
        ({"clip_seconds": float("nan")}, "clip seconds must be"),
        ({"clip_seconds": 1e300}, "clip seconds must be"),
        ({"clip_seconds": 0.25}, "shorter than a window"),
        ({"mean": None}, "mean must be finite"),
        ({"mean": 10**400}, "mean must be finite"),
        ({"std": 0}, "std positive"),
        ({"std": float("inf")}, "std positive"),
        ({"threshold": 2}, "threshold must be"),
        ({"threshold": [0.5]}, "threshold must be"),
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
