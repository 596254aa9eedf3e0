"""`describe`: clips per split and class from the label files alone, and which recordings are missing."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from samplecnn.datasets import REGISTRY, DatasetInfo, Table, describe
from samplecnn.datasets.generated import generate
from samplecnn.errors import UsageError

SIZES = {
    "mtt": {"train": 15_250, "val": 1_529, "test": 4_332},
    "dcs": {"train": 46_042, "val": 5_618, "test": 1_103},
}


@pytest.fixture(scope="module")
def described(labels: Path) -> dict[str, DatasetInfo]:
    """mtt and dcs by their real label files, without recordings."""
    return {name: describe(name, labels) for name in SIZES}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mtt", "dcs"])
def test_published_sizes_from_the_label_files_alone(
    name: str, described: dict[str, DatasetInfo], tables: dict[str, Table]
) -> None:
    info = described[name]
    assert info.clips == SIZES[name] == info.expected and info.problem == ""
    assert info.missing == info.total == sum(SIZES[name].values())  # no recording is there
    assert len(info.missing_examples) == 3
    assert not any(Path(example).is_absolute() for example in info.missing_examples)
    assert tuple(info.clips_of_class) == info.task.classes == REGISTRY[name].task().classes
    counted = Counter((clip.split, label) for clip in tables[name].clips for label in clip.labels)
    for index, counts in enumerate(info.clips_of_class.values()):
        assert counts == {split: counted[split, index] for split in ("train", "val", "test")}


@pytest.mark.slow
def test_class_counts_of_the_published_label_files(described: dict[str, DatasetInfo]) -> None:
    mtt, dcs = described["mtt"].clips_of_class, described["dcs"].clips_of_class
    assert sum(mtt["guitar"].values()) == 4_852 and sum(mtt["choral"].values()) == 490
    # unique files with the label "Car" in the training, testing and evaluation lists: 25,077, 60 and 265
    assert dcs["Car"]["train"] + dcs["Car"]["val"] == 25_077 + 60 and dcs["Car"]["test"] == 265
    assert min(sum(counts.values()) for counts in mtt.values()) == sum(mtt["choral"].values())


def test_a_registered_data_set_without_label_files_is_described_with_the_remedy(tmp_path: Path) -> None:
    info = describe("mtt", tmp_path)
    assert "annotations_final.csv: not found; run `samplecnn prepare mtt`" in info.problem
    assert info.clips == {} and info.expected == SIZES["mtt"] and info.task.num_classes == 50
    assert json.loads(json.dumps(info.to_dict()))["problem"] == info.problem


def test_missing_recordings_of_a_complete_data_set_are_counted(tmp_path: Path) -> None:
    raw = tmp_path / "demo/raw"
    generate(raw, clips_per_class=3)
    assert describe("demo", tmp_path).missing == 0
    (raw / "bell/0001.wav").unlink()
    info = describe("demo", tmp_path)
    assert (info.missing, info.missing_examples) == (1, ("bell/0001.wav",))
    assert info.total == 30 and info.clips_of_class["bell"] == {"train": 1, "val": 1, "test": 1}


def test_manifests_and_folders_are_described_with_their_options(tmp_path: Path) -> None:
    manifest = tmp_path / "a.csv"
    manifest.write_text("path,labels,split\n1.wav,a|b,train\n/far/2.wav,b,val\n3.wav,a,test\n")
    info = describe(str(manifest), threshold=0.25)
    assert info.clips_of_class == {"a": {"train": 1, "val": 0, "test": 1}, "b": {"train": 1, "val": 1, "test": 0}}
    assert info.task.threshold == 0.25 and info.missing_examples == ("1.wav", "/far/2.wav", "3.wav")
    manifest.write_text("path\n1.wav\n")
    with pytest.raises(UsageError, match="column 'labels' is missing"):
        describe(str(manifest))


@pytest.mark.slow
def test_data_sets_are_listed_and_described_without_torch(labels: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from samplecnn.datasets import REGISTRY, describe\n"
        f"print(sorted(REGISTRY), describe('mtt', {str(labels)!r}).total)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["['dcs',", "'demo',", "'mtt',", "'scd']", "21111"], done.stderr
