"""Finds the recordings in folders: the same ones for every command, in the same order, with notes on skipped files.

- Recordings are recognised by their suffix, in upper or lower case.
- Links to files and folders are followed. A folder that several paths lead to is searched once, under its real path if
  that lies in the searched folder; so loops end.
- Hidden files and folders (names that begin with a dot) and files that are not regular (FIFOs, sockets, devices) are
  skipped and counted. Other files are counted by suffix. Sound in formats that libsndfile cannot decode is listed.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from samplecnn.containers.signatures import HEAD, is_transport_stream
from samplecnn.extras import is_installed
from samplecnn.system import storage

SUFFIXES = frozenset({
    ".wav", ".wave", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd",
    ".caf", ".voc", ".sph", ".nist",
})  # fmt: skip
# Formats of sound that libsndfile does not decode; PyAV does, where it is installed (`av_sound`).
UNSUPPORTED = frozenset({
    ".m4a", ".m4b", ".mp4", ".aac", ".adts", ".webm", ".weba", ".wma", ".asf", ".amr", ".awb", ".3gp", ".3gpp", ".3g2",
    ".mka", ".mkv", ".mov", ".ac3", ".eac3", ".dts", ".ape", ".wv", ".mpc", ".tta", ".alac", ".ra", ".rm", ".dsf",
    ".dff", ".spx", ".mp2", ".m2a", ".avi", ".flv", ".gsm",
})  # fmt: skip
# Of MPEG transport streams; but most .ts are programs in TypeScript, so that files in folders are looked into.
TRANSPORT = frozenset({".ts", ".mts", ".m2ts"})
MAX_LISTED = 5  # names or suffixes in a note


@dataclass
class Scan:
    """Searches folders and counts what it skips.

    Args:
        skip_underscore: skips folders whose names begin with an underscore (`_background_noise_`), as data sets do.
        collect: suffixes of other files that are listed in `collected` as well.

    Attributes:
        unsupported: paths of recordings in formats that cannot be decoded.
        collected: paths of the files with the suffixes `collect`.
        others: files that are not recordings, by suffix.
        hidden, special, dangling, underscore: numbers of skipped hidden files and folders, files that are not regular,
            dangling links, and folders with an underscore.
        undecodable: recordings whose names are not valid text, counted by the caller.
        unreadable: folders that cannot be read, each with the system's reason.
    """

    skip_underscore: bool = False
    collect: frozenset[str] = frozenset()
    collected: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    special: int = 0
    dangling: int = 0
    underscore: int = 0
    undecodable: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def recordings(self, folder: str | Path) -> Iterator[str]:
        """The paths of all recordings at any depth below `folder`: for each folder its files by name, then its folders.

        Folders that can only be reached by links come last.
        """
        linked: list[str] = []
        seen: set[tuple[int, int]] = set()
        yield from self._walk(os.fspath(folder), seen, linked)
        while linked:  # linked folders may contain further links
            path = linked.pop(0)
            if _identity(path) not in seen:
                yield from self._walk(path, seen, linked)

    def remote_recordings(self, folder: str | Path) -> Iterator[str]:
        """The addresses of all recordings at any depth below a folder in object storage, sorted.

        Raises:
            SampleCNNError: the storage cannot be reached, or refuses.
        """
        for path in storage.files_below(folder):
            name, suffix = path.rpartition("/")[2], suffix_of(path.rpartition("/")[2])
            if name[0] == ".":
                self.hidden += 1
            elif suffix in SUFFIXES or (suffix in UNSUPPORTED and is_installed("av")):
                yield path
            elif suffix in UNSUPPORTED:
                self.unsupported.append(path)
            else:
                self.others[suffix] += 1

    def folder(self, folder: str | Path) -> tuple[list[str], list[str], list[str]]:
        """One folder without its subfolders: sorted names of its recordings, folders, and links to folders."""
        recordings: list[str] = []
        folders: list[str] = []
        links: list[str] = []
        try:
            with os.scandir(folder) as listing:  # an entry with its path takes twice the memory of what is kept of it
                entries = sorted([(entry.name, _kind(entry)) for entry in listing])
        except OSError as error:
            self.unreadable.append((os.fspath(folder), error.strerror or str(error)))
            return recordings, folders, links
        for name, kind in entries:
            if name[0] == ".":
                self.hidden += 1
            elif kind in ("folder", "link"):
                if self.skip_underscore and name[0] == "_":
                    self.underscore += 1
                else:
                    (links if kind == "link" else folders).append(name)
            elif kind == "file":
                suffix = suffix_of(name)
                if suffix in SUFFIXES:
                    recordings.append(name)
                    continue
                path = os.path.join(folder, name)  # noqa: PTH118 - as in `_walk`
                if suffix in UNSUPPORTED or (suffix in TRANSPORT and _is_transport(path)):
                    if is_installed("av"):
                        recordings.append(name)
                    else:
                        self.unsupported.append(path)
                else:
                    self.others[suffix] += 1
                    if suffix in self.collect:
                        self.collected.append(path)
            elif kind == "nothing":
                self.dangling += 1
            else:
                self.special += 1
        return recordings, folders, links

    def notes(self) -> list[str]:
        """What was skipped, one line for each kind."""
        notes = []
        if self.undecodable:
            notes.append(f"{self.undecodable:,} recordings have names that are not valid text and are skipped")
        if self.unsupported:
            count = counted(len(self.unsupported), "recording is", "recordings are")
            kinds = by_suffix(Counter(map(suffix_of, self.unsupported)))
            notes.append(
                f"{count} in formats that are not supported and skipped ({kinds}): {listed(self.unsupported)}; "
                "convert to flac or wav, for example with ffmpeg, or pip install 'samplecnn[av]'"
            )
        if self.unreadable:
            named = listed([f"{path} ({reason})" for path, reason in self.unreadable])
            count = counted(len(self.unreadable), "folder", "folders")
            notes.append(f"{count} cannot be read and skipped: {named}")
        for number, one, several in (
            (self.dangling, "link leads nowhere and is", "links lead nowhere and are"),
            (self.special, "FIFO, socket or device is", "FIFOs, sockets or devices are"),
            (self.underscore, "folder that begins with _ is", "folders that begin with _ are"),
            (self.hidden, "hidden file or folder is", "hidden files or folders are"),
        ):
            if number:
                notes.append(f"{counted(number, one, several)} skipped")
        if self.others:
            count = counted(self.others.total(), "file is not a recording", "files are not recordings")
            verb = "is" if self.others.total() == 1 else "are"
            notes.append(f"{count} by their suffix and {verb} skipped: {by_suffix(self.others)}")
        return notes

    def _walk(self, root: str, seen: set[tuple[int, int]], linked: list[str]) -> Iterator[str]:
        stack = [root]
        while stack:
            folder = stack.pop()
            identity = _identity(folder)
            if identity in seen:
                continue
            seen.add(identity)
            recordings, folders, links = self.folder(folder)
            for name in recordings:
                yield os.path.join(folder, name)  # noqa: PTH118 - a Path for each of 100,000 files would be slow
            stack += [os.path.join(folder, name) for name in reversed(folders)]  # noqa: PTH118
            linked += [os.path.join(folder, name) for name in links]  # noqa: PTH118


def suffix_of(name: str) -> str:
    """The suffix of a file name in lower case, with its dot; "" if it has none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 and os.sep not in name[dot:] else ""


def is_special(path: str | Path) -> bool:
    """Whether a path exists and is neither a regular file nor a folder, such as a FIFO or a device."""
    path = Path(path)
    return path.exists() and not path.is_file() and not path.is_dir()


def counted(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - MAX_LISTED:,} more" if len(items) > MAX_LISTED else ""
    return ", ".join(items[:MAX_LISTED]) + more


def by_suffix(kinds: Counter[str]) -> str:
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], not item[0], item[0]))
    return listed([f"{count:,} {suffix or 'without suffix'}" for suffix, count in ordered])


def _kind(entry: os.DirEntry[str]) -> str:
    """The kind of an entry after following links: "folder", "link" to a folder, "file", "special", or "nothing" for a
    dangling link.
    """
    try:
        if entry.is_dir():
            return "link" if entry.is_symlink() else "folder"
        if entry.is_file():
            return "file"
        return "nothing" if entry.is_symlink() and not Path(entry.path).exists() else "special"
    except OSError:  # a link to itself, or into a folder that may not be read
        return "nothing"


def _is_transport(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a text, as `scandir` gives it
            return is_transport_stream(file.read(HEAD))
    except OSError:
        return False


def _identity(folder: str) -> tuple[int, int]:
    try:
        status = os.stat(folder)  # noqa: PTH116
    except OSError:
        return (-1, hash(folder))  # unreadable; `folder` records it
    return (status.st_dev, status.st_ino)
