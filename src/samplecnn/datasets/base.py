"""What every data set gives: a task, a table of labelled clips, and where its files come from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from samplecnn.task import Task

SPLITS = ("train", "val", "test")


class Clip(NamedTuple):
    """One recording: `labels` are indices into the task's classes, ascending; `id` is unique in the data set."""

    id: str
    path: Path
    split: str
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """A data set as its labels tell it. `measured` says that mean and std are still to be measured while building."""

    task: Task
    clips: list[Clip]
    measured: bool = False
    notes: tuple[str, ...] = ()  # what a user should hear: rows left out, classes without clips


@dataclass(frozen=True)
class Download:
    """A file of a published data set.

    Args:
        name: file name under raw/.
        urls: mirrors, tried in order.
        size: bytes, where known.
        checksum: "sha256:..." or "md5:...", where known.
        unpack: "" (keep as it is), "zip" or "tar", or "join:NAME" (a part of a split zip, joined in name order).
        password: of an encrypted zip; several where the sources differ, tried in order.
        into: folder under raw/ that the archive is unpacked into ("" is raw/ itself).
        instead_of: NAME of a split zip ("join:NAME") that this single file can stand for when a part cannot be had.
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
    """How a published data set is obtained: its files, and what to do by hand where the links have died."""

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
        """The task with the original's numbers; for one's own data, what is known before building."""

    def table(self, raw: Path) -> Table:
        """Reads the label files. Raises UsageError naming the missing file and the remedy."""
