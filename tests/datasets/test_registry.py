"""The registry: what every data set provides, and how names and paths become data sets."""

from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from samplecnn.datasets import REGISTRY, SPLITS, CustomOptions, Source, Table, dataset_name, open_dataset
from samplecnn.datasets.registry import ADJUSTABLE
from samplecnn.errors import UsageError
from samplecnn.task import Task

EVERY = pytest.mark.parametrize("name", list(REGISTRY))


PUBLISHED = pytest.mark.parametrize("name", [name for name in REGISTRY if name != "demo"])


@EVERY
def test_the_task_is_complete_and_its_classes_are_unique(name: str) -> None:
    task = REGISTRY[name].task()
    assert task.name == name == REGISTRY[name].name
    assert len(set(task.classes)) == task.num_classes > 1
    assert all(text == text.strip() and text for text in task.classes)
    assert task.segments_per_clip and task.segments_per_clip * task.window <= task.clip_samples
    assert REGISTRY[name].clips_per_shard > 0
    assert Task.from_json(task.to_json()) == task


@EVERY
def test_an_empty_folder_is_a_single_line_with_the_file_and_the_remedy(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        open_dataset(name, tmp_path).table()
    message = str(error.value)
    assert str(tmp_path / name / "raw") in message and "samplecnn " in message and "\n" not in message


@PUBLISHED
def test_published_data_sets_state_their_expected_clips(name: str) -> None:
    published = REGISTRY[name].published
    assert published is not None and published.downloads and published.by_hand
    assert set(published.expected) == set(SPLITS)


@EVERY
@pytest.mark.parametrize("option", [field.name for field in fields(CustomOptions) if field.name not in ADJUSTABLE])
def test_a_fixed_task_takes_no_options(name: str, option: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{option.replace('_', ' ')} cannot be chosen for {name}"):
        open_dataset(name, tmp_path, **{option: 8000})
    assert open_dataset(name, tmp_path, **{option: None}).name == name


@pytest.mark.parametrize("name", ["mtt", "dcs", "scd"])
def test_sample_rate_and_window_of_a_data_set_can_be_chosen(name: str, tables: dict[str, Table], labels: Path) -> None:
    own = tables[name]
    shorter = open_dataset(name, labels, window=6561).table()
    assert shorter.task == replace(own.task, window=6561) and not shorter.measured and shorter.clips == own.clips
    slower = open_dataset(name, labels, sample_rate=8000).table()
    assert slower.measured, "mean and std of the original are those at its rate"
    assert (slower.task.sample_rate, slower.task.window) == (8000, round(own.task.window * 8000 / 22050))
    assert slower.task.segments_per_clip == own.task.segments_per_clip
    with pytest.raises(UsageError, match="sample rate 7: expected Hz between"):
        open_dataset(name, labels, sample_rate=7)


@pytest.mark.parametrize("name", ["mtt", "dcs", "scd"])
def test_real_labels_make_a_consistent_table(name: str, tables: dict[str, Table]) -> None:
    table = tables[name]
    assert table.task == REGISTRY[name].task() and not table.measured
    assert len({clip.id for clip in table.clips}) == len({clip.path for clip in table.clips}) == len(table.clips)
    assert {clip.split for clip in table.clips} == set(SPLITS)
    for clip in table.clips:
        assert clip.labels and list(clip.labels) == sorted(set(clip.labels))
        assert clip.labels[0] >= 0 and clip.labels[-1] < table.task.num_classes
    if table.task.kind == "multiclass":
        assert all(len(clip.labels) == 1 for clip in table.clips)


@pytest.mark.parametrize("name", ["mtt", "dcs"])
def test_real_labels_give_the_published_number_of_clips(name: str, tables: dict[str, Table]) -> None:
    published = REGISTRY[name].published
    assert published is not None
    assert Counter(clip.split for clip in tables[name].clips) == published.expected


@pytest.mark.parametrize("name", ["mtt", "dcs", "scd"])
def test_byte_order_mark_line_ends_and_blank_lines_do_not_matter(
    name: str, labels: Path, tmp_path: Path, tables: dict[str, Table]
) -> None:
    raw = tmp_path / name / "raw"
    raw.mkdir(parents=True)
    for path in (labels / name / "raw").iterdir():
        if path.is_dir():
            (raw / path.name).symlink_to(path)
        else:
            lines = path.read_text().splitlines()
            (raw / path.name).write_text("﻿" + "\r\n\r\n".join(lines) + "\r\n \r\n", newline="")
    assert [clip[0:1] + clip[2:] for clip in open_dataset(name, tmp_path).table().clips] == [
        clip[0:1] + clip[2:] for clip in tables[name].clips
    ]


@pytest.mark.parametrize("name", ["mtt", "dcs", "scd"])
def test_a_label_file_in_another_encoding_is_named_with_its_line(name: str, labels: Path, tmp_path: Path) -> None:
    raw = tmp_path / name / "raw"
    raw.mkdir(parents=True)
    for path in (labels / name / "raw").iterdir():
        if path.is_file():
            first, rest = path.read_bytes().split(b"\n", 1)
            (raw / path.name).write_bytes(first + b"\n\xff\xfe" + rest)
    with pytest.raises(UsageError, match="line 2: not UTF-8"):
        open_dataset(name, tmp_path).table()


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("scd", "scd"),
        ("./scd", "scd-folder"),
        ("data/scd/", "scd-folder"),
        ("SCD", "SCD-folder"),
        ("scd.csv", "scd-manifest"),
        ("my/Big Sounds/", "Big-Sounds"),
        ("clips.v2", "clips.v2"),
        ("a/clips.csv", "clips"),
        ("a/clips.PARQUET", "clips"),
        ("Vögel (süd)", "Vögel-süd"),
        ("/", None),
        ("", None),
        ("...", None),
    ],
)
def test_names_are_safe_stable_and_never_those_of_the_registry(spec: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(UsageError):
            dataset_name(spec)
    else:
        assert dataset_name(spec) == name
        assert dataset_name(name) == name  # a built data set can be opened by its name


def test_the_current_folder_is_named_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Bats/calls").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "Bats")
    assert dataset_name(".") == dataset_name("calls/..") == "Bats"


def test_a_registered_name_takes_precedence_over_a_folder(
    tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree({"a": 4, "b": 4}, root="demo")
    monkeypatch.chdir(tmp_path)
    assert open_dataset("demo", "data").raw == Path("data/demo/raw")
    folder = open_dataset("./demo", "data")
    assert isinstance(folder, Source) and folder.name == "demo-folder" == folder.table().task.name
    assert len(folder.table().clips) == 8


def test_an_unknown_data_set_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for spec in ("mtg", str(tmp_path / "nowhere"), "x" * 5000, "a\0b"):
        with pytest.raises(UsageError) as error:
            open_dataset(spec, tmp_path)
        assert all(word in str(error.value) for word in ("dcs, demo, mtt, scd", "folder", "manifest"))
    with pytest.raises(UsageError, match=r"notes.txt: neither a folder nor a manifest \(.csv, .tsv, .parquet,"):
        open_dataset(str(tmp_path / "notes.txt"), tmp_path)
