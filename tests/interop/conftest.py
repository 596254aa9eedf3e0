"""Shared by the tests of other programs' formats."""

import pytest

from samplecnn.interop.keras import h5, hdf5


@pytest.fixture
def in_this_process(monkeypatch):
    """Keras files that the HDF5 library can read need no process of their own, which takes 0.3 s each."""
    monkeypatch.setattr(h5, "read_contents", hdf5.contents)
