"""TFRecords of mtt with the tag order of NumPy 1.25 or newer are read by name."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from samplecnn.datasets.mtt import SPLIT_OF_FOLDER, TAGS, TAGS_NUMPY_1_25, MagnaTagATune
from samplecnn.interop.class_names import reorder
from samplecnn.shards.tfrecord.frames import TFRecordWriter, shard_name
from samplecnn.shards.tfrecord.label_order import is_numpy_1_25_order, to_mtt_order
from samplecnn.shards.tfrecord.reader import TFRecordSegments

TO_NUMPY_1_25 = [TAGS.index(tag) for tag in TAGS_NUMPY_1_25]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def annotations(shared: Path) -> dict[str, np.ndarray]:
    """The published labels of each split in the order of mtt, uint8 [clips, 50]."""
    rows: dict[str, list[list[int]]] = {"train": [], "val": [], "test": []}
    with gzip.open(shared / "data" / "magnatagatune-annotations_final.csv.gz", "rt") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            rows[SPLIT_OF_FOLDER[row["mp3_path"][0]]].append([int(row[tag]) for tag in TAGS])
    return {split: np.array(labels, np.uint8) for split, labels in rows.items()}


def test_the_published_counts_tie(annotations):
    """So their order depends on the sorting algorithm, and both orders are ascending."""
    counts = sum(labels.sum(axis=0, dtype=int) for labels in annotations.values())
    assert (np.diff(counts) >= 0).all() and (np.diff(counts[TO_NUMPY_1_25]) >= 0).all()
    assert [(i, TAGS[i]) for i in range(50) if TAGS[i] != TAGS_NUMPY_1_25[i]] == [
        (1, "female voice"), (2, "metal"), (9, "female vocal"), (10, "male voice")
    ]  # fmt: skip


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_order_is_inferred_from_the_labels(annotations, split):
    labels = annotations[split]
    other = labels[:, TO_NUMPY_1_25]
    assert not is_numpy_1_25_order(labels) and is_numpy_1_25_order(other)
    assert np.array_equal(to_mtt_order(other), labels)
    assert not is_numpy_1_25_order(np.zeros_like(labels)), "no evidence, no change"
    random = np.random.default_rng(0)
    assert not is_numpy_1_25_order(random.integers(0, 2, labels.shape).astype(np.uint8))


@pytest.mark.parametrize("order", [TAGS, TAGS_NUMPY_1_25])
def test_records_are_read_by_name(annotations, tmp_path, order):
    pair = TAGS.index("female"), TAGS.index("female vocal")
    labels = annotations["train"]
    labels = labels[labels[:, pair].all(axis=1)][:8]
    task, path = MagnaTagATune().task(), tmp_path / shard_name("train", 1, 1)
    with TFRecordWriter(path, task, False) as writer:
        for row in labels:
            places = [order.index(TAGS[index]) for index in row.nonzero()[0]]
            writer.add("", places, np.zeros((1, task.window), np.int16))
    segments = TFRecordSegments(tmp_path, "train")
    assert segments.task.classes == TAGS and np.array_equal(segments.labels, labels)
    noted = [line for line in segments.warnings() if "'female voice' with 'metal'" in line]
    assert len(noted) == (order is not TAGS)
    (tmp_path / "task.json").write_text(task.to_json())  # its order is never changed
    written = TFRecordSegments(tmp_path, "train")
    assert np.array_equal(written.labels, labels if order is TAGS else labels[:, TO_NUMPY_1_25])
    assert not written.warnings()


def test_a_model_trained_on_such_records_is_converted():
    task = MagnaTagATune().task().from_dict({**MagnaTagATune().task().to_dict(), "classes": TAGS_NUMPY_1_25})
    values = {"logit.weight": np.arange(100.0).reshape(50, 2), "logit.bias": np.arange(50.0)}
    assert reorder(values, task, "mtt").classes == TAGS
    assert values["logit.bias"][[0, 1, 2, 3, 9, 10, 11]].tolist() == [0, 2, 1, 3, 10, 9, 11]
