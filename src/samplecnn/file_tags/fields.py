"""Fields of tags in sound files, under the names that programs for music use.

| field | ID3 (mp3, wav, aiff) | Vorbis comment (flac, ogg, opus) | MP4 |
|---|---|---|---|
| genre | TCON | GENRE | ©gen |
| mood | TMOO; in ID3v2.3, which lacks it, TXXX:MOOD | MOOD | ----:com.apple.iTunes:MOOD |
| SAMPLECNN_TAGS and other own fields | TXXX:SAMPLECNN_TAGS | SAMPLECNN_TAGS | ----:com.apple.iTunes:SAMPLECNN_TAGS |
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samplecnn.errors import AudioError
from samplecnn.extras import require
from samplecnn.file_tags.payload import is_flac, refuse_unsupported

TAGS, SCORES, MODEL = "SAMPLECNN_TAGS", "SAMPLECNN_SCORES", "SAMPLECNN_MODEL"
GENRE, MOOD = "GENRE", "MOOD"
FIELDS = (TAGS, SCORES, MODEL, GENRE, MOOD)
MP4_PREFIX = "----:com.apple.iTunes:"
Fields = dict[str, list[str]]  # values by name; none: no such field


class TagFile(ABC):
    """The tags of one file, as mutagen reads them.

    Args:
        path: of the file.
        file: mutagen's object.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.file = path, file

    @property
    def has_tags(self) -> bool:
        """Whether the file has a place for tags, even without any in it."""
        return self.file.tags is not None

    def get(self, names: Sequence[str]) -> Fields:
        """The values of fields; an empty list where there is none."""
        return {name: self._get(name) if self.has_tags else [] for name in names}

    def set(self, fields: Fields) -> None:
        """Sets fields in memory; one without values is removed."""
        if not self.has_tags:
            self.file.add_tags()
        for name, values in fields.items():
            self._set(name, values)

    def save(self) -> None:
        """Writes the tags into the file."""
        self.file.save(self.path)

    def remove(self) -> None:
        """Removes all tags from the file."""
        self.file.delete(self.path)

    @abstractmethod
    def _get(self, name: str) -> list[str]: ...

    @abstractmethod
    def _set(self, name: str, values: list[str]) -> None: ...


class Id3(TagFile):
    """ID3 of an mp3, or in a chunk of a wav or aiff file. The version of existing tags is kept; 2.2 becomes 2.3."""

    def __init__(self, path: Path, file: Any) -> None:
        super().__init__(path, file)
        self.version = 4
        if self.has_tags and self.file.tags.version < (2, 4):
            self.version = 3
        if self.has_tags and self.file.tags.version < (2, 3):
            self.file.tags.update_to_v23()

    def _key(self, name: str) -> str:
        if name == GENRE:
            return "TCON"
        return "TMOO" if name == MOOD and self.version == 4 else f"TXXX:{name}"

    def _get(self, name: str) -> list[str]:
        return [str(text) for frame in self.file.tags.getall(self._key(name)) for text in frame.text]

    def _set(self, name: str, values: list[str]) -> None:
        from mutagen import id3

        key = self._key(name)
        self.file.tags.delall(key)
        if values and key.startswith("TXXX:"):
            self.file.tags.add(id3.TXXX(encoding=id3.Encoding.UTF8, desc=name, text=values))
        elif values:
            self.file.tags.add(getattr(id3, key)(encoding=id3.Encoding.UTF8, text=values))

    def save(self) -> None:
        # Several values stay several ones, and an ID3v1 tag at the end of the file stays as it is.
        self.file.save(self.path, v2_version=self.version, v23_sep=None)


class Mp3(Id3):
    """ID3 at the start of an mp3, of which the rest is not read."""

    def __init__(self, path: Path, file: Any) -> None:
        super().__init__(path, file)
        self._end = path.read_bytes()[-128:] if path.stat().st_size >= 128 else b""

    def save(self) -> None:
        super().save()
        if self._end.startswith(b"TAG"):  # mutagen fills ID3v1 from the new fields
            with self.path.open("r+b") as file:
                file.seek(-128, 2)
                file.write(self._end)


class Comments(TagFile):
    """Vorbis comments."""

    def _get(self, name: str) -> list[str]:
        return list(self.file.tags.get(name, []))

    def _set(self, name: str, values: list[str]) -> None:
        if values:
            self.file.tags[name] = values
        elif name in self.file.tags:
            del self.file.tags[name]


class Mp4(TagFile):
    """Atoms of iTunes."""

    def _get(self, name: str) -> list[str]:
        found = self.file.tags.get(self._key(name), [])
        return [bytes(value).decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in found]

    def _set(self, name: str, values: list[str]) -> None:
        from mutagen.mp4 import AtomDataType, MP4FreeForm

        key = self._key(name)
        if values:
            free = key.startswith(MP4_PREFIX)
            self.file.tags[key] = [
                MP4FreeForm(value.encode(), AtomDataType.UTF8) if free else value for value in values
            ]
        elif key in self.file.tags:
            del self.file.tags[key]

    def _key(self, name: str) -> str:
        return "\xa9gen" if name == GENRE else f"{MP4_PREFIX}{name}"


# mutagen's classes of files, by name, and what reads their tags.
KINDS: dict[str, type[TagFile]] = {
    "mutagen.mp3:MP3": Mp3,
    "mutagen.wave:WAVE": Id3,
    "mutagen.aiff:AIFF": Id3,
    "mutagen.flac:FLAC": Comments,
    "mutagen.oggvorbis:OggVorbis": Comments,
    "mutagen.oggopus:OggOpus": Comments,
    "mutagen.oggflac:OggFLAC": Comments,
    "mutagen.mp4:MP4": Mp4,
}
OTHER = "tags are written into mp3, flac, ogg, opus, m4a, wav and aiff files only; leave it out"


def open_tags(path: Path) -> TagFile:
    """The tags of a file.

    Raises:
        AudioError: not a file of a format whose tags are written, or a damaged one; the message lacks its name.
        MissingExtra: without mutagen.
    """
    require("writing tags into files", "tags")
    import mutagen
    from mutagen import flac, mp3

    refuse_unsupported(path)  # errors of the system are not mutagen's
    try:
        # Without its name, whose suffix mutagen would trust more than the content.
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)), "rb") as content:
            file: Any = flac.FLAC(content) if is_flac(path) else mutagen.File(content)
        if file is None and path.suffix.lower() == ".mp3":  # it may begin with something else
            file = mutagen.File(path)
        name = "" if file is None else f"{type(file).__module__}:{type(file).__name__}"
        kind = KINDS.get(name)
        if kind is None:
            raise AudioError(OTHER)
        if issubclass(kind, Id3) and file.tags is not None and file.tags.version >= (2, 3):
            # As they are: frames of version 2.3 are not turned into those of 2.4.
            file = type(file)(path, translate=False)
        return kind(path, file)
    except mp3.HeaderNotFoundError as error:  # another format, named .mp3 or behind ID3
        raise AudioError(OTHER) from error
    except (AudioError, OSError):
        raise
    except Exception as error:  # of damaged files, mutagen raises errors of any kind
        raise AudioError(f"its tags cannot be read ({str(error) or type(error).__name__}); repair them") from error


def read_fields(path: str | Path, names: Sequence[str] = FIELDS) -> Fields:
    """The values of fields in a file. Raises as `open_tags`."""
    return open_tags(Path(path)).get(names)
