from functools import partial

import pytest

from samplecnn.bench import matmul, recordings


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    """The tests check what is measured, so that one run per turn is enough."""
    for what in ("train", "infer"):
        monkeypatch.setattr(f"samplecnn.bench.{what}.MIN_TURN_SECONDS", 0.0)
        monkeypatch.setattr(f"samplecnn.bench.{what}.matrix_rate", small_matrix_rate)


@pytest.fixture
def short_music(monkeypatch):
    """Generated recordings last 2 s: their length takes most of the time of a build, and tests build many."""
    monkeypatch.setattr(recordings, "music", partial(recordings.music, seconds=2.0))


def small_matrix_rate(*given) -> float:
    """The reference from a small matrix product, because a large one takes seconds."""
    return matmul.matrix_rate(*given, size=256, times=3)
