"""MagnaTagATune: 29 s of music, the 50 most frequent tags, the split by folder that the literature uses."""

from operator import itemgetter
from pathlib import Path

from samplecnn.datasets.base import Clip, Published, Table
from samplecnn.datasets.label_files import read_rows
from samplecnn.datasets.labels import LabelEncoder
from samplecnn.errors import UsageError
from samplecnn.task import Task

LABELS = "annotations_final.csv"
REMEDY = "run `samplecnn prepare mtt` to download it"

# The 50 most frequent tags, ascending by count, in the original's order (which decides ties).
TAGS = (
    "choral", "female voice", "metal", "country", "weird", "no voice", "cello", "harp", "beats", "female vocal",
    "male voice", "dance", "new age", "voice", "choir", "classic", "man", "solo", "sitar", "soft",
    "pop", "no vocal", "male vocal", "woman", "flute", "quiet", "loud", "harpsichord", "no vocals", "vocals",
    "singing", "male", "opera", "indian", "female", "synth", "vocal", "violin", "beat", "ambient",
    "piano", "fast", "rock", "electronic", "drums", "strings", "techno", "slow", "classical", "guitar",
)  # fmt: skip

# Two pairs of tags have equal counts, so that the original's order depends on the sorting algorithm of NumPy (its
# DataFrame.sum().sort_values()). NumPy 1.25 and newer swap them, measured with 1.23 to 2.4 on the published labels.
TIES = (("female voice", "metal"), ("female vocal", "male voice"))
_OTHER = {one: other for pair in TIES for one, other in (pair, pair[::-1])}
TAGS_NUMPY_1_25 = tuple(_OTHER.get(tag, tag) for tag in TAGS)

# The recordings are in 16 folders named by a hexadecimal digit, which decides the split.
SPLIT_OF_FOLDER = {**dict.fromkeys("0123456789ab", "train"), "c": "val", **dict.fromkeys("def", "test")}


class MagnaTagATune:
    """raw/annotations_final.csv (tab-separated: clip_id, 188 tags as 0 or 1, mp3_path) and raw/mp3/<mp3_path>."""

    name = "mtt"
    clips_per_shard = 100

    @property
    def published(self) -> Published | None:
        from samplecnn.datasets.published import MTT

        return MTT

    def task(self) -> Task:
        return Task(
            name=self.name,
            classes=TAGS,
            kind="multilabel",
            sample_rate=22050,
            window=59049,
            clip_seconds=29.0,
            mean=-0.0001650025078561157,
            std=0.1551193743944168,
            threshold=0.5,
        )

    def table(self, raw: Path) -> Table:
        """All clips with at least one of the 50 tags; a clip's id is its mp3_path."""
        path = raw / LABELS
        rows = read_rows(path, REMEDY, "\t")
        _, header = next(rows, (1, []))
        missing = [name for name in (*TAGS, "mp3_path") if name not in header]
        if missing:
            raise UsageError(f"{path}, line 1: column {missing[0]!r} is missing ({len(missing)} in total); {REMEDY}")
        tags_of = itemgetter(*(header.index(tag) for tag in TAGS))
        path_column = header.index("mp3_path")
        audio, encoder = raw / "mp3", LabelEncoder(TAGS)

        clips: list[Clip] = []
        seen: set[str] = set()
        untagged = 0
        for line, row in rows:
            if len(row) != len(header):
                raise UsageError(f"{path}, line {line}: {len(row)} columns where the header has {len(header)}")
            cells = tags_of(row)
            if not _BITS.issuperset(cells):
                tag, cell = next((tag, cell) for tag, cell in zip(TAGS, cells, strict=True) if cell not in _BITS)
                raise UsageError(f"{path}, line {line}: {tag!r} is {cell!r}, expected 0 or 1")
            mp3 = row[path_column]
            folder, _, name = mp3.partition("/")
            if not name or folder not in SPLIT_OF_FOLDER:
                raise UsageError(f"{path}, line {line}: mp3_path {mp3!r} is not FOLDER/NAME.mp3 with a folder 0 to f")
            if mp3 in seen:
                raise UsageError(f"{path}, line {line}: {mp3} is listed a second time")
            seen.add(mp3)
            labels = encoder.encode(tag for tag, cell in zip(TAGS, cells, strict=True) if cell == "1")
            if labels:
                clips.append(Clip(mp3, audio / mp3, SPLIT_OF_FOLDER[folder], labels))
            else:
                untagged += 1
        if not clips:
            raise UsageError(f"{path}: no clip has any of the {len(TAGS)} tags; {REMEDY}")
        notes = (f"{untagged:,} clips with none of the {len(TAGS)} tags are skipped",) if untagged else ()
        return Table(self.task(), clips, notes=notes)


_BITS = frozenset("01")
