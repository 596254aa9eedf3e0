"""Fixtures for all tests: the real recordings where they are at hand, and signals whose answer is known."""

import os
from pathlib import Path

# The networks of the tests are tiny: a second thread costs them more than it gives, most of all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings, labels and files of the original code, beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "data" / "README.md").exists():
        pytest.skip("the shared recordings are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def tone():
    """tone(frequency in Hz, seconds, rate) -> float32 sine of amplitude 0.5."""

    def make(frequency: float = 440.0, seconds: float = 1.0, rate: int = 22050) -> np.ndarray:
        time = np.arange(int(seconds * rate)) / rate
        return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)

    return make
