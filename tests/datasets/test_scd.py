"""Speech Commands: the official lists, absent recordings, lists with faults."""

from collections import Counter
from pathlib import Path

import pytest

from samplecnn.datasets import SPLITS, Table, open_dataset
from samplecnn.errors import UsageError


def test_the_official_lists_decide_the_split(tables: dict[str, Table], labels: Path) -> None:
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
    assert len(speakers["train"] & (speakers["val"] | speakers["test"])) == 52  # the lists omit some recordings
    assert list(table.task.classes) == sorted(table.task.classes) and table.task.num_classes == 35


def test_absent_recordings_are_counted_in_notes(tables: dict[str, Table]) -> None:
    notes = "\n".join(tables["scd"].notes)
    assert "no recordings of 19 of the 35 words: backward, bird" in notes
    assert "8,748 recordings named in validation_list.txt are missing" in notes
    assert "9,235 recordings named in testing_list.txt are missing" in notes


@pytest.mark.parametrize(
    ("validation", "testing", "message"),
    [
        ("yes/a.wav\nspam/b.wav\n", "", "validation_list.txt, line 2: 'spam/b.wav'"),
        ("", "yes\n", "testing_list.txt, line 1: 'yes'"),
        ("yes/a.wav\n", "\nyes/a.wav\n", "testing_list.txt, line 2: yes/a.wav is in both lists"),
        ("yes/../../a.wav\n", "", "validation_list.txt, line 1"),
        ("", "", "no recordings of this or any other word"),
    ],
)
def test_unusable_entries_are_named_with_their_line(
    validation: str, testing: str, message: str, tmp_path: Path
) -> None:
    raw = tmp_path / "scd/raw"
    raw.mkdir(parents=True)
    (raw / "validation_list.txt").write_text(validation)
    (raw / "testing_list.txt").write_text(testing)
    with pytest.raises(UsageError) as error:
        open_dataset("scd", tmp_path).table()
    assert message in str(error.value)
