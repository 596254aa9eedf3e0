"""Paths of recordings as manifests write them: separators of Windows, composed and decomposed letters, repetitions."""

import os
import re
import unicodedata
from pathlib import Path

from samplecnn.errors import UsageError

WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class RecordingPaths:
    """Finds the files that a manifest names.

    Args:
        root: folder that relative paths start from.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real_folders: dict[str, str] = {}

    def name(self, text: str, where: str) -> str:
        """The path with forward slashes and without "." and empty parts, relative or absolute as written.

        Where there is no file of exactly this name, backslashes are read as separators, and letters with marks are
        tried composed (NFC) and decomposed (NFD): macOS and other systems write them differently.

        Args:
            text: as written.
            where: file and line, for messages.

        Raises:
            UsageError: an absolute path of Windows on another system.
        """
        if os.name != "nt" and WINDOWS_DRIVE.match(text):
            raise UsageError(f"{where}: {text} is a path of Windows; write paths relative to the manifest")
        if "\\" in text and (os.name == "nt" or not (self.root / text).exists()):
            text = text.replace("\\", "/")
        parts = [part for part in text.split("/") if part not in ("", ".")]
        name = ("/" if text.startswith("/") else "") + "/".join(parts)
        if not name.isascii() and not (self.root / name).exists():
            for form in ("NFC", "NFD"):
                other = unicodedata.normalize(form, name)  # type: ignore[arg-type]
                if other != name and (self.root / other).exists():
                    return other
        return name or text

    def identity(self, name: str) -> str:
        """The same text for all names of one file: its folder with links resolved, and the link at its end followed."""
        path = os.path.join(self.root, name)  # noqa: PTH118 (a million rows: plain text is several times as fast)
        folder, _, file = path.rpartition("/")
        real = self._real_folders.get(folder)
        if real is None:
            real = self._real_folders[folder] = os.path.realpath(folder or "/")
        path = f"{real}/{file}"
        return os.path.realpath(path) if os.path.islink(path) else path  # noqa: PTH114
