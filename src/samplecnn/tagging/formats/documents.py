"""Formats with one file for each recording, and the folder that they are written to."""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from samplecnn.errors import AudioError
from samplecnn.shards.tfrecord.clips import is_record
from samplecnn.sound_file import STDIN
from samplecnn.system.files import write_bytes
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.writers import Outcome, Selection


class Document(ABC):
    """Writes one recording's tags as a file of its own.

    Args:
        selection: which events to show (`Selection.events_of`).
        about: metadata for readers of the file, as `writers.Writer` takes it.
    """

    suffix: ClassVar[str]  # of its files, behind the recording's name without suffix
    needs: ClassVar[str] = ""  # the extra of a package it needs

    def __init__(self, selection: Selection, about: dict[str, Any] | None = None) -> None:
        self.selection, self.about = selection, about or {}

    @abstractmethod
    def text(self, path: str, tags: Tags) -> str:
        """The content of the file, with line feeds as line ends."""

    def content(self, path: str, tags: Tags) -> bytes:
        """The same as bytes; what is not UTF-8 in a file's name is escaped."""
        return self.text(path, tags).encode("utf-8", "backslashreplace")


class DocumentFiles:
    """Writes documents as recordings are tagged, each whole or not at all. A recording with an error gets none.

    Args:
        document: the format.
        targets: where each recording's file goes, by the recording's path.
    """

    def __init__(self, document: Document, targets: dict[str, str | Path]) -> None:
        self.document, self.targets = document, targets

    def write(self, path: str, outcome: Outcome) -> None:
        if not isinstance(outcome, AudioError):
            write_bytes(self.targets[path], self.document.content(path, outcome))

    def end(self) -> None:
        """Nothing is left to do: every file is complete."""

    def abandon(self) -> None:
        """Nothing is half-written."""


def mirrored(files: Sequence[str]) -> dict[str, str]:
    """A relative path for each recording, without suffix, such that no two are the same.

    The folders below the deepest one that holds all recordings are kept. The suffix goes, unless two recordings of a
    folder differ in nothing else (also where upper and lower case are the same).

    Example:
        >>> mirrored(["in/a.wav", "in/b.wav", "in/b.mp3", "in/c/a.wav"]) == {
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
        shared = [file for file, name in names.items() if counts[name.casefold()] > 1 and name != relative[file]]
        if not shared:
            return names
        names.update((file, relative[file]) for file in shared)
