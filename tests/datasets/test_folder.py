"""Folders as data sets: which recordings are found, what is left out, and what decides the split."""

import os
import shutil
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samplecnn.datasets import CustomOptions, Table, open_dataset
from samplecnn.errors import UsageError

Tree = Callable[..., Path]


def table_of(folder: Path, **options: Any) -> Table:
    return open_dataset(str(folder), folder.parent / "data", **options).table()


def splits_of(table: Table) -> dict[str, str]:
    return {clip.id: clip.split for clip in table.clips}


def test_classes_are_sub_folders_by_name_with_recordings_at_any_depth(tree: Tree) -> None:
    folder = tree({"dog": 10, "cat": 5, "cat/inner/deep": 5, "Ape": 10})
    table = table_of(folder)
    assert table.task.classes == ("Ape", "cat", "dog") and table.task.kind == "multiclass" and table.measured
    assert len(table.clips) == 30 and all(clip.path.is_file() and clip.path == folder / clip.id for clip in table.clips)
    assert {clip.id for clip in table.clips if clip.labels == (1,)} == {
        *(f"cat/{n:04d}.wav" for n in range(5)),
        *(f"cat/inner/deep/{n:04d}.wav" for n in range(5)),
    }
    for label in range(3):
        of_class = Counter(clip.split for clip in table.clips if clip.labels == (label,))
        assert of_class == {"train": 8, "val": 1, "test": 1}


@pytest.mark.parametrize("suffix", [".WAV", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au"])
def test_all_audio_suffixes_are_recordings(tree: Tree, suffix: str) -> None:
    folder = tree({"a": 3, "b": 3}, suffix=suffix)
    assert len(table_of(folder).clips) == 6


def test_hidden_and_underscore_folders_and_other_files_are_left_out(tree: Tree) -> None:
    folder = tree({"a": 3, "b": 3, "_background_noise_": 4, ".hidden": 4, "a/_more": 2, "a/.trash": 2, "empty": 0})
    for name in ("a/notes.txt", "a/more.txt", "b/cover.jpg", "a/.0001.wav", "b/README", "loose.wav", "license.txt"):
        (folder / name).touch()
    table = table_of(folder)
    assert table.task.classes == ("a", "b") and len(table.clips) == 6
    notes = "\n".join(table.notes)
    assert "4 files are not recordings by their suffix and are skipped: 2 .txt, 1 .jpg, 1 without suffix" in notes
    assert "1 recordings are outside the class folders" in notes
    assert "2 folders that begin with _ are skipped" in notes
    assert "1 folders without recordings are skipped: empty" in notes


def test_the_split_does_not_depend_on_the_order_of_the_file_system(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tree({"a": 40, "b": 25, "b/c": 9})
    before = table_of(folder)
    real = os.scandir

    class Backwards:
        def __init__(self, path: str) -> None:
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert table_of(folder) == before
    moved = shutil.copytree(folder, folder.parent / "elsewhere" / folder.name)
    assert splits_of(table_of(moved)) == splits_of(before)
    assert splits_of(table_of(folder, seed=1)) != splits_of(before)


def test_lists_decide_the_split(tree: Tree) -> None:
    folder = tree({"a": 6, "b/deep": 6})
    (folder / "validation_list.txt").write_text("a/0000.wav\r\n./b/deep/0000.wav\n\nb/gone.wav\n")
    (folder / "testing_list.txt").write_text("﻿a/0001.wav\nb\\deep\\0001.wav\n", encoding="utf-8")
    table = table_of(folder)
    found = splits_of(table)
    assert {name for name, split in found.items() if split == "val"} == {"a/0000.wav", "b/deep/0000.wav"}
    assert {name for name, split in found.items() if split == "test"} == {"a/0001.wav", "b/deep/0001.wav"}
    assert "1 of 3 recordings named in validation_list.txt are missing" in table.notes


def test_a_missing_list_is_drawn_from_the_training_clips(tree: Tree) -> None:
    folder = tree({"a": 20, "b": 20})
    (folder / "testing_list.txt").write_text("a/0000.wav\nb/0000.wav\n")
    table = table_of(folder)
    assert Counter(clip.split for clip in table.clips) == {"train": 34, "val": 4, "test": 2}
    assert {name for name, split in splits_of(table).items() if split == "test"} == {"a/0000.wav", "b/0000.wav"}
    assert any("no val clips are given" in note for note in table.notes)


def test_lists_that_match_nothing_or_contradict_each_other_are_errors(tree: Tree) -> None:
    folder = tree({"a": 3, "b": 3})
    (folder / "validation_list.txt").write_text("sounds/a/0000.wav\n")
    with pytest.raises(UsageError, match=r"validation_list.txt: none of its 1 entries"):
        table_of(folder)
    (folder / "validation_list.txt").write_text("a/0000.wav\n")
    (folder / "testing_list.txt").write_text("b/0000.wav\na/0000.wav\n")
    with pytest.raises(UsageError, match=r"testing_list.txt, line 2: a/0000.wav is in both lists"):
        table_of(folder)


def test_folders_named_train_val_and_test_decide_the_split(tree: Tree) -> None:
    folder = tree({"Train/a": 4, "Train/b": 4, "valid/a": 2, "valid/b": 1, "test/b": 3})
    table = table_of(folder)
    assert table.task.classes == ("a", "b")
    assert Counter((clip.split, clip.labels) for clip in table.clips) == {
        ("train", (0,)): 4,
        ("train", (1,)): 4,
        ("val", (0,)): 2,
        ("val", (1,)): 1,
        ("test", (1,)): 3,
    }
    assert all(clip.path.is_file() for clip in table.clips)
    assert "test has no clip of 1 of 2 classes: a" in table.notes


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train": 3, "bus": 3}, r"splits \(train\) next to others \(bus\); .* rename 'train' if it is a class"),
        ({"train/a": 3, "train/b": 3, "test/a": 3, "extra/a": 1}, r"splits \(test, train\) next to others \(extra\)"),
        ({"train": 3, "test": 3}, "test, train are names of splits, but there are no class folders in them"),
        ({"test/a": 3, "dev/b": 3}, "dev, test are names of splits, but there is no train folder"),
    ],
)
def test_classes_named_like_splits_are_refused(counts: dict[str, int], message: str, tree: Tree) -> None:
    with pytest.raises(UsageError, match=message):
        table_of(tree(counts))


def test_folders_without_recordings_do_not_make_splits_classes(tree: Tree) -> None:
    folder = tree({"train/a": 4, "train/b": 4, "test/a": 2, "test/b": 2, "scripts": 0, "meta/deep": 0})
    (folder / "scripts/make.py").touch()
    table = table_of(folder)
    assert table.task.classes == ("a", "b")
    assert Counter(clip.split for clip in table.clips)["test"] == 4


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "dev", "test"), ("train", "val", "test")),
        (("Training", "devel", "Testing"), ("train", "val", "test")),
        (("train", "valid", "eval"), ("train", "val", "test")),
        (("train", "eval", "test"), ("train", "val", "test")),
        (("train", "validation", "evaluation"), ("train", "val", "test")),
    ],
)
def test_common_names_of_splits(names: tuple[str, ...], splits: tuple[str, ...], tree: Tree) -> None:
    table = table_of(tree({f"{name}/{label}": 2 for name in names for label in "ab"}))
    assert table.task.classes == ("a", "b")
    assert {clip.id.partition("/")[0]: clip.split for clip in table.clips} == dict(zip(names, splits, strict=True))


def test_a_train_folder_alone_gets_drawn_validation_and_test_clips(tree: Tree) -> None:
    table = table_of(tree({"train/a": 20, "train/b": 20}))
    assert table.task.classes == ("a", "b")
    assert Counter(clip.split for clip in table.clips) == {"train": 32, "val": 4, "test": 4}


def test_classes_one_level_deeper_are_noted_with_the_command(tree: Tree) -> None:
    folder = tree({"digits/one": 3, "digits/two": 3, "noise": 3})
    note = next(note for note in table_of(folder).notes if "digits" in note)
    assert note == (
        "class 'digits' has its recordings in 2 sub-folders (one, two); "
        f"if these are the classes: samplecnn build {folder}/digits"
    )
    assert not any("sub-folders" in note for note in table_of(tree({"a/x": 3, "b": 3}, root="plain")).notes)


@pytest.mark.parametrize(
    ("counts", "message"),
    [({}, "no recordings found"), ({"a": 0}, "no recordings found"), ({"a": 5}, "only one class, 'a'")],
)
def test_a_folder_without_classes_says_what_is_expected(counts: dict[str, int], message: str, tree: Tree) -> None:
    folder = tree({"": 0, **counts})
    with pytest.raises(UsageError, match=message) as error:
        table_of(folder)
    assert str(folder) in str(error.value)


def test_classes_missing_in_a_split_are_named(tree: Tree) -> None:
    table = table_of(tree({"rare": 1, "often": 20}))
    assert [note for note in table.notes if "rare" in note] == [
        "val has no clip of 1 of 2 classes: rare",
        "test has no clip of 1 of 2 classes: rare",
    ]


def test_linked_folders_are_followed_once_and_loops_terminate(tree: Tree) -> None:
    folder, store = tree({"a": 3}), tree({"b": 3}, root="store")
    (folder / "b").symlink_to(store / "b")
    (folder / "a/again").symlink_to(folder / "a")
    (store / "b/up").symlink_to(store / "b")
    table = table_of(folder)
    assert [len([clip for clip in table.clips if clip.labels == (label,)]) for label in (0, 1)] == [3, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps names that are not valid text")
def test_names_that_are_not_text_are_left_out_and_counted(tree: Tree) -> None:
    folder = tree({"a": 3, "b": 3})
    (Path(os.fsdecode(os.fsencode(folder) + b"/a/\xff.wav"))).touch()
    table = table_of(folder)
    assert len(table.clips) == 6
    assert "1 recordings have names that are not valid text and are skipped" in table.notes


def test_every_option_is_in_the_task(tree: Tree) -> None:
    folder = tree({"a": 30, "b": 30})
    plain = table_of(folder)
    assert (plain.task.sample_rate, plain.task.window, plain.task.clip_seconds) == (22050, 22050, None)
    task = table_of(folder, sample_rate=16000, window=6561, clip_seconds=2.5, kind="multilabel", threshold=0.2).task
    assert (task.sample_rate, task.window, task.clip_seconds, task.kind, task.threshold) == (
        16000,
        6561,
        2.5,
        "multilabel",
        0.2,
    )
    assert table_of(folder, sample_rate=8000).task.window == 8000  # one second by default
    assert splits_of(table_of(folder, seed=3)) != splits_of(plain)
    assert open_dataset(str(folder), folder, threshold=0.3).dataset.task().threshold == 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 0}, "sample rate 0"),
        ({"window": 1}, "window 1"),
        ({"kind": "both"}, "kind 'both'"),
        ({"threshold": 1.5}, "threshold 1.5"),
        ({"clip_seconds": 0.5}, "clips of 0.5 s are shorter than the window of 22050 samples"),
        ({"clip_seconds": float("nan")}, "clip seconds"),
        ({"clip_seconds": float("inf")}, "clip seconds"),
        ({"colour": 1}, "unknown option 'colour'"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str, tree: Tree) -> None:
    with pytest.raises(UsageError, match=message):
        CustomOptions.of(**options)
    with pytest.raises(UsageError, match=message):
        table_of(tree({"a": 3, "b": 3}), **options)


def test_real_recordings_as_a_folder_make_a_stratified_table(shared: Path, tmp_path: Path) -> None:
    with tarfile.open(shared / "data/esc-10.tar") as tar:
        for name in tar.getnames():
            if name.endswith(".ogg"):
                (tmp_path / "esc10" / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "esc10" / name).touch()
    table = table_of(tmp_path / "esc10", clip_seconds=5)
    assert table.task.num_classes == 10 and not table.notes and table.task.segments_per_clip == 5
    found = Counter((clip.split, clip.labels) for clip in table.clips)
    assert all(
        found["train", (label,)] == 32 and found["val", (label,)] == found["test", (label,)] == 4 for label in range(10)
    )


@pytest.mark.slow
def test_real_speech_as_a_folder_has_the_splits_of_the_data_set(labels: Path) -> None:
    folder = table_of(labels / "scd/raw")
    assert folder.task.num_classes == 16 and folder.task.classes[0] == "bed"
    assert splits_of(folder) == splits_of(open_dataset("scd", labels).table())


def test_twenty_thousand_recordings_are_listed_without_touching_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c", "d"):
        folder = tmp_path / "many" / name
        folder.mkdir(parents=True)
        handle = os.open(folder, os.O_RDONLY)
        (folder / "seed.wav").touch()
        for number in range(5000):
            os.link("seed.wav", f"{number}.wav", src_dir_fd=handle, dst_dir_fd=handle)
        os.close(handle)
    touched: list[object] = []
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **kw: (touched.append(self), real(self, **kw))[1])
    table = table_of(tmp_path / "many")
    assert len(table.clips) == 20_004
    assert len(touched) < 10  # the two lists and the folder itself, not the recordings
