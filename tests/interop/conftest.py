"""Shared by the tests of other programs' formats; makes the helper modules of this folder importable."""

import sys
from pathlib import Path

import pytest

from samplecnn.interop.keras import h5, hdf5

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def in_this_process(monkeypatch):
    """Reads Keras files in the test's own process; the child process for files of unknown origin takes 0.3 s each."""
    monkeypatch.setattr(h5, "read_contents", hdf5.contents)
