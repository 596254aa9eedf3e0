"""Label names as class indices."""

import pytest

from samplecnn.datasets.labels import LabelEncoder


def test_indices_are_ascending_and_unique() -> None:
    encoder = LabelEncoder(("b", "a", "c"))
    assert encoder.encode(["c", "b", "c"]) == (0, 2)
    assert encoder.encode(iter(["a"])) == (1,)
    assert encoder.encode([]) == ()
    assert "a" in encoder and "z" not in encoder
    with pytest.raises(KeyError):
        encoder.encode(["a", "z"])
