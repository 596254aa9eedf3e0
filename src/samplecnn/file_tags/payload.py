"""A hash of everything in a sound file that is not tags, in whose computation mutagen has no part.

Writing tags may move the sound and renumber pages of Ogg. All else must be as it was: what is hashed is

- mp3: every byte after the ID3v2 tag at the start, so ID3v1 and APE tags at the end as well;
- flac: the block STREAMINFO, and every byte after the blocks of metadata;
- ogg (Vorbis, FLAC), opus: every packet but the comments, and of each page all but its number and checksum;
- mp4: the sound (`mdat`), and where in it the index of the file says that each piece lies;
- wav, aiff: every chunk but those of tags.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from samplecnn.errors import AudioError

BLOCK = 1 << 20
ID3_CHUNKS = (b"ID3 ", b"id3 ")
OGG_HEADERS = {b"\x01vorbis": 3, b"OpusHead": 2}  # packets before the sound; the second are the comments
OGG_FLAC = b"\x7fFLAC"  # then two bytes of version, and two with the number of further headers; 0 if that is not known
MP4_NESTED = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
MOST_ATOM = 64 << 20  # bytes of an index


def sound_digest(path: str | Path) -> str:
    """SHA-256 of a file without its tags.

    Raises:
        AudioError: not mp3, flac, ogg, opus, mp4, wav or aiff, or damaged; the message lacks the file's name.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        start = _after_id3(file)
        file.seek(start)
        head = file.read(12)
        file.seek(start)
        try:
            _reader(head)(file, digest)
        except (struct.error, IndexError, ValueError) as error:
            raise AudioError(f"its structure is damaged ({error}); repair it or leave it out") from error
    return digest.hexdigest()


def refuse_unsupported(path: str | Path) -> None:
    """Refuses kinds of files that mutagen opens, or does not recognise, and whose tags are not written.

    Raises:
        AudioError: RF64 or a fragmented mp4; the message lacks the file's name.
    """
    with Path(path).open("rb") as file:
        head = file.read(12)
        if head[:4] in (b"RF64", b"BW64"):
            raise AudioError(f"a wav file of the kind {head[:4].decode()}; convert it to flac or leave it out")
        if head[4:8] == b"ftyp":
            try:
                _refuse_fragments(list(_atoms(file, 0, file.seek(0, 2))))
            except ValueError as error:
                raise AudioError(f"its structure is damaged ({error}); repair it or leave it out") from error


def is_flac(path: str | Path) -> bool:
    """Whether a file is FLAC, which may begin with ID3."""
    with Path(path).open("rb") as file:
        file.seek(_after_id3(file))
        return file.read(4) == b"fLaC"


def _reader(head: bytes) -> Callable[[IO[bytes], Any], None]:
    if head[:4] == b"fLaC":
        return _flac
    if head[:4] == b"OggS":
        return _ogg
    if head[:4] in (b"RIFF", b"FORM"):
        return _chunks
    return _mp4 if head[4:8] == b"ftyp" else _rest


def _after_id3(file: IO[bytes]) -> int:
    """Where the ID3v2 tags at the start end."""
    at = 0
    while True:
        file.seek(at)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            return at
        size = 0
        for byte in head[6:10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if head[5] & 0x10 else 0)


def _rest(file: IO[bytes], digest: Any) -> None:
    while block := file.read(BLOCK):
        digest.update(block)


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ValueError("it ends too early")
    return data


def _hash_bytes(file: IO[bytes], digest: Any, size: int) -> None:
    while size:
        block = _exactly(file, min(size, BLOCK))
        digest.update(block)
        size -= len(block)


def _flac(file: IO[bytes], digest: Any) -> None:
    file.seek(4, 1)
    last = False
    while not last:
        head = _exactly(file, 4)
        last, size = bool(head[0] & 0x80), int.from_bytes(head[1:])
        if head[0] & 0x7F == 0:
            _hash_bytes(file, digest, size)
        else:
            file.seek(size, 1)
    _rest(file, digest)


def _pages(file: IO[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Head, lengths of segments and content of each page."""
    while head := file.read(27):
        if len(head) < 27 or head[:4] != b"OggS":
            raise ValueError("a page is missing")
        lengths = _exactly(file, head[26])
        yield head, lengths, _exactly(file, sum(lengths))


def _ogg(file: IO[bytes], digest: Any) -> None:
    left = -1  # header packets of the first stream that are not whole yet; -1 before its first page
    serial = b""
    number, packet = 0, b""
    for head, lengths, content in _pages(file):
        if left < 0:
            serial = head[14:18]
            left = _ogg_headers(content)
        if left == 0 or head[14:18] != serial:
            digest.update(head[4:18] + head[26:27] + lengths)
            digest.update(content)
            continue
        at = 0
        for length in lengths:
            packet += content[at : at + length]
            at += length
            if length < 255:
                number, left = number + 1, left - 1
                if number != 2:
                    digest.update(packet)
                packet = b""


def _ogg_headers(first: bytes) -> int:
    """How many packets come before the sound, or for FLAC at least two; `first` is the first one."""
    if first.startswith(OGG_FLAC):
        return 1 + max(int.from_bytes(first[7:9]), 1)
    for mark, count in OGG_HEADERS.items():
        if first.startswith(mark):
            return count
    raise AudioError("Ogg of another kind than Vorbis, Opus and FLAC; leave it out")


def _chunks(file: IO[bytes], digest: Any) -> None:
    order = "<" if _exactly(file, 12)[:4] == b"RIFF" else ">"
    while len(head := file.read(8)) == 8:
        size = struct.unpack(f"{order}I", head[4:])[0]
        if head[:4] in ID3_CHUNKS:
            file.seek(size + size % 2, 1)
            continue
        digest.update(head)
        while size:  # streams are written with the longest length
            block = file.read(min(size, BLOCK))
            if not block:
                return
            digest.update(block)
            size -= len(block)
        file.seek(file.tell() % 2, 1)


def _mp4(file: IO[bytes], digest: Any) -> None:
    atoms = list(_atoms(file, file.tell(), file.seek(0, 2)))
    _refuse_fragments(atoms)
    sound = [(start, end) for name, start, end in atoms if name == b"mdat"]
    for start, end in sound:
        file.seek(start)
        _hash_bytes(file, digest, end - start)
    for name, start, end in _nested(file, atoms):
        if end - start > MOST_ATOM:
            raise ValueError("an index of more than 64 MB")
        file.seek(start)
        data = _exactly(file, end - start)
        if name in (b"stco", b"co64"):
            code, size = (">%dI", 4) if name == b"stco" else (">%dQ", 8)
            offsets = struct.unpack(code % ((len(data) - 8) // size), data[8 : 8 + (len(data) - 8) // size * size])
            for offset in offsets:
                inside = next((offset - first for first, last in sound if first <= offset < last), -1)
                digest.update(inside.to_bytes(8, "big", signed=True))
        elif name in (b"stsz", b"stsc", b"stts", b"stsd", b"elst"):
            digest.update(data)


def _refuse_fragments(atoms: list[tuple[bytes, int, int]]) -> None:
    """Their index lies in every fragment, and mutagen moves fragments without it."""
    if any(name == b"moof" for name, _, _ in atoms):
        raise AudioError("a fragmented mp4; convert it or leave it out")


def _nested(file: IO[bytes], atoms: list[tuple[bytes, int, int]]) -> Iterator[tuple[bytes, int, int]]:
    for name, start, end in atoms:
        yield from _nested(file, list(_atoms(file, start, end))) if name in MP4_NESTED else [(name, start, end)]


def _atoms(file: IO[bytes], at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of each atom between two places."""
    while at + 8 <= end:
        file.seek(at)
        size, name = struct.unpack(">I4s", _exactly(file, 8))
        start = at + 8
        if size == 1:
            size, start = struct.unpack(">Q", _exactly(file, 8))[0], at + 16
        elif size == 0:
            size = end - at
        if size < start - at or at + size > end:
            raise ValueError("an atom of an impossible size")
        yield name, start, at + size
        at += size
