"""What every data set provides: a task, a table of labelled clips, and where its files come from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from samplecnn.task import Task

SPLITS = ("train", "val", "test")
CLIP_COLUMNS = ("group", "fold")  # that shards hold where a clip has them


class Clip(NamedTuple):
    """One recording, or a part of one.

    Args:
        id: unique in the data set.
        path: of the recording.
        split: "train", "val" or "test".
        labels: indices into the task's classes, ascending.
        group: what the recording shares with others, such as a speaker or an album; "" where it is not known.
        fold: of a cross-validation, as the data set gives it; "" where it gives none.
        start, end: seconds in the recording between which the clip lies; None: to its end.
    """

    id: str
    path: Path
    split: str
    labels: tuple[int, ...]
    group: str = ""
    fold: str = ""
    start: float = 0.0
    end: float | None = None

    @property
    def is_part(self) -> bool:
        """Whether the clip is a part of its recording, and not all of it."""
        return self.start > 0 or self.end is not None


@dataclass(frozen=True)
class Table:
    """The clips of a data set with their labels.

    Args:
        task: classes, sample rate and so on.
        clips: in a fixed order.
        measured: whether the task's mean and std are to be measured while the shards are built.
        notes: what a user should know: rows left out, classes without clips.
    """

    task: Task
    clips: list[Clip]
    measured: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Download:
    """A file of a published data set.

    Args:
        name: file name under raw/.
        urls: mirrors, tried in order.
        size: bytes, where known.
        checksum: "sha256:..." or "md5:...", where known.
        unpack: "" (not an archive), "zip" or "tar", or "join:NAME" (a part of a split zip, joined in name order).
        password: of an encrypted zip; several where sources name different ones, tried in order.
        into: folder under raw/ that the archive is unpacked into ("" is raw/ itself).
        instead_of: NAME of a split zip ("join:NAME") that this single file replaces where a part is unavailable.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    checksum: str | None = None
    unpack: str = ""
    password: str | tuple[str, ...] | None = None
    into: str = ""
    instead_of: str = ""


@dataclass(frozen=True)
class Published:
    """How a published data set is obtained: its files, and what to do by hand where the links are dead."""

    downloads: tuple[Download, ...]
    by_hand: str
    licence: str = ""
    expected: dict[str, int] = field(default_factory=dict)  # clips per split


class DataSet(Protocol):
    """A data set in the registry. `raw` is its folder of recordings and label files (DATA/<name>/raw)."""

    @property
    def name(self) -> str: ...

    @property
    def clips_per_shard(self) -> int: ...

    @property
    def published(self) -> Published | None: ...

    def task(self) -> Task:
        """The task; for published data sets with the original's numbers, for others without mean and std."""

    def table(self, raw: Path) -> Table:
        """Reads the label files. Raises UsageError naming the missing file and the remedy."""
