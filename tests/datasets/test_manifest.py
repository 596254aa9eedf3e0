"""Manifests as data sets: columns, kinds, splits, and a single clear line for every row that cannot be used."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from samplecnn.datasets import Manifest, Table, open_dataset
from samplecnn.datasets.base import Clip
from samplecnn.datasets.manifest_reader import read_manifest
from samplecnn.errors import UsageError


def written(folder: Path, text: str | bytes, name: str = "clips.csv") -> Path:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / name


def table_of(path: Path, **options: Any) -> Table:
    return open_dataset(str(path), path.parent / "data", **options).table()


def test_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    path = written(tmp_path, "path,labels,split\nb/2.wav,dog,train\n/far/1.wav,cat,val\na ü.wav,dog,test\n")
    table = table_of(path)
    assert table.measured and table.task.name == "clips" and table.task.classes == ("cat", "dog")
    assert table.clips == [
        Clip("b/2.wav", tmp_path / "b/2.wav", "train", (1,)),
        Clip("/far/1.wav", Path("/far/1.wav"), "val", (0,)),
        Clip("a ü.wav", tmp_path / "a ü.wav", "test", (1,)),
    ]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [(["a", "b", "a"], "multiclass"), (["a|b", "b", "a"], "multilabel"), (["a", "", "b"], "multilabel")],
)
def test_the_labels_decide_the_kind(cells: list[str], kind: str, tmp_path: Path) -> None:
    rows = "".join(f"{number}.wav,{cell},train\n" for number, cell in enumerate(cells))
    assert table_of(written(tmp_path, f"path,labels,split\n{rows}")).task.kind == kind


def test_labels_are_separated_by_bars_and_count_once(tmp_path: Path) -> None:
    table = table_of(written(tmp_path, "path,labels,split\n1.wav, b | a |b||,train\n2.wav,,val\n3.wav,c,test\n"))
    assert table.task.classes == ("a", "b", "c")
    assert [clip.labels for clip in table.clips] == [(0, 1), (), (2,)]


def test_kind_can_be_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, "path,labels,split\n1.wav,a,train\n2.wav,b,val\n")
    assert table_of(path, kind="multilabel").task.kind == "multilabel"
    path = written(tmp_path, "path,labels,split\n1.wav,a,train\n2.wav,a|b,val\n")
    with pytest.raises(UsageError, match="line 3: 2 labels, but multi-class"):
        table_of(path, kind="multiclass")


@pytest.mark.parametrize(
    "text",
    [
        "﻿Path,Label,Split,note\r\n1.wav,a,train,x\r\n\r\n2.wav,b,VAL,y\r\n3.wav,a,test,z\r\n",
        'note,split,label, path \n"x, y",train,a,1.wav\n\n , , , \n"",valid,b,2.wav\n,testing,"a",3.wav',
        'label,path,split\na,"1.wav",Training\nb,2.wav,validation\na,3.wav,test\n',
    ],
)
def test_columns_in_any_order_quotes_blank_lines_and_names_of_splits(text: str, tmp_path: Path) -> None:
    table = table_of(written(tmp_path, text))
    assert [(clip.id, clip.split, clip.labels) for clip in table.clips] == [
        ("1.wav", "train", (0,)),
        ("2.wav", "val", (1,)),
        ("3.wav", "test", (0,)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 'path' is missing (found nothing)"),
        ("name,labels\n1.wav,a\n", "line 1: column 'path' is missing (found name, labels)"),
        ("name,labels\n1.wav,a\n", "or name it with --path-column"),
        ("path:labels\n1.wav:a\n", "column 'path' is missing (found path:labels)"),
        ("path,kind\n1.wav,a\n", "line 1: column 'labels' is missing"),
        ("path,labels\nC:\\sounds\\1.wav,a\n", "line 2: C:\\sounds\\1.wav is a path of Windows"),
        ("path,path,labels\na,b,c\n", "column 'path' is there 2 times"),
        ("path,labels\n", "it has no rows"),
        ("path,labels\n1.wav,a\n2.wav,a,b\n", "line 3: 3 columns where the header has 2"),
        ("path,labels\n1.wav,a\n2.wav\n", "line 3: 1 columns where the header has 2"),
        ("path,labels\n1.wav,a\n\n,b\n", "line 4: the path is empty"),
        ("path,labels\n1.wav,a\nb\0.wav,b\n", "line 3"),
        ("path,labels,split\n1.wav,a,train\n2.wav,b,fold1\n", "line 3: unknown split 'fold1'"),
        ("path,labels,split\n1.wav,a,train\n2.wav,b,\n", "line 3: the split is empty"),
        ("path,labels\n1.wav,a\n2.wav,b\n1.wav,b\n", "line 4: 1.wav is already in line 2, with other values"),
        ("path,labels\n1.wav,a\n2.wav,a\n", "1 classes in the labels column"),
        ("path,labels\n1.wav,\n2.wav,\n", "0 classes in the labels column"),
        ('path,labels\n1.wav,a\n"2.wav,b\n', "line 3: unexpected end of data; check the quotes"),
        (b"path,labels\n1.wav,a\n2.wav,\xe4\n", "line 3: not UTF-8"),
        ("path,labels\n1.wav,a\n".encode("utf-16"), "line 1: not UTF-8"),
    ],
)
def test_unusable_rows_are_named_with_their_line(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as error:
        table_of(path)
    assert str(error.value).startswith(str(path)) and message in str(error.value) and "\n" not in str(error.value)


def test_repeated_rows_are_left_out_with_a_note(tmp_path: Path) -> None:
    table = table_of(written(tmp_path, "path,labels\n1.wav,a\n2.wav,b\n1.wav,a\n"))
    assert [clip.id for clip in table.clips] == ["1.wav", "2.wav"] and "1 rows are repetitions" in table.notes[0]


def many(groups: bool, split: str = "") -> str:
    head = "path,labels" + (",speaker" if groups else "") + (",split" if split else "")
    rows = [
        f"{number}.wav,{'abc'[number % 3]}"
        + (f",s{number // 3 % 20}" if groups else "")
        + (f",{split if number < 540 else 'test'}" if split else "")
        for number in range(600)
    ]
    return "\n".join([head, *rows])


def test_without_split_one_is_drawn_and_a_column_of_blanks_is_none(tmp_path: Path) -> None:
    table = table_of(written(tmp_path, many(groups=False)))
    assert Counter((clip.split, clip.labels) for clip in table.clips) == {
        (split, (label,)): count for split, count in (("train", 160), ("val", 20), ("test", 20)) for label in range(3)
    }
    blank = "\n".join(line + ("," if number else ",split") for number, line in enumerate(many(False).splitlines()))
    assert table_of(written(tmp_path, blank)).clips == table.clips
    assert table_of(written(tmp_path, many(False)), seed=1).clips != table.clips


def test_no_group_is_in_two_drawn_splits(tmp_path: Path) -> None:
    table = table_of(written(tmp_path, many(groups=True)))
    places: dict[int, set[str]] = {}
    for number, clip in enumerate(table.clips):
        places.setdefault(number // 3 % 20, set()).add(clip.split)
    assert all(len(place) == 1 for place in places.values()) and not table.notes
    assert Counter(split for place in places.values() for split in place) == {"train": 16, "val": 2, "test": 2}


def test_only_missing_validation_clips_are_drawn(tmp_path: Path) -> None:
    table = table_of(written(tmp_path, many(groups=True, split="train")))
    assert Counter(clip.split for clip in table.clips)["test"] == 60
    assert {clip.id for clip in table.clips if clip.split == "test"} == {f"{number}.wav" for number in range(540, 600)}
    places: dict[int, set[str]] = {}
    for number, clip in enumerate(table.clips[:540]):
        places.setdefault(number // 3 % 20, set()).add(clip.split)
    assert all(len(place) == 1 for place in places.values())
    assert {"train", "val"} == set().union(*places.values())
    assert any("no val clips are given" in note for note in table.notes)
    assert any("groups are in more than one split" in note for note in table.notes)  # as given in the manifest


def test_parquet_and_csv_give_the_same_table(tmp_path: Path) -> None:
    csv = table_of(written(tmp_path, "path,labels,split,group\n1.wav,a|b,train,x\n2.wav,,val,y\n3.wav,7,test,\n"))
    columns = {
        "path": ["1.wav", "2.wav", "3.wav"],
        "split": pyarrow.array(["train", "val", "test"]).dictionary_encode(),
        "speaker": ["x", "y", None],
        "extra": [1.0, 2.0, 3.0],
    }
    for labels in (["a|b", None, "7"], [["a", "b"], [], ["7"]]):
        parquet.write_table(pyarrow.table({**columns, "labels": labels}), tmp_path / "clips.parquet")
        assert table_of(tmp_path / "clips.parquet") == csv


def test_class_numbers_are_names_too(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"path": ["1.wav", "2.wav"], "label": [3, 14]}), tmp_path / "clips.pq")
    assert table_of(tmp_path / "clips.pq").task.classes == ("14", "3")


def test_unusable_parquet_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "clips.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(UsageError, match="not a readable Parquet table"):
        table_of(path)
    parquet.write_table(pyarrow.table({"path": ["1.wav", None], "labels": ["a", "b"]}), path)
    with pytest.raises(UsageError, match="row 2: the path is empty"):
        table_of(path)
    parquet.write_table(pyarrow.table({"name": ["1.wav"]}), path)
    with pytest.raises(UsageError, match="column 'path' is missing"):
        table_of(path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    for name in ("gone.csv", "gone.parquet"):
        with pytest.raises(UsageError, match=f"{name}: not found"):
            Manifest("gone", tmp_path / name).table(tmp_path)


HARMLESS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@HARMLESS
@given(
    data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: ("path,labels\n" + text).encode()))
)
@example(data=b"path,labels\n\rx,y\r\rz,w")
@example(data=b"path,labels\na\x00,b\n")
@example(data=b'path,labels\n"a"b,c\n')
def test_any_bytes_give_a_table_or_a_usage_error(data: bytes, tmp_path: Path) -> None:
    for name in ("any.csv", "any.parquet"):
        try:
            table = table_of(written(tmp_path, data, name))
        except UsageError as error:
            assert name in str(error)
        else:
            assert len({clip.id for clip in table.clips}) == len(table.clips) > 0
            assert all(label < table.task.num_classes for clip in table.clips for label in clip.labels)


NAMES = (
    st.text(st.characters(exclude_characters="|\0", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
    .map(str.strip)
    .filter(bool)
)


@HARMLESS
@given(
    rows=st.lists(st.tuples(NAMES, st.lists(NAMES, max_size=3, unique=True)), min_size=1, unique_by=lambda row: row[0])
)
def test_written_rows_are_read_back(rows: list[tuple[str, list[str]]], tmp_path: Path) -> None:
    import csv

    with (tmp_path / "round.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels"])
        writer.writerows([path, "|".join(labels)] for path, labels in rows)
    assert [(row.path, list(row.labels)) for row in read_manifest(tmp_path / "round.csv")] == rows


# Repetitions, and paths and labels in other notations


def test_two_notations_of_one_path_are_one_clip(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.wav").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "b.wav").symlink_to(tmp_path / "real/a.wav")
    same = ["real/a.wav", "./real/a.wav", "real//a.wav", "link/a.wav", "b.wav", f"{tmp_path}/real/a.wav"]
    same.append("real/../real/./a.wav")
    rows = "".join(f"{path},x,train\n" for path in same)
    table = table_of(written(tmp_path, f"path,labels,split\n{rows}c.wav,y,test\n"))
    assert [clip.id for clip in table.clips] == ["real/a.wav", "c.wav"]
    assert f"{len(same) - 1} rows are repetitions and are skipped" in table.notes


def test_a_recording_in_two_splits_under_two_notations_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "path,labels,split\na.wav,x,train\nb.wav,y,train\n./a.wav,x,test\n")
    with pytest.raises(UsageError, match=r"line 4: a\.wav is already in line 2, with other values"):
        table_of(path)


def test_backslashes_are_separators_unless_such_a_file_exists(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds/a.wav").touch()
    (tmp_path / "odd\\b.wav").touch()
    table = table_of(written(tmp_path, "path,labels\nsounds\\a.wav,x\nodd\\b.wav,y\n.\\sounds\\c.wav,y\n"))
    assert [clip.id for clip in table.clips] == ["sounds/a.wav", "odd\\b.wav", "sounds/c.wav"]
    assert [clip.path.is_file() for clip in table.clips] == [True, True, False]


@pytest.mark.parametrize(("on_disk", "in_manifest"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFC", "NFC")])
def test_composed_and_decomposed_letters_name_the_same_file(on_disk: str, in_manifest: str, tmp_path: Path) -> None:
    import unicodedata

    name = unicodedata.normalize(on_disk, "Käuzchen.wav")
    (tmp_path / name).touch()
    rows = unicodedata.normalize(in_manifest, "Käuzchen.wav") + ",x\nb.wav,y\n"
    assert table_of(written(tmp_path, f"path,labels\n{rows}")).clips[0].path.is_file()


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("path;labels\n1.wav;a\n2.wav;b,c\n", ("a", "b,c")),
        ("path\tlabels\n1.wav\ta\n2.wav\tb\n", ("a", "b")),
        ("file,class\n1.wav,a\n2.wav,b\n", ("a", "b")),
        ("filename,fold,target,category,esc10\n1.wav,1,0,dog,True\n2.wav,1,14,chirping_birds,False\n", None),
        ("path,labels\n1.wav,\"['a', 'b']\"\n2.wav,\"['b']\"\n3.wav,[]\n", ("a", "b")),
        ("path,labels\n1.wav,[noise]\n2.wav,[speech]\n", ("[noise]", "[speech]")),
    ],
)
def test_common_notations_are_understood(text: str, classes: tuple[str, ...] | None, tmp_path: Path) -> None:
    table = table_of(written(tmp_path, text))
    assert table.task.classes == (classes or ("chirping_birds", "dog"))
    assert [clip.path.name for clip in table.clips][:2] == ["1.wav", "2.wav"]


def test_columns_and_separator_can_be_named(tmp_path: Path) -> None:
    path = written(tmp_path, 'slice,kind,labels\n1.wav,"a, b",1\n2.wav,b,2\n')
    table = table_of(path, path_column="Slice", label_column="kind", label_separator=",")
    assert table.task.classes == ("a", "b") and [clip.labels for clip in table.clips] == [(0, 1), (1,)]
    with pytest.raises(UsageError, match="column 'other' is missing"):
        table_of(path, path_column="other", label_column="kind")


def test_a_label_that_may_be_a_list_is_noted(tmp_path: Path) -> None:
    table = table_of(written(tmp_path, 'path,labels\n1.wav,"rain, wind"\n2.wav,rain\n3.wav,"Air horn, truck horn"\n'))
    assert table.task.num_classes == 3
    assert [note for note in table.notes if "separator" in note] == [
        "label 'rain, wind' is taken as one label; if it is a list, pass --label-separator ','"
    ]


def test_one_row_without_label_is_noted_and_can_be_left_out(tmp_path: Path) -> None:
    rows = "".join(f"{number}.wav,{'' if number == 7 else 'ab'[number % 2]}\n" for number in range(20))
    path = written(tmp_path, f"path,labels\n{rows}")
    table = table_of(path)
    assert table.task.kind == "multilabel"
    assert any("1 rows have no label (line 9 for one), which makes the task multi-label" in n for n in table.notes)
    assert not any("multi-label" in note for note in table_of(path, kind="multilabel").notes)
    table = table_of(path, skip_unlabelled=True)
    assert table.task.kind == "multiclass" and len(table.clips) == 19
    assert "1 rows without label are skipped" in table.notes
    with pytest.raises(UsageError, match=r"line 9: 0 labels.*--skip-unlabelled"):
        table_of(path, kind="multiclass")


def test_names_of_splits_in_a_manifest(tmp_path: Path) -> None:
    path = written(tmp_path, "path,labels,subset\n1.wav,a,Train\n2.wav,b,dev\n3.wav,a,eval\n")
    assert [clip.split for clip in table_of(path).clips] == ["train", "val", "test"]


def test_options_of_manifests_are_refused_for_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        (tmp_path / "sounds" / name / "1.wav").touch()
    with pytest.raises(UsageError, match="path column is an option for tables of labels, not for folders of classes"):
        open_dataset(str(tmp_path / "sounds"), tmp_path / "data", path_column="x").table()
