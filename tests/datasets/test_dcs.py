"""DCASE 2017 task 4: the validation split that pandas draws, united labels, label files with faults."""

from pathlib import Path

import pytest

from samplecnn.datasets import Table, open_dataset
from samplecnn.datasets.dcs import CLASSES, validation_files
from samplecnn.errors import UsageError

VALIDATION_DIGEST = "f92221d377a92a1cd652b2532f8e1ffba42c8e6c4bb9f75a81466fd2350ee219"


def test_validation_clips_are_those_that_pandas_draws(tables: dict[str, Table], labels: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas, which the original draws with, is not installed")
    frames = [
        pandas.read_csv(labels / f"dcs/raw/groundtruth_weak_label_{part}_set.csv", sep="\t", header=None)
        for part in ("training", "testing")
    ]
    rows = pandas.concat(frames)
    drawn: set[str] = set()
    for name in CLASSES:
        drawn.update(rows[rows[3] == name].sample(frac=0.1, random_state=123)[0])
    clips = tables["dcs"].clips
    assert {clip.id for clip in clips if clip.split == "val"} == drawn
    assert {clip.id for clip in clips if clip.split == "train"} == set(rows[0]) - drawn


def test_validation_clips_without_pandas(tables: dict[str, Table]) -> None:
    """Recorded from pandas 3.1.1 on the real lists, for machines without pandas."""
    from hashlib import sha256

    names = sorted(clip.id for clip in tables["dcs"].clips if clip.split == "val")
    assert sha256("\n".join(names).encode()).hexdigest() == VALIDATION_DIGEST


def test_halves_are_rounded_to_even_like_pandas() -> None:
    rows = [(f"{number}.wav", "Bus") for number in range(25)] + [(f"b{number}.wav", "Car") for number in range(15)]
    chosen = validation_files(rows)
    assert sum(not name.startswith("b") for name in chosen) == 2  # 2.5 -> 2
    assert sum(name.startswith("b") for name in chosen) == 2  # 1.5 -> 2


def test_labels_are_united_and_paths_follow_the_archives(tables: dict[str, Table], labels: Path) -> None:
    raw = labels / "dcs/raw"
    wanted: dict[str, set[int]] = {}
    folder = {}
    for part, name in (
        ("training", "unbalanced_train_segments_training_set_audio_formatted_and_segmented_downloads"),
        ("testing", "unbalanced_train_segments_testing_set_audio_formatted_and_segmented_downloads"),
        ("evaluation", "evaluation_set_formatted_audio_segments"),
    ):
        for line in (raw / f"groundtruth_weak_label_{part}_set.csv").read_text().splitlines():
            file, _, _, label = line.split("\t")
            wanted.setdefault(file, set()).add(CLASSES.index(label))
            folder[file] = name
    clips = tables["dcs"].clips
    assert {clip.id: set(clip.labels) for clip in clips} == wanted
    assert all(clip.path == raw / folder[clip.id] / f"Y{clip.id}" for clip in clips)
    assert {folder[clip.id] for clip in clips if clip.split == "test"} == {"evaluation_set_formatted_audio_segments"}


@pytest.mark.parametrize(
    ("line", "message"),
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
def test_unusable_rows_are_named_with_their_line(line: str, message: str, tmp_path: Path) -> None:
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
    assert message in str(error.value)


def test_an_empty_list_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dcs/raw").mkdir(parents=True)
    (tmp_path / "dcs/raw/groundtruth_weak_label_training_set.csv").touch()
    with pytest.raises(UsageError, match="lists no recordings"):
        open_dataset("dcs", tmp_path).table()
