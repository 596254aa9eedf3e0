"""Paths of recordings as manifests write them: separators of Windows, composed and decomposed letters, repetitions."""

import os
import re
import unicodedata
from pathlib import Path

from samplecnn.errors import UsageError
from samplecnn.system.storage import is_remote

WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
# Backslashes, a drive, and empty parts or "." as a part (or "..", or a point at the end of a part, which are harmless).
IRREGULAR = re.compile(r"[\\:]|//|\./|[/.]$")


class RecordingPaths:
    """Finds the files that a manifest names.

    Manifests have up to a million rows, so what is the same for all files of a folder is found out once per folder.

    Args:
        root: folder that relative paths start from.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._prefix = os.path.join(root, "")  # noqa: PTH118 (with a separator at its end)
        self._folders: dict[str, _Folder] = {}

    def name(self, text: str, manifest: Path, place: str) -> str:
        """The path with forward slashes and without "." and empty parts, relative or absolute as written.

        Where there is no file of exactly this name, backslashes are read as separators, and letters with marks are
        tried composed (NFC) and decomposed (NFD): macOS and other systems write them differently.

        Args:
            text: as written.
            manifest, place: the file and the line, for messages.

        Raises:
            UsageError: an absolute path of Windows on another system.
        """
        if (text.isascii() and not IRREGULAR.search(text)) or is_remote(text):
            return text
        if os.name != "nt" and WINDOWS_DRIVE.match(text):
            raise UsageError(f"{manifest}, {place}: {text} is a path of Windows; write paths relative to the manifest")
        if "\\" in text and (os.name == "nt" or not self._exists(text)):
            text = text.replace("\\", "/")
        parts = [part for part in text.split("/") if part not in ("", ".")]
        name = ("/" if text.startswith("/") else "") + "/".join(parts)
        if not name.isascii() and not self._exists(name):
            for form in ("NFC", "NFD"):
                other = unicodedata.normalize(form, name)  # type: ignore[arg-type]
                if other != name and self._exists(other):
                    return other
        return name or text

    def _exists(self, name: str) -> bool:
        """Also False for a name that the system cannot have."""
        return os.path.exists(os.path.join(self.root, name))  # noqa: PTH110, PTH118

    def identity(self, name: str) -> str:
        """The same text for all names of one file: its folder with links resolved, and the link at its end followed."""
        if is_remote(name):
            return name
        folder, _, file = (name if name.startswith("/") else self._prefix + name).rpartition("/")
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = _Folder(os.path.realpath(folder or "/"))
        path = f"{known.path}/{file}"
        return os.path.realpath(path) if known.has_link(file) else path


class _Folder:
    """A folder with links resolved; which of its entries are links is read from a listing, once it is asked often."""

    ASKED_SINGLY = 16  # names up to which asking for each costs less than listing a folder of many files

    def __init__(self, path: str) -> None:
        self.path = path
        self._asked = 0
        self._links: frozenset[str] | None = None

    def has_link(self, name: str) -> bool:
        if self._links is not None:
            return name in self._links
        self._asked += 1
        if self._asked > self.ASKED_SINGLY:
            self._links = self._list()
        return os.path.islink(f"{self.path}/{name}")  # noqa: PTH114 (plain text is several times as fast)

    def _list(self) -> frozenset[str] | None:
        try:
            with os.scandir(self.path) as entries:
                return frozenset(entry.name for entry in entries if entry.is_symlink())
        except OSError:  # not there, or not readable: no use to ask again, unless for single names
            return None if os.path.isdir(self.path) else frozenset()  # noqa: PTH112
