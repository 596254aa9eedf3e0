import pytest


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    """The tests check what is measured, so that one run per turn is enough."""
    for what in ("train", "infer"):
        monkeypatch.setattr(f"samplecnn.bench.{what}.MIN_TURN_SECONDS", 0.0)
