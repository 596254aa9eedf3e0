"""Formats with one file per recording, and the folder that these files are written to."""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from samplecnn.errors import AudioError
from samplecnn.shards.tfrecord.clips import is_record
from samplecnn.sound_file import STDIN
from samplecnn.system.files import write_bytes
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.writers import Outcome, Selection

MAX_NAME = 220  # bytes: most file systems allow 255, of which a suffix and the mark of an unfinished file take some


class Document(ABC):
    """Writes the tags of one recording as one file.

    Args:
        selection: which events to show (`Selection.events_of`).
        about: metadata for readers of the file, see `writers.Writer`.
    """

    suffix: ClassVar[str]  # appended to the recording's name without its suffix
    needs: ClassVar[str] = ""  # a package that it requires
    describes_itself: ClassVar[bool] = False  # as of a `Writer`

    def __init__(self, selection: Selection, about: dict[str, Any] | None = None) -> None:
        self.selection, self.about = selection, about or {}

    @abstractmethod
    def text(self, path: str, tags: Tags) -> str:
        """The content of the file, with line feeds as line terminators."""

    def content(self, path: str, tags: Tags) -> bytes:
        """The content as bytes; bytes of a file name that are not UTF-8 are escaped."""
        return self.text(path, tags).encode("utf-8", "backslashreplace")


class Mirrored(Mapping[str, Path]):
    """The path of each recording's file in a folder, made when it is asked for: one each for 100,000 recordings and six
    formats would take 200 MB.

    Args:
        folder: of all files.
        stems: path of each recording's file in the folder, without a suffix (`mirrored_paths`).
        suffix: of the files.
    """

    def __init__(self, folder: Path, stems: Mapping[str, str], suffix: str) -> None:
        self.folder, self.stems, self.suffix = folder, stems, suffix

    def __getitem__(self, recording: str) -> Path:
        return self.folder / f"{self.stems[recording]}{self.suffix}"

    def __iter__(self) -> Iterator[str]:
        return iter(self.stems)

    def holds(self, place: str) -> bool:
        """Whether a path, absolute and without links, is one of the files."""
        root = os.path.join(os.path.realpath(self.folder), "")  # noqa: PTH118 - keeps the separator at the end
        return (
            place.startswith(root)
            and place.endswith(self.suffix)
            and place[len(root) : len(place) - len(self.suffix)] in self.stems.values()
        )

    def __len__(self) -> int:
        return len(self.stems)


class DocumentFiles:
    """Writes documents as recordings are tagged, each atomically. A recording with an error has none.

    Args:
        document: the format.
        targets: path of each recording's file, by the recording's path.
    """

    def __init__(self, document: Document, targets: Mapping[str, str | Path]) -> None:
        self.document, self.targets = document, targets

    def write(self, path: str, outcome: Outcome) -> None:
        if not isinstance(outcome, AudioError):
            write_bytes(self.targets[path], self.document.content(path, outcome))

    def has(self, path: str) -> bool:
        """Whether a recording's file is there."""
        return Path(self.targets[path]).exists()

    def end(self) -> None:
        """Does nothing: every file is complete."""

    def abandon(self) -> None:
        """Does nothing: no file is partially written."""


def mirrored_paths(files: Sequence[str]) -> dict[str, str]:
    """A unique relative path for each recording, without its suffix.

    Paths are relative to the deepest common folder. The suffix is kept if two recordings of a folder would otherwise
    have the same path (ignoring case, for case-insensitive file systems). Names of more than `MAX_NAME` bytes are cut.

    Example:
        >>> mirrored_paths(["in/a.wav", "in/b.wav", "in/b.mp3", "in/c/a.wav"]) == {
        ...     "in/a.wav": "a", "in/b.wav": "b.wav", "in/b.mp3": "b.mp3", "in/c/a.wav": "c/a"}
        True
    """
    paths = {file: "stdin" if file == STDIN else os.path.abspath(file) for file in files}  # noqa: PTH100
    folders = {os.path.dirname(path) for file, path in paths.items() if file != STDIN}  # noqa: PTH120
    root = os.path.commonpath(folders) if folders else ""
    relative = {file: path if file == STDIN else os.path.relpath(path, root) for file, path in paths.items()}
    names = {file: path if is_record(file) else os.path.splitext(path)[0] for file, path in relative.items()}  # noqa: PTH122
    while True:
        counts = Counter(name.casefold() for name in names.values())
        clashing = [file for file, name in names.items() if counts[name.casefold()] > 1 and name != relative[file]]
        if not clashing:
            return {file: _short(name) for file, name in names.items()}
        names.update((file, relative[file]) for file in clashing)


def _short(path: str) -> str:
    """A path whose name leaves room for the suffix of a format; what is cut off is replaced by its hash."""
    folder, name = os.path.split(path)
    content = os.fsencode(name)
    if len(content) <= MAX_NAME:
        return path
    import hashlib

    digest = hashlib.sha256(content).hexdigest()[:8]
    cut = content[: MAX_NAME - len(digest) - 1].decode("utf-8", "ignore")
    return os.path.join(folder, f"{cut}-{digest}")  # noqa: PTH118 - of texts, as the rest
