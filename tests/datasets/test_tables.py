"""The data sets of the registry: labels as the original reads them, and every way in which a label file is bad."""

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from samplecnn.datasets import REGISTRY, SPLITS, CustomOptions, Source, Table, dataset_name, open_dataset
from samplecnn.datasets import dcs as dcs_module
from samplecnn.datasets import mtt as mtt_module
from samplecnn.errors import UsageError
from samplecnn.task import Task

EVERY = pytest.mark.parametrize("name", list(REGISTRY))
PUBLISHED = pytest.mark.parametrize("name", [name for name in REGISTRY if name != "demo"])


@pytest.fixture(scope="session")
def tables(labels: Path) -> dict[str, Table]:
    return {name: open_dataset(name, labels).table() for name in ("mtt", "dcs", "scd")}


# Every data set of the registry


@EVERY
def test_the_task_is_whole_and_its_classes_differ(name: str) -> None:
    task = REGISTRY[name].task()
    assert task.name == name == REGISTRY[name].name
    assert len(set(task.classes)) == task.num_classes > 1
    assert all(text == text.strip() and text for text in task.classes)
    assert task.segments_per_clip and task.segments_per_clip * task.window <= task.clip_samples
    assert REGISTRY[name].clips_per_shard > 0
    assert Task.from_json(task.to_json()) == task


@EVERY
def test_an_empty_folder_is_one_line_with_the_file_and_the_remedy(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        open_dataset(name, tmp_path).table()
    message = str(error.value)
    assert str(tmp_path / name / "raw") in message and "samplecnn " in message and "\n" not in message


@PUBLISHED
def test_what_is_published_tells_the_expected_clips(name: str) -> None:
    published = REGISTRY[name].published
    assert published is not None and published.downloads and published.by_hand
    assert set(published.expected) == set(SPLITS)


@EVERY
@pytest.mark.parametrize("option", [field.name for field in fields(CustomOptions)])
def test_a_fixed_task_takes_no_options(name: str, option: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{option.replace('_', ' ')} cannot be chosen for {name}"):
        open_dataset(name, tmp_path, **{option: 8000})
    assert open_dataset(name, tmp_path, **{option: None}).name == name


@pytest.mark.parametrize("name", ["mtt", "dcs", "scd"])
def test_real_labels_make_a_sound_table(name: str, tables: dict[str, Table]) -> None:
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


# MagnaTagATune


def test_mtt_classes_are_the_most_frequent_tags_in_ascending_order(labels: Path) -> None:
    with (labels / "mtt/raw/annotations_final.csv").open(newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        counts: Counter[str] = Counter()
        total = 0
        for row in rows:
            total += 1
            counts.update(tag for tag, cell in row.items() if cell == "1" and tag not in ("clip_id", "mp3_path"))
    tags = REGISTRY["mtt"].task().classes
    assert total == 25_863 and len(tags) == 50
    of_tags = [counts[tag] for tag in tags]
    assert of_tags == sorted(of_tags)
    assert max(count for tag, count in counts.items() if tag not in tags) < min(of_tags)
    assert (tags[0], tags[-1]) == ("choral", "guitar")
    for before, after in (("female voice", "metal"), ("female vocal", "male voice"), ("pop", "no vocal")):
        assert counts[before] == counts[after] and tags.index(after) == tags.index(before) + 1


def test_mtt_clips_lie_under_mp3_and_are_split_by_folder(tables: dict[str, Table], labels: Path) -> None:
    splits: dict[str, set[str]] = {}
    for clip in tables["mtt"].clips:
        assert clip.path == labels / "mtt/raw/mp3" / clip.id
        splits.setdefault(clip.split, set()).add(clip.id[0])
    assert splits == {"train": set("0123456789ab"), "val": {"c"}, "test": set("def")}
    techno = tables["mtt"].task.classes.index("techno")
    joram = [clip for clip in tables["mtt"].clips if "joram-moments_of_clarity-08-solipsism-59-88.mp3" in clip.id]
    assert [(clip.split, clip.labels) for clip in joram] == [("test", (techno,))]
    assert any("4,752" in note for note in tables["mtt"].notes)


def mtt_file(folder: Path, rows: list[list[str]], header: list[str] | None = None) -> Path:
    header = header if header is not None else ["clip_id", *mtt_module.TAGS, "other tag", "mp3_path"]
    text = "\n".join("\t".join(row) for row in [header, *rows])
    (folder / "mtt/raw").mkdir(parents=True, exist_ok=True)
    (folder / "mtt/raw/annotations_final.csv").write_text(text)
    return folder


def mtt_row(path: str = "0/a.mp3", **tags: str) -> list[str]:
    return ["2", *(tags.get(tag, "0") for tag in mtt_module.TAGS), "1", path]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([mtt_row(guitar="1"), mtt_row("1/b.mp3", guitar="yes")], "line 3: 'guitar' is 'yes'"),
        ([mtt_row(guitar="")], "line 2: 'guitar' is ''"),
        ([mtt_row(guitar="1")[:-1]], "line 2: 52 columns where the header has 53"),
        ([mtt_row("g/a.mp3", guitar="1")], "line 2: mp3_path 'g/a.mp3'"),
        ([mtt_row("a.mp3", guitar="1")], "line 2: mp3_path 'a.mp3'"),
        ([mtt_row(guitar="1"), mtt_row(guitar="1")], "line 3: 0/a.mp3 is listed a second time"),
        ([mtt_row()], "no clip carries any"),
        ([], "no clip carries any"),
    ],
)
def test_mtt_names_the_line_of_a_bad_row(rows: list[list[str]], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        open_dataset("mtt", mtt_file(tmp_path, rows)).table()
    assert words in str(error.value) and "annotations_final.csv" in str(error.value)


def test_mtt_names_a_missing_column(tmp_path: Path) -> None:
    header = ["clip_id", *mtt_module.TAGS[:-1], "mp3_path"]
    with pytest.raises(UsageError, match=r"column 'guitar' is missing"):
        open_dataset("mtt", mtt_file(tmp_path, [], header)).table()


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


# DCASE 2017


def test_dcs_validation_is_the_one_that_pandas_draws_clip_by_clip(tables: dict[str, Table], labels: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas, which the original draws with, is not installed")
    frames = [
        pandas.read_csv(labels / f"dcs/raw/groundtruth_weak_label_{part}_set.csv", sep="\t", header=None)
        for part in ("training", "testing")
    ]
    rows = pandas.concat(frames)
    drawn: set[str] = set()
    for name in dcs_module.CLASSES:
        drawn.update(rows[rows[3] == name].sample(frac=0.1, random_state=123)[0])
    clips = tables["dcs"].clips
    assert {clip.id for clip in clips if clip.split == "val"} == drawn
    assert {clip.id for clip in clips if clip.split == "train"} == set(rows[0]) - drawn


def test_dcs_validation_is_known_without_pandas(tables: dict[str, Table]) -> None:
    """Recorded from pandas 3.1.1 on the real lists, so that it holds where pandas is not installed."""
    from hashlib import sha256

    names = sorted(clip.id for clip in tables["dcs"].clips if clip.split == "val")
    assert sha256("\n".join(names).encode()).hexdigest() == VALIDATION_DIGEST


VALIDATION_DIGEST = "f92221d377a92a1cd652b2532f8e1ffba42c8e6c4bb9f75a81466fd2350ee219"


def test_dcs_half_a_clip_is_rounded_to_even_as_pandas_does() -> None:
    rows = [(f"{number}.wav", 0) for number in range(25)] + [(f"b{number}.wav", 1) for number in range(15)]
    chosen = dcs_module.validation_files(rows)
    assert sum(not name.startswith("b") for name in chosen) == 2  # 2.5 -> 2
    assert sum(name.startswith("b") for name in chosen) == 2  # 1.5 -> 2


def test_dcs_labels_are_united_and_recordings_lie_where_the_archives_put_them(
    tables: dict[str, Table], labels: Path
) -> None:
    raw = labels / "dcs/raw"
    want: dict[str, set[int]] = {}
    folder = {}
    for part, name in (
        ("training", "unbalanced_train_segments_training_set_audio_formatted_and_segmented_downloads"),
        ("testing", "unbalanced_train_segments_testing_set_audio_formatted_and_segmented_downloads"),
        ("evaluation", "evaluation_set_formatted_audio_segments"),
    ):
        for line in (raw / f"groundtruth_weak_label_{part}_set.csv").read_text().splitlines():
            file, _, _, label = line.split("\t")
            want.setdefault(file, set()).add(dcs_module.CLASSES.index(label))
            folder[file] = name
    clips = tables["dcs"].clips
    assert {clip.id: set(clip.labels) for clip in clips} == want
    assert all(clip.path == raw / folder[clip.id] / f"Y{clip.id}" for clip in clips)
    assert {folder[clip.id] for clip in clips if clip.split == "test"} == {"evaluation_set_formatted_audio_segments"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("b.wav\t0\t10\tSpaceship", "line 2: unknown label 'Spaceship'"),
        ("b.wav\t0\tCar", "line 2: 3 columns, expected 4"),
        ("b.wav,0,10,Car", "line 2: 1 columns, expected 4"),
        ("\t0\t10\tCar", "line 2: '' is not a file name"),
        ("../b.wav\t0\t10\tCar", "line 2: '../b.wav' is not a file name"),
        ('"b.wav\t0\t10\tCar', "line 2: unexpected end of data; check the quotes"),
        ("e.wav\t0\t10\tCar", "e.wav is also listed for training"),
    ],
)
def test_dcs_names_the_line_of_a_bad_row(line: str, words: str, tmp_path: Path) -> None:
    raw = tmp_path / "dcs/raw"
    raw.mkdir(parents=True)
    for part, text in (
        ("training", f"a.wav\t0\t10\tBus\n{line}\n"),
        ("testing", "t.wav\t0\t10\tBus\n"),
        ("evaluation", "e.wav\t0\t10\tBus\n"),
    ):
        (raw / f"groundtruth_weak_label_{part}_set.csv").write_text(text)
    with pytest.raises(UsageError) as error:
        open_dataset("dcs", tmp_path).table()
    assert words in str(error.value)


def test_dcs_an_empty_list_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dcs/raw").mkdir(parents=True)
    (tmp_path / "dcs/raw/groundtruth_weak_label_training_set.csv").touch()
    with pytest.raises(UsageError, match="lists no recordings"):
        open_dataset("dcs", tmp_path).table()


# Speech Commands


def test_scd_real_lists_split_the_recordings_that_are_there(tables: dict[str, Table], labels: Path) -> None:
    table, raw = tables["scd"], labels / "scd/raw"
    assert Counter(clip.split for clip in table.clips) == {"train": 10_043, "val": 1_233, "test": 1_770}
    named = {
        split: set((raw / name).read_text().split())
        for split, name in (("val", "validation_list.txt"), ("test", "testing_list.txt"))
    }
    for clip in table.clips:
        assert clip.path == raw / clip.id and clip.path.exists()
        assert table.task.classes[clip.labels[0]] == clip.id.split("/")[0]
        assert clip.split == next((split for split, names in named.items() if clip.id in names), "train")
    speakers = {split: {c.path.name.split("_")[0] for c in table.clips if c.split == split} for split in SPLITS}
    assert not speakers["val"] & speakers["test"]
    assert len(speakers["train"] & (speakers["val"] | speakers["test"])) == 52  # the lists leave out some recordings
    assert list(table.task.classes) == sorted(table.task.classes) and table.task.num_classes == 35


def test_scd_says_what_is_absent(tables: dict[str, Table]) -> None:
    notes = "\n".join(tables["scd"].notes)
    assert "no recordings of 19 of the 35 words: backward, bird" in notes
    assert "8,748 recordings named in validation_list.txt are not there" in notes
    assert "9,235 recordings named in testing_list.txt are not there" in notes


@pytest.mark.parametrize(
    ("validation", "testing", "words"),
    [
        ("yes/a.wav\nspam/b.wav\n", "", "validation_list.txt, line 2: 'spam/b.wav'"),
        ("", "yes\n", "testing_list.txt, line 1: 'yes'"),
        ("yes/a.wav\n", "\nyes/a.wav\n", "testing_list.txt, line 2: yes/a.wav is in both lists"),
        ("yes/../../a.wav\n", "", "validation_list.txt, line 1"),
        ("", "", "no recordings of this word nor of any other"),
    ],
)
def test_scd_names_the_line_of_a_bad_entry(validation: str, testing: str, words: str, tmp_path: Path) -> None:
    raw = tmp_path / "scd/raw"
    raw.mkdir(parents=True)
    (raw / "validation_list.txt").write_text(validation)
    (raw / "testing_list.txt").write_text(testing)
    with pytest.raises(UsageError) as error:
        open_dataset("scd", tmp_path).table()
    assert words in str(error.value)


# Names and places


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
def test_names_are_safe_steady_and_never_those_of_the_registry(spec: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(UsageError):
            dataset_name(spec)
    else:
        assert dataset_name(spec) == name
        assert dataset_name(name) == name  # what is built can be asked for by its name


def test_the_present_folder_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Bats/calls").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "Bats")
    assert dataset_name(".") == dataset_name("calls/..") == "Bats"


def test_a_registered_name_wins_over_a_folder_and_its_path_reaches_the_folder(
    tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree({"a": 4, "b": 4}, root="demo")
    monkeypatch.chdir(tmp_path)
    assert open_dataset("demo", "data").raw == Path("data/demo/raw")
    own = open_dataset("./demo", "data")
    assert isinstance(own, Source) and own.name == "demo-folder" == own.table().task.name
    assert len(own.table().clips) == 8


def test_an_unknown_data_set_lists_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for spec in ("mtg", str(tmp_path / "nowhere"), "x" * 5000, "a\0b"):
        with pytest.raises(UsageError) as error:
            open_dataset(spec, tmp_path)
        assert all(word in str(error.value) for word in ("dcs, demo, mtt, scd", "folder", "manifest"))
    with pytest.raises(UsageError, match=r"notes.txt: neither a folder nor a .csv or .parquet manifest"):
        open_dataset(str(tmp_path / "notes.txt"), tmp_path)
