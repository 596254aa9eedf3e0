"""Patterns of --label-from: what they match, and those that are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplecnn.datasets.file_names import Pattern
from samplecnn.errors import UsageError


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("{label}_{speaker}_*", "x/7_jackson_32.wav", {"labels": "7", "group": "jackson"}),
        ("{label}_{speaker}_*", "7_jackson.wav", None),
        ("{label}_{speaker}_*", "7_jackson_.wav", {"labels": "7", "group": "jackson"}),
        ("*-*-*-{label}", "1-100032-A-0.wav", {"labels": "0"}),
        ("{fold}-{group}-*-{label}", "1-100032-A-0.ogg", {"fold": "1", "group": "100032", "labels": "0"}),
        ("{split}/{speaker}/{label}-*", "deep/dev/ann/yes-1.wav", {"split": "dev", "group": "ann", "labels": "yes"}),
        ("{split}/{label}", "yes.wav", None),
        ("rec_{label}.final", "rec_a.b.final.wav", {"labels": "a.b"}),
        ("rec_{label}.final", "rec_.final.wav", None),
        ("{label}", "a.b.wav", {"labels": "a.b"}),
        ("{label} - *", "äö - x.wav", {"labels": "äö"}),
        ("{label}*", "", None),
    ],
)
def test_patterns(pattern: str, path: str, found: dict[str, str] | None) -> None:
    if pattern == "{label}*":
        with pytest.raises(UsageError, match="nothing separates two of its fields"):
            Pattern(pattern)
    else:
        assert Pattern(pattern).match(path) == found


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{name}_*", "there is no field {name}"),
        ("*_*", "{label} is missing"),
        ("{label}_{label}", "a field is there twice"),
        ("{label}_{group}_{speaker}", "a field is there twice"),
        ("{label}{fold}", "nothing separates"),
        ("{label", "a brace without its partner"),
        ("", "{label} is missing"),
    ],
)
def test_unusable_patterns_are_explained(pattern: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        Pattern(pattern)
    assert message in str(error.value) and "'{label}_{speaker}_*'" in str(error.value)


@settings(max_examples=100, deadline=None)
@given(pattern=st.text("{}*_-/ab", max_size=30), path=st.text("ab_-/.*{}", max_size=60))
def test_any_pattern_matches_or_is_refused(pattern: str, path: str) -> None:
    for text in (pattern, "{label}_" + pattern):
        try:
            found = Pattern(text).match(path)
        except UsageError as error:
            assert "--label-from" in str(error)
        else:
            assert found is None or (found["labels"] and all(value in path for value in found.values()))
