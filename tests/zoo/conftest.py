"""The scripts that make packaged models, and a small trained model packed by them."""

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "zoo"
sys.path.insert(0, str(SCRIPTS))

FACTS = {
    "name": "hums",
    "about": "Hums, beeps and hisses.",
    "licence": "CC0",
    "command": "python zoo/build_hums.py hums",
    "seed": 7,
    "data": [{"name": "generated | tones", "licence": "CC0", "use": "training and test"}],
    "split": "drawn by chance.",
    "counts": {"beep": {"train": 32, "test": 4}, "_none_": {"train": 1032, "test": 5}},
    "scores": [{"name": "accuracy", "value": 0.9, "low": 0.8, "high": 0.95, "clips": 9}],
}


@pytest.fixture(scope="session")
def hums(tmp_path_factory, workspace) -> Path:
    """A folder of packaged models with one in it: the run of `workspace`."""
    import packing

    folder = tmp_path_factory.mktemp("packaged")
    packing.pack_weights(workspace / "log" / "20261122_101500-sounds-se_multi", folder / "hums")
    packing.pack_card(folder / "hums", FACTS, most_bytes=1_000_000)
    return folder


@pytest.fixture
def packaged_hums(hums, monkeypatch) -> Path:
    """The same while they are the models of this installation."""
    from samplecnn.zoo import packaged

    monkeypatch.setattr(packaged, "FOLDER", hums)
    return hums
