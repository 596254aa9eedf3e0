"""Fixtures of the data set tests: the real label files, unpacked once, and folders with empty recordings."""

import gc
import gzip
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from samplecnn.datasets import Table, open_dataset


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Reading label files of 25,000 and 50,000 clips takes a while, and is the same on every Python."""
    for item in items:
        if "tables" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def labels(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Label files of mtt, dcs and scd as in DATA/<name>/raw, and of scd empty files with the names of recordings."""
    data, home = shared / "data", tmp_path_factory.mktemp("labels")

    def unpack(source: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.decompress((data / source).read_bytes()))

    unpack("magnatagatune-annotations_final.csv.gz", home / "mtt/raw/annotations_final.csv")
    for part in ("training", "testing", "evaluation"):
        unpack(f"groundtruth_weak_label_{part}_set.csv.gz", home / f"dcs/raw/groundtruth_weak_label_{part}_set.csv")
    raw = home / "scd/raw"
    raw.mkdir(parents=True)
    for name in ("validation_list.txt", "testing_list.txt"):
        (raw / name).write_bytes((data / name).read_bytes())
    with tarfile.open(data / "speech-commands-16.tar") as tar:
        for name in tar.getnames():
            if name.endswith(".ogg"):
                path = (raw / name).with_suffix(".wav")
                path.parent.mkdir(exist_ok=True)
                path.touch()
    (raw / "_background_noise_").mkdir()
    (raw / "_background_noise_/running_tap.wav").touch()
    return home


@pytest.fixture(scope="session")
def tables(labels: Path) -> dict[str, Table]:
    """The tables of mtt, dcs and scd from the real label files."""
    found = {name: open_dataset(name, labels).table() for name in ("mtt", "dcs", "scd")}
    gc.freeze()  # 84,000 clips that stay: the garbage collector need not search them again
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """tree({"dog": 5, "cat/deep": 3}) -> folder with that many empty .wav files in each sub-folder."""

    def make(counts: dict[str, int], root: str = "sounds", suffix: str = ".wav") -> Path:
        for folder, count in counts.items():
            (tmp_path / root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (tmp_path / root / folder / f"{number:04d}{suffix}").touch()
        return tmp_path / root

    return make
