"""Labels as other programs and data sets write them: parts of recordings, Raven, Audacity, Hugging Face, NeMo, ESC-50,
UrbanSound8K, names of files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from samplecnn.datasets import Table, open_dataset
from samplecnn.datasets.columns import Columns
from samplecnn.datasets.label_tables import read_audacity, read_raven
from samplecnn.datasets.manifest_reader import read_manifest
from samplecnn.datasets.rows import Row
from samplecnn.errors import UsageError

RAVEN_HEADER = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
ANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def placed(folder: Path, files: Mapping[str, str]) -> Path:
    """Writes files below a folder; recordings are empty."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def table_of(path: Path, **options: Any) -> Table:
    return open_dataset(str(path), path.parent / "data", **options).table()


def labelled(table: Table) -> dict[str, list[str]]:
    """Labels by id."""
    return {clip.id: [table.task.classes[label] for label in clip.labels] for clip in table.clips}


# Parts of recordings


def test_start_and_end_make_a_clip_of_a_part(tmp_path: Path) -> None:
    path = placed(
        tmp_path, {"m.csv": "path,label,start,end\na.wav,x,0,1.5\na.wav,y,1.5,2.25\na.wav,x,,\nb.wav,y,3.1234567,\n"}
    )
    table = table_of(path / "m.csv")
    assert labelled(table) == {"a.wav@0-1.5": ["x"], "a.wav@1.5-2.25": ["y"], "a.wav": ["x"], "b.wav@3.123457-": ["y"]}
    assert [(clip.start, clip.end) for clip in table.clips] == [(0, 1.5), (1.5, 2.25), (0, None), (3.123457, None)]
    assert [clip.path.name for clip in table.clips] == ["a.wav", "a.wav", "a.wav", "b.wav"]


def test_labels_of_one_part_in_several_rows_are_put_together(tmp_path: Path) -> None:
    placed(tmp_path, {"m.csv": "path,label,start,end\na.wav,x,0,1\na.wav,y,0.0,1.0\na.wav,x,0,1\nb.wav,y,0,1\n"})
    table = table_of(tmp_path / "m.csv")
    assert labelled(table) == {"a.wav@0-1": ["x", "y"], "b.wav@0-1": ["y"]} and table.task.kind == "multilabel"


def test_parts_of_a_recording_stay_in_one_drawn_split(tmp_path: Path) -> None:
    rows = [f"{n // 10}.wav,{'xy'[n % 2]},{n % 10},{n % 10 + 1}" for n in range(300)]
    placed(tmp_path, {"m.csv": "\n".join(["path,label,start,end", *rows])})
    clips = table_of(tmp_path / "m.csv").clips
    splits: dict[str, set[str]] = {}
    for clip in clips:
        splits.setdefault(clip.path.name, set()).add(clip.split)
        assert clip.group == clip.path.name
    assert all(len(found) == 1 for found in splits.values())
    assert set().union(*splits.values()) == {"train", "val", "test"}


def test_parts_of_a_single_recording_are_split_with_a_note(tmp_path: Path) -> None:
    rows = [f"a.wav,{'xy'[n % 2]},{n},{n + 1}" for n in range(100)]
    placed(tmp_path, {"m.csv": "\n".join(["path,label,start,end", *rows])})
    table = table_of(tmp_path / "m.csv")
    assert {clip.split for clip in table.clips} == {"train", "val", "test"}
    assert any("parts of 1 recordings, which the drawn splits share" in note for note in table.notes)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav,x,2,1", "line 3: the end, 1 s, is not after the start, 2 s"),
        ("a.wav,x,2,2", "line 3: the end, 2 s, is not after the start, 2 s"),
        ("a.wav,x,-1,2", "line 3: the start is '-1'; give seconds"),
        ("a.wav,x,0,soon", "line 3: the end is 'soon'; give seconds"),
        ("a.wav,x,nan,2", "line 3: the start is 'nan'"),
        ("a.wav,x,0,inf", "line 3: the end is 'inf'"),
        ("a.wav,x,0,1e30", "line 3: the end is '1e30'"),
    ],
)
def test_unusable_times_are_named_with_their_line(row: str, message: str, tmp_path: Path) -> None:
    placed(tmp_path, {"m.csv": f"path,label,start,end\nb.wav,y,0,1\n{row}\n"})
    with pytest.raises(UsageError, match="^" + str(tmp_path / "m.csv") + ", " + message):
        table_of(tmp_path / "m.csv")


# Tables of data sets and frameworks


def test_esc50_as_it_comes(tmp_path: Path) -> None:
    """The columns of the data set's own table, whose recordings lie in a folder next to the table's."""
    rows = ["1-100032-A-0.wav,1,0,dog,True,100032,A", "1-100032-B-0.wav,1,0,dog,True,100032,B"]
    rows += ["2-17-A-14.wav,2,14,chirping_birds,False,17,A"]
    header = "filename,fold,target,category,esc10,src_file,take"
    root = placed(
        tmp_path / "ESC-50", {"meta/esc50.csv": "\n".join([header, *rows]), "audio/1-100032-A-0.wav": "", "README": ""}
    )
    for path in (root / "meta/esc50.csv", root):
        table = table_of(path)
        assert table.task.classes == ("chirping_birds", "dog") and table.task.kind == "multiclass"
        assert [clip.group for clip in table.clips] == ["1-100032", "1-100032", "2-17"]
        assert [clip.fold for clip in table.clips] == ["1", "1", "2"]
        assert table.clips[0].path.resolve() == root / "audio/1-100032-A-0.wav" and not table.clips[0].is_part
    moved = placed(tmp_path / "flat", {"esc50.csv": "\n".join([header, *rows]), "1-100032-A-0.wav": ""})
    assert table_of(moved / "esc50.csv").clips[0].id == "1-100032-A-0.wav"


def test_the_real_table_of_esc50(shared: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(shared / "data/esc-50.tar") as tar:
        name = next(name for name in tar.getnames() if name.endswith("esc50.csv"))
        text = tar.extractfile(name).read()  # type: ignore[union-attr]
    (tmp_path / "esc50.csv").write_bytes(text)
    table = table_of(tmp_path / "esc50.csv")
    assert len(table.clips) == 2000 and table.task.num_classes == 50
    folds: dict[str, set[str]] = {}
    for clip in table.clips:
        folds.setdefault(clip.group, set()).add(clip.fold)
    assert all(len(found) == 1 for found in folds.values()) and len(set().union(*folds.values())) == 5


def test_urbansound8k_as_it_comes(tmp_path: Path) -> None:
    """start and end are places in the recording that a file was cut from, not in the file."""
    header = "slice_file_name,fsID,start,end,salience,fold,classID,class"
    rows = ["100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark", "7-2-0-1.wav,7,58.5,62.5,1,10,2,children_playing"]
    root = placed(
        tmp_path / "UrbanSound8K",
        {"metadata/UrbanSound8K.csv": "\n".join([header, *rows]), "audio/fold5/100032-3-0-0.wav": ""},
    )
    for path in (root / "metadata/UrbanSound8K.csv", root):
        table = table_of(path)
        assert [(clip.fold, clip.group, clip.is_part) for clip in table.clips] == [
            ("5", "5-100032", False),
            ("10", "10-7", False),
        ]
        assert table.clips[1].path.resolve() == root / "audio/fold10/7-2-0-1.wav"
        assert table.task.classes == ("children_playing", "dog_bark")


def test_hugging_face_metadata(tmp_path: Path) -> None:
    root = placed(tmp_path / "csv", {"metadata.csv": "file_name,label\na/1.wav,x\n2.wav,y\n", "2.wav": ""})
    assert labelled(table_of(root)) == labelled(table_of(root / "metadata.csv")) == {"a/1.wav": ["x"], "2.wav": ["y"]}
    lines = [json.dumps({"file_name": "1.wav", "label": "x", "text": "…"}), json.dumps({"file_name": "2.wav"})]
    root = placed(tmp_path / "splits", {f"{split}/metadata.jsonl": "\n".join(lines) for split in ("train", "test")})
    table = table_of(root)
    assert labelled(table) == {"test/1.wav": ["x"], "test/2.wav": [], "train/1.wav": ["x"], "train/2.wav": []}
    assert [clip.split for clip in table.clips if "2" in clip.id] in (["test", "train"], ["test", "val"])


def test_a_file_named_metadata_in_a_folder_of_classes_is_something_else(tmp_path: Path) -> None:
    root = placed(tmp_path / "f", {"metadata.csv": "name,year\nx,1\n", "a/1.wav": "", "b/2.wav": ""})
    assert table_of(root).task.classes == ("a", "b")


def test_nemo_manifests(tmp_path: Path) -> None:
    rows = [
        {"audio_filepath": "a.wav", "duration": 1.0, "command": "yes"},
        {"audio_filepath": "noise.wav", "offset": 2.5, "duration": 0.63, "command": "background"},
    ]
    lines = "\n".join(map(json.dumps, rows)) + "\n\n"
    root = placed(tmp_path / "kws", {"train_manifest.json": lines, "validation_manifest.json": ""})
    table = table_of(root / "train_manifest.json")
    assert labelled(table) == {"a.wav": ["yes"], "noise.wav@2.5-3.13": ["background"]}
    (root / "validation_manifest.json").write_text(json.dumps(rows[0] | {"audio_filepath": "b.wav"}))
    table = table_of(root)
    assert {clip.id: clip.split for clip in table.clips}["b.wav"] == "val"


def test_dcase_events(tmp_path: Path) -> None:
    text = "filename\tonset\toffset\tevent_label\na.wav\t0.5\t2\tSpeech\na.wav\t0.5\t2\tDog\nb.wav\t1\t2\tDog\n"
    placed(tmp_path, {"strong.tsv": text})
    assert labelled(table_of(tmp_path / "strong.tsv")) == {"a.wav@0.5-2": ["Dog", "Speech"], "b.wav@1-2": ["Dog"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "a.wav", "label": "x"}\n{"path": "b.wav", label}', "line 2: damaged, not JSON"),
        ('["a.wav", "x"]\n', "line 1: it must be an object"),
        ('{"path": 7, "label": {"a": 1}}\n{"path": {"bytes": ""}, "label": 1}', "line 2: the path is not a file name"),
        ('{"path": "", "label": "x"}', "line 1: the path is empty"),
        ('{"name": "a.wav"}', "line 1: column 'path' is missing"),
        ("", "column 'path' is missing"),
    ],
)
def test_unusable_json_lines_are_named(text: str, message: str, tmp_path: Path) -> None:
    placed(tmp_path, {"m.jsonl": text})
    with pytest.raises(UsageError) as error:
        table_of(tmp_path / "m.jsonl")
    assert str(error.value).startswith(str(tmp_path / "m.jsonl")) and message in str(error.value)


# Raven and Audacity


def selection(number: int, start: float, end: float, *more: str, view: str = "Spectrogram 1") -> str:
    return "\t".join([str(number), view, "1", f"{start:.9f}", f"{end:.9f}", "0.0", "4000.0", *more])


def test_raven_tables_next_to_recordings(tmp_path: Path) -> None:
    """As Raven writes them: a row for each view, the user's column of labels, the recording's name without suffix."""
    first = [f"{RAVEN_HEADER}\tSpecies", selection(1, 0.5, 2.25, "robin"), selection(2, 3, 4, "wren")]
    first.insert(1, selection(1, 0.5, 2.25, "robin", view="Waveform 1"))
    root = placed(
        tmp_path / "birds",
        {
            "n/a.wav": "",
            "n/a.Table.1.selections.txt": "\r\n".join(first),
            "b.flac": "",
            "b.selections.txt": f"{RAVEN_HEADER}\tSpecies\n{selection(1, 1, 2, 'wren')}\n",
            "c.wav": "",
            "d.WAV": "",
            "d.selections.txt": f"{RAVEN_HEADER}\tSpecies\n",
            "n/README.txt": "about",
        },
    )
    table = table_of(root)
    assert labelled(table) == {"b.flac@1-2": ["wren"], "n/a.wav@0.5-2.25": ["robin"], "n/a.wav@3-4": ["wren"]}
    assert "1 recording has no table of labels next to it and is skipped" in table.notes
    assert any("1 .txt" in note for note in table.notes)


def test_a_raven_table_of_several_recordings(tmp_path: Path) -> None:
    """Begin Time counts from the start of the first file; the file offset is the place in each."""
    rows = [f"{RAVEN_HEADER}\tBegin File\tFile Offset (s)\tCall"]
    rows += [selection(1, 1, 2.5, "a.wav", "1.000", "song"), selection(2, 61, 62, "b.wav", "1.0", "alarm")]
    placed(tmp_path, {"all.selections.txt": "\n".join(rows)})
    assert labelled(table_of(tmp_path / "all.selections.txt")) == {"a.wav@1-2.5": ["song"], "b.wav@1-2": ["alarm"]}
    assert table_of(tmp_path / "all.selections.txt").task.name == "all"


def test_the_column_of_raven_labels_can_be_named(tmp_path: Path) -> None:
    rows = "\n".join([f"{RAVEN_HEADER}\tBout", selection(1, 0, 1, "x"), selection(2, 1, 2, "y|x")])
    root = placed(tmp_path / "f", {"a.wav": "", "a.selections.txt": rows})
    with pytest.raises(UsageError, match=r"a.selections.txt, line 1: column 'annotation' is missing .*--label-column"):
        table_of(root)
    assert labelled(table_of(root, label_column="bout")) == {"a.wav@0-1": ["x"], "a.wav@1-2": ["x", "y"]}


def test_audacity_labels_next_to_recordings(tmp_path: Path) -> None:
    text = "0.000000\t1.500000\tdog\n\\\t100.0\t4000.0\n2.000000\t2.000000\tpoint\n3\t4.25\tcat\t0.93\n"
    root = placed(tmp_path / "f", {"a.wav": "", "a.txt": text, "b.wav": "", "b.labels.txt": "0\t1\tcat\n"})
    table = table_of(root)
    assert labelled(table) == {"a.wav@0-1.5": ["dog"], "a.wav@3-4.25": ["cat"], "b.wav@0-1": ["cat"]}
    assert "1 label without duration skipped; give them a start and an end" in table.notes


def test_folders_named_like_splits_hold_recordings_and_tables(tmp_path: Path) -> None:
    files = {f"{split}/{n}.wav": "" for split in ("train", "dev", "test") for n in range(2)}
    tables = {name.replace(".wav", ".txt"): "0\t1\tx\n1\t2\ty\n" for name in files}
    table = table_of(placed(tmp_path / "f", files | tables))
    splits = {clip.id.partition("/")[0]: clip.split for clip in table.clips}
    assert splits == {"train": "train", "dev": "val", "test": "test"}


def test_texts_next_to_recordings_that_are_no_labels_change_nothing(tmp_path: Path) -> None:
    """As transcripts in a folder of classes."""
    root = placed(tmp_path / "f", {"a/1.wav": "", "a/1.txt": "he said yes", "b/2.wav": "", "b/2.txt": "12 apples"})
    assert table_of(root).task.classes == ("a", "b")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.txt", "0\t1\tx\n1.0\tx\n", "b.txt, line 2: the end is 'x'; give seconds"),
        ("b.txt", "0\t1\tx\nhello\n", "b.txt, line 2: 'hello'; expected start, end and label"),
        ("b.txt", "0\t1\tx\n5\t4\tx\n", "b.txt, line 2: the end, 4 s, is not after the start, 5 s"),
        ("b.selections.txt", "Begin Time (s)\tAnnotation\n0\tx\n", "line 1: column 'end time (s)' is missing"),
        ("b.selections.txt", f"{RAVEN_HEADER}\tTag\n{selection(1, 0, 1)}\n", "2: 7 columns where the header has 8"),
        ("b.selections.txt", f"{RAVEN_HEADER}\tTag\n\tx\t1\t\t2\t0\t0\tq\n", "line 2: the start is empty"),
    ],
)
def test_unusable_label_tables_are_named_with_their_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    root = placed(tmp_path / "f", {"a.wav": "", "a.txt": "0\t1\tx\n1\t2\ty\n", "b.wav": "", name: text})
    with pytest.raises(UsageError) as error:
        table_of(root)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_table_of_two_recordings_is_refused(tmp_path: Path) -> None:
    root = placed(tmp_path / "f", {"a.wav": "", "a.flac": "", "a.txt": "0\t1\tx\n"})
    with pytest.raises(UsageError, match=r"a.txt: it may be of a.(flac|wav), a.(wav|flac); rename one of them"):
        table_of(root)


TIMES = st.integers(0, 10**10).map(lambda micro: micro / 1e6)
LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters='|"\\[')
LABEL = st.text(LETTERS, min_size=1, max_size=9)
SPANS = st.lists(st.tuples(TIMES, TIMES, LABEL.map(str.strip).filter(bool)), max_size=6).map(
    lambda rows: [(min(a, b), max(a, b) + 0.5, label) for a, b, label in rows]
)


@settings(ANY, max_examples=30)
@given(rows=SPANS)
def test_written_labels_are_read_back(rows: list[tuple[float, float, str]], tmp_path: Path) -> None:
    expected = [("a.wav", round(start, 6), round(end, 6), (label,)) for start, end, label in rows]

    def same(read: list[Row]) -> bool:
        return [(row.path, row.start, row.end, row.labels) for row in read] == expected

    text = "".join(f"{start:.6f}\t{end:.6f}\t{label}\n" for start, end, label in rows)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert same(list(read_audacity(tmp_path / "a.txt", Columns(), "a.wav")))
    lines = [f"{RAVEN_HEADER}\tTag", *(selection(1, start, end, label) for start, end, label in rows)]
    (tmp_path / "a.selections.txt").write_text("\n".join(lines), encoding="utf-8")
    assert same(list(read_raven(tmp_path / "a.selections.txt", Columns(), "a.wav")))
    objects = [{"path": "a.wav", "start": start, "end": end, "labels": [label]} for start, end, label in rows]
    if objects:
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, objects)), encoding="utf-8")
        assert same(list(read_manifest(tmp_path / "a.jsonl")))


@ANY
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=120).map(str.encode)), kind=st.integers(0, 3))
@example(data=b"1\t2\tx\n3\t" + b"9" * 400, kind=1)
@example(data=b'{"path": "a", "label": "b", "start": 1' + b"0" * 400 + b"}", kind=2)
def test_any_bytes_give_a_table_or_a_usage_error(data: bytes, kind: int, tmp_path: Path) -> None:
    head = (f"{RAVEN_HEADER}\tTag\n".encode(), b"0\t1\tx\n", b'{"path": "x.wav", "label": "y"}\n', b"")[kind]
    name = ("a.selections.txt", "a.txt", "m.jsonl", "m.json")[kind]
    (tmp_path / "a.wav").touch()
    (tmp_path / "b").mkdir(exist_ok=True)
    path = tmp_path / name
    path.write_bytes(head + data)
    try:
        table = table_of(tmp_path if kind < 2 else path)
    except UsageError as error:
        assert str(tmp_path) in str(error) and "\n" not in str(error)
    else:
        assert len({clip.id for clip in table.clips}) == len(table.clips) > 0
        assert all(clip.end is None or clip.start < clip.end for clip in table.clips)
    finally:
        path.unlink()


# Names of files


def test_labels_from_names(tmp_path: Path) -> None:
    files = {f"{split}/{n}_{who}_1.wav": "" for split in ("train", "test") for n in "xy" for who in ("ann", "bob")}
    root = placed(tmp_path / "digits", files | {"train/odd.wav": ""})
    table = table_of(root, label_from="{split}/{label}_{speaker}_*")
    assert labelled(table) == {name: [name.partition("/")[2][0]] for name in files}
    assert all(clip.split in ("test",) for clip in table.clips if clip.id.startswith("test/"))
    assert {clip.group for clip in table.clips} == {"ann", "bob"}
    assert "1 recording does not match --label-from and is skipped: train/odd.wav" in table.notes
    with pytest.raises(UsageError, match=r"no recording matches --label-from .*, for example test/x_ann_1.wav"):
        table_of(root, label_from="{label}=*")
    with pytest.raises(UsageError, match=r"x_ann_1\.wav: unknown split 'x'"):
        table_of(root, label_from="{split}_{label}_*")


def test_names_are_for_folders(tmp_path: Path) -> None:
    placed(tmp_path, {"m.csv": "path,label\na.wav,x\n"})
    with pytest.raises(UsageError, match="--label-from is an option for folders"):
        open_dataset(str(tmp_path / "m.csv"), tmp_path, label_from="{label}")
