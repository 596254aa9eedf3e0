"""Drawn splits: exact where possible, group-disjoint, and independent of the order of the clips."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplecnn.datasets.splits import draw_splits


def one_label(*sizes: int) -> tuple[list[str], list[tuple[int, ...]]]:
    labels = [(label,) for label, size in enumerate(sizes) for _ in range(size)]
    return [f"clip{number}" for number in range(len(labels))], labels


def counts(labels: list[tuple[int, ...]], splits: list[str]) -> dict[int, Counter[str]]:
    table: dict[int, Counter[str]] = {}
    for clip_labels, split in zip(labels, splits, strict=True):
        for label in clip_labels:
            table.setdefault(label, Counter())[split] += 1
    return table


def test_a_tenth_of_every_class_is_for_validation_and_a_tenth_for_testing() -> None:
    keys, labels = one_label(1000, 100, 20, 10)
    found = counts(labels, draw_splits(keys, labels))
    assert [tuple(found[label][split] for split in ("train", "val", "test")) for label in range(4)] == [
        (800, 100, 100),
        (80, 10, 10),
        (16, 2, 2),
        (8, 1, 1),
    ]


@pytest.mark.parametrize("clips", [3, 4, 5, 9, 11])
def test_a_class_of_three_clips_is_in_every_split(clips: int) -> None:
    keys, labels = one_label(clips, 50)
    assert set(counts(labels, draw_splits(keys, labels))[0]) == {"train", "val", "test"}


def test_a_single_clip_is_for_training() -> None:
    keys, labels = one_label(1, 30)
    assert counts(labels, draw_splits(keys, labels))[0] == {"train": 1}


def test_the_result_depends_on_the_seed_and_not_on_the_order() -> None:
    keys, labels = one_label(60, 40, 7)
    first = dict(zip(keys, draw_splits(keys, labels, seed=1), strict=True))
    order = list(range(len(keys)))
    random.Random(5).shuffle(order)
    again = draw_splits([keys[index] for index in order], [labels[index] for index in order], seed=1)
    assert {keys[index]: split for index, split in zip(order, again, strict=True)} == first
    other = dict(zip(keys, draw_splits(keys, labels, seed=2), strict=True))
    assert other != first and Counter(other.values()) == Counter(first.values())


def test_only_the_requested_splits_are_drawn() -> None:
    keys, labels = one_label(50, 50)
    assert Counter(draw_splits(keys, labels, splits=("val",))) == {"train": 90, "val": 10}


def test_clips_without_label_are_stratified_too() -> None:
    keys = [str(number) for number in range(100)]
    labels: list[tuple[int, ...]] = [()] * 50 + [(0,)] * 50
    splits = draw_splits(keys, labels)
    assert Counter(splits[:50]) == Counter(splits[50:]) == {"train": 40, "val": 5, "test": 5}


def test_many_labels_are_stratified_together() -> None:
    rng = random.Random(0)
    labels = [tuple(sorted(rng.sample(range(20), rng.choice([1, 2, 3])))) for _ in range(2000)]
    keys = [str(number) for number in range(2000)]
    for found in counts(labels, draw_splits(keys, labels)).values():
        clips = found.total()
        assert abs(found["val"] - 0.1 * clips) <= 3 and abs(found["test"] - 0.1 * clips) <= 3


def test_no_speaker_is_in_two_splits_and_classes_stay_balanced() -> None:
    rng = random.Random(1)
    groups, labels = [], []
    for speaker in range(200):
        for _ in range(rng.randint(5, 60)):
            groups.append(f"speaker{speaker}")
            labels.append((rng.randrange(10),))
    keys = [str(number) for number in range(len(labels))]
    splits = draw_splits(keys, labels, groups=groups)
    places: dict[str, set[str]] = {}
    for group, split in zip(groups, splits, strict=True):
        places.setdefault(group, set()).add(split)
    assert all(len(place) == 1 for place in places.values())
    for found in counts(labels, splits).values():
        assert 0.06 < found["val"] / found.total() < 0.14 and 0.06 < found["test"] / found.total() < 0.14


@pytest.mark.parametrize("speakers", [3, 5, 10])
def test_few_speakers_still_fill_every_split(speakers: int) -> None:
    groups = [f"s{number % speakers}" for number in range(speakers * 40)]
    labels = [(number // speakers % 4,) for number in range(speakers * 40)]
    splits = draw_splits([str(number) for number in range(len(groups))], labels, groups=groups)
    speakers_of = {split: {g for g, s in zip(groups, splits, strict=True) if s == split} for split in set(splits)}
    assert {split: len(own) for split, own in speakers_of.items()} == {"train": speakers - 2, "val": 1, "test": 1}


def test_a_large_group_goes_to_a_split_with_room_for_it() -> None:
    groups = ["large"] * 500 + [f"g{number}" for number in range(500)]
    labels = [(0,)] * 1000
    splits = draw_splits([str(number) for number in range(1000)], labels, groups=groups)
    assert set(splits[:500]) == {"train"} and Counter(splits) == {"train": 800, "val": 100, "test": 100}


def test_a_clip_without_group_is_never_confused_with_a_group() -> None:
    keys = ["a", *(f"k{number}" for number in range(99))]
    groups = [""] * 50 + ["a"] * 50
    splits = draw_splits(keys, [(0,)] * 100, groups=groups)
    assert len(set(splits[50:])) == 1 and len(set(splits[:50])) == 3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.frozensets(st.integers(0, 5), max_size=3), st.sampled_from(["", *"abcd"])), max_size=40),
    st.integers(0, 3),
)
def test_every_result_is_complete_and_disjoint(rows: list[tuple[frozenset[int], str]], seed: int) -> None:
    keys = [str(number) for number in range(len(rows))]
    groups = [group for _, group in rows]
    splits = draw_splits(keys, [tuple(sorted(labels)) for labels, _ in rows], seed, groups)
    assert len(splits) == len(rows) and set(splits) <= {"train", "val", "test"}
    for group in set(groups) - {""}:
        assert len({split for name, split in zip(groups, splits, strict=True) if name == group}) == 1
