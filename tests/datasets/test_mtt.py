"""MagnaTagATune: classes, splits and label files with faults."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from samplecnn.datasets import REGISTRY, Table, open_dataset
from samplecnn.datasets.mtt import TAGS
from samplecnn.errors import UsageError


def test_classes_are_the_most_frequent_tags_in_ascending_order(labels: Path) -> None:
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


def test_clips_are_under_mp3_and_split_by_folder(tables: dict[str, Table], labels: Path) -> None:
    splits: dict[str, set[str]] = {}
    for clip in tables["mtt"].clips:
        assert clip.path == labels / "mtt/raw/mp3" / clip.id
        splits.setdefault(clip.split, set()).add(clip.id[0])
    assert splits == {"train": set("0123456789ab"), "val": {"c"}, "test": set("def")}
    techno = tables["mtt"].task.classes.index("techno")
    joram = [clip for clip in tables["mtt"].clips if "joram-moments_of_clarity-08-solipsism-59-88.mp3" in clip.id]
    assert [(clip.split, clip.labels) for clip in joram] == [("test", (techno,))]
    assert any("4,752" in note for note in tables["mtt"].notes)


def label_file(folder: Path, rows: list[list[str]], header: list[str] | None = None) -> Path:
    header = header if header is not None else ["clip_id", *TAGS, "other tag", "mp3_path"]
    text = "\n".join("\t".join(cells) for cells in [header, *rows])
    (folder / "mtt/raw").mkdir(parents=True, exist_ok=True)
    (folder / "mtt/raw/annotations_final.csv").write_text(text)
    return folder


def row(path: str = "0/a.mp3", **tags: str) -> list[str]:
    return ["2", *(tags.get(tag, "0") for tag in TAGS), "1", path]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(guitar="1"), row("1/b.mp3", guitar="yes")], "line 3: 'guitar' is 'yes'"),
        ([row(guitar="")], "line 2: 'guitar' is ''"),
        ([row(guitar="1")[:-1]], "line 2: 52 columns where the header has 53"),
        ([row("g/a.mp3", guitar="1")], "line 2: mp3_path 'g/a.mp3'"),
        ([row("a.mp3", guitar="1")], "line 2: mp3_path 'a.mp3'"),
        ([row(guitar="1"), row(guitar="1")], "line 3: 0/a.mp3 is listed a second time"),
        ([row()], "no clip has any"),
        ([], "no clip has any"),
    ],
)
def test_unusable_rows_are_named_with_their_line(rows: list[list[str]], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        open_dataset("mtt", label_file(tmp_path, rows)).table()
    assert message in str(error.value) and "annotations_final.csv" in str(error.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    header = ["clip_id", *TAGS[:-1], "mp3_path"]
    with pytest.raises(UsageError, match=r"column 'guitar' is missing"):
        open_dataset("mtt", label_file(tmp_path, [], header)).table()
