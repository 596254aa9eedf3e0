"""Folds: groups and folds in shards, and no clip or group on both sides of a fold."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from samplecnn.datasets.splits import draw_folds
from samplecnn.errors import OptionError, UsageError
from samplecnn.shards import build, folds, open_split
from samplecnn.shards.folds import check_fold, fold_names, open_fold, splits_of_fold

RATE, WINDOW, CLASSES = 1000, 100, ("a", "b", "c")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """DATA with three sets of 60 recordings of 1 to 3 segments: with groups and folds, with groups alone, with neither.

    Recording n has group n // 4 and fold n // 4 % 3, and its samples are all different from those of the others.
    """
    folder = tmp_path_factory.mktemp("folds")
    rows = {"both": ["path,labels,speaker,fold"], "groups": ["path,labels,group"], "plain": ["path,labels"]}
    for number in range(60):
        samples = np.random.default_rng(number).integers(-9000, 9000, WINDOW * (number % 3 + 1)).astype(np.int16)
        soundfile.write(folder / f"{number}.wav", samples, RATE, "PCM_16")
        row, group = f"{number}.wav,{CLASSES[number % 3]}", number // 4
        rows["both"].append(f"{row},s{group},{group % 3}")
        rows["groups"].append(f"{row},s{group}")
        rows["plain"].append(row)
    for name, lines in rows.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
        build(str(folder / f"{name}.csv"), folder / "data", workers=1, sample_rate=RATE, window=WINDOW, progress=False)
    return folder / "data"


def number_of(id: str) -> int:
    return int(id.removesuffix(".wav"))


def test_shards_contain_the_group_and_fold_of_each_segment(data):
    for split in ("train", "val", "test"):
        both, groups, plain = (open_split(name, data, split) for name in ("both", "groups", "plain"))
        assert both.groups == [f"s{number_of(id) // 4}" for id in both.ids]
        assert both.folds == [str(number_of(id) // 4 % 3) for id in both.ids]
        assert groups.groups == [f"s{number_of(id) // 4}" for id in groups.ids] and groups.folds is None
        assert plain.groups is None and plain.folds is None
        assert pickle.loads(pickle.dumps(both)).groups == both.groups


@pytest.mark.parametrize(
    ("name", "count"),
    [("both", "column"), ("both", 4), ("groups", 5), ("plain", 2), ("plain", 7)],
)
def test_every_clip_is_tested_once_and_never_trained_on_in_its_fold(data, name, count):
    tested: Counter[str] = Counter()
    names = fold_names(name, data, count)
    assert len(names) == (3 if count == "column" else count)
    for fold in names:
        splits = open_fold(name, data, fold)
        ids = {split: set(segments.ids) for split, segments in splits.items()}
        assert not ids["train"] & ids["test"] and not ids["train"] & ids["val"] and not ids["val"] & ids["test"]
        assert len(ids["train"] | ids["val"] | ids["test"]) == 60
        tested.update(ids["test"])
        if name != "plain":
            speakers = {split: set(segments.groups) for split, segments in splits.items()}
            assert not speakers["train"] & speakers["test"] and not speakers["val"] & speakers["test"]
            assert not speakers["train"] & speakers["val"]
        if count == "column":
            assert {number_of(id) // 4 % 3 for id in ids["test"]} == {int(fold)}
    assert set(tested.values()) == {1} and len(tested) == 60


def test_the_segments_of_a_fold_are_those_of_the_recordings(data, monkeypatch):
    splits = open_fold("plain", data, "2/3")
    for split, segments in splits.items():
        assert segments.split == split and segments.num_clips == len(set(segments.ids))
        order = np.random.default_rng(0).permutation(len(segments))
        audio = segments.gather(order)
        for row, index in zip(audio, order, strict=True):
            number = number_of(segments.ids[index])
            samples = np.random.default_rng(number).integers(-9000, 9000, WINDOW * (number % 3 + 1))
            start = segments.segment[index] * WINDOW
            assert np.array_equal(row, samples[start : start + WINDOW])
            assert np.flatnonzero(segments.labels[index]).tolist() == [number % 3]
    train = splits["train"].waveforms(np.arange(len(splits["train"]))).astype(np.float64)
    task = splits["test"].task
    assert task.mean == pytest.approx(train.mean(), abs=1e-9) and task.std == pytest.approx(train.std(), abs=1e-9)
    monkeypatch.setattr(folds, "_statistics", lambda *a: pytest.fail("statistics were measured again"))
    again = open_fold("plain", data, "2/3")
    assert again["train"].ids == splits["train"].ids and again["train"].task == task


def test_drawn_folds_are_stratified_and_do_not_depend_on_the_order_of_the_clips():
    keys = [f"{number}.wav" for number in range(103)]
    labels = [(number % 3,) if number < 90 else (number % 3, 3) for number in range(103)]
    drawn = dict(zip(keys, draw_folds(keys, labels, 5), strict=True))
    assert max(Counter(drawn.values()).values()) - min(Counter(drawn.values()).values()) <= 3
    for label in range(4):
        counts = Counter(drawn[key] for key, found in zip(keys, labels, strict=True) if label in found)
        assert len(counts) == 5 and max(counts.values()) - min(counts.values()) <= 2
    back = draw_folds(keys[::-1], labels[::-1], 5)
    assert dict(zip(keys[::-1], back, strict=True)) == drawn
    assert dict(zip(keys, draw_folds(keys, labels, 5, seed=1), strict=True)) != drawn


def test_validation_clips_are_a_tenth_of_the_others():
    keys = [f"{number}.wav" for number in range(200)]
    labels = [(number % 2,) for number in range(200)]
    splits = splits_of_fold(keys, labels, draw_folds(keys, labels, 4), "3")
    assert Counter(splits) == {"train": 134, "val": 16, "test": 50}


@pytest.mark.slow
def test_folds_that_cannot_be_used_are_refused(data, tmp_path):
    with pytest.raises(UsageError, match="plain has no folds of its own"):
        fold_names("plain", data, "column")
    with pytest.raises(UsageError, match="both has no fold '7'; its folds are 0, 1, 2"):
        open_fold("both", data, "7")
    for wrong in ("0/5", "6/5", "1/1", ""):
        with pytest.raises(OptionError, match="is not a fold"):
            check_fold(wrong)
    with pytest.raises(OptionError, match="must be at least 2, not 1"):
        fold_names("plain", data, 1)
    (tmp_path / "torn.csv").write_text(
        "path,labels,group,fold\n" + "".join(f"{data.parent}/{n}.wav,{CLASSES[n % 3]},s,{n % 2}\n" for n in range(12))
    )
    build(str(tmp_path / "torn.csv"), tmp_path, workers=1, sample_rate=RATE, window=WINDOW, progress=False)
    with pytest.raises(UsageError, match="torn: group 's' is in fold"):
        open_fold("torn", tmp_path, "1")
    (tmp_path / "half.csv").write_text("path,labels,fold\n1.wav,a,1\n2.wav,b,\n")
    with pytest.raises(UsageError, match=r"half.csv, line 3: the fold is empty"):
        build(str(tmp_path / "half.csv"), tmp_path)
    build(str(data.parent / "plain.csv"), tmp_path, format="tfrecord", workers=1, sample_rate=RATE, window=WINDOW)
    with pytest.raises(UsageError, match="TFRecords do not record which segments belong to a clip"):
        open_fold("plain", tmp_path, "1/2")
