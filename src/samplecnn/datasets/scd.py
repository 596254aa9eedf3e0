"""Speech Commands v0.02: one second, 35 words, the official split by speaker."""

import os
from collections.abc import Iterator
from pathlib import Path

from samplecnn.datasets.base import Clip, Published, Table
from samplecnn.datasets.label_files import read_lines
from samplecnn.datasets.labels import LabelEncoder
from samplecnn.errors import UsageError
from samplecnn.task import Task

LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
REMEDY = "run `samplecnn prepare scd` to download it"

WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip


class SpeechCommands:
    """raw/WORD/SPEAKER_nohash_N.wav and the two official lists; recordings in neither are for training.

    No speaker is in both lists, but the lists omit a few recordings of their speakers, which therefore are for
    training: 123 of the 10,043 of sixteen words. Published results use this split, so it is kept.
    """

    name = "scd"
    clips_per_shard = 1000

    @property
    def published(self) -> Published | None:
        from samplecnn.datasets.published import SCD

        return SCD

    def task(self) -> Task:
        return Task(
            name=self.name,
            classes=WORDS,
            kind="multiclass",
            sample_rate=22050,
            window=22050,
            clip_seconds=1.0,
            mean=-8.520474e-05,
            std=0.18,
            threshold=0.5,
        )

    def table(self, raw: Path) -> Table:
        """All recordings found, by word, then by name; a clip's id is WORD/FILE."""
        split_of: dict[str, str] = {}
        for split, name in LISTS.items():
            for line, entry in read_lines(raw / name, REMEDY):
                word, _, file = entry.partition("/")
                if word not in WORDS or not file or "/" in file:
                    raise UsageError(f"{raw / name}, line {line}: {entry!r} is not WORD/FILE with one of the 35 words")
                if split_of.setdefault(entry, split) != split:
                    raise UsageError(f"{raw / name}, line {line}: {entry} is in both lists; {REMEDY}")

        clips: list[Clip] = []
        absent = []
        encoder = LabelEncoder(WORDS)
        for word in WORDS:
            before, labels = len(clips), encoder.encode([word])
            folder = raw / word
            for name in sorted(_recordings(folder)):
                entry = f"{word}/{name}"
                clips.append(Clip(entry, folder / name, split_of.pop(entry, "train"), labels))
            if len(clips) == before:
                absent.append(word)
        if not clips:
            raise UsageError(f"{raw / WORDS[0]}: no recordings of this or any other word; {REMEDY}")

        notes = []
        if absent:
            notes.append(f"no recordings of {len(absent)} of the {len(WORDS)} words: {', '.join(absent)}")
        for split, name in LISTS.items():
            missing = sum(left == split for left in split_of.values())
            if missing:
                notes.append(f"{missing:,} recordings named in {name} are missing and are skipped")
        return Table(self.task(), clips, notes=tuple(notes))


def _recordings(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if entry.name.endswith(".wav") and entry.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return
