"""Detects truncated recordings: compares lengths in the containers' headers with the file and with what was decoded.

libsndfile decodes the first part of a truncated wav or mp3 without an error. Only a truncated flac is an error.
"""

import re
import struct
from typing import BinaryIO

from samplecnn.containers import mp3

SLOPPY_BYTES = 64  # some writers include the header in the data size; so few missing bytes are accepted
MP3_SLACK = 3 * 1152  # samples: an encoder's delay and padding, which decoders trim in different ways
OPEN_LENGTH = 0x7FFFF000  # data sizes from here on, and 2^31 above, are written by programs that do not know the length
ARECORD_LENGTH = 0x80000000  # as is this one
REMEDY = "download or copy it again, or use what is there with --accept-truncated"


def incomplete(file: BinaryIO, kind: str, size: int, frames: int, declared_frames: int) -> str:
    """Why the recording is incomplete, or "" if it is complete or this is unknown.

    Args:
        file: the open recording; its position changes.
        kind: libsndfile's name of the format ("WAV", "FLAC", ...).
        size: bytes of the file.
        frames: number of all frames that could be decoded.
        declared_frames: number that libsndfile reported on opening.

    Streams that were written without knowing their length (a data size of 0xFFFFFFFF and the like) count as complete.
    It is unknown for an mp3 without a length tag and for formats not named here; for Ogg see `containers.ogg`.
    """
    if kind == "FLAC":
        unknown = declared_frames > 1 << 62
        return "" if unknown or frames >= declared_frames else fewer(frames, declared_frames)
    if kind == "MP3":
        return _mp3(file, frames, declared_frames)
    missing = _end(file, kind, size) - size
    if missing <= SLOPPY_BYTES:
        return ""
    return f"cut short: {missing:,} of the bytes that its header declares are missing"


def fewer(frames: int, declared_frames: int) -> str:
    return f"cut short: {frames:,} of {declared_frames:,} samples are there"


def _end(file: BinaryIO, kind: str, size: int) -> int:
    """Where the sound should end, in bytes from the start; 0 if unknown."""
    if kind in ("WAV", "WAVEX", "RF64"):
        at, length = data_chunk(file, size, b"data", "<")
        head = _head(file, 8)
        (whole,) = struct.unpack(">I" if head[:4] == b"RIFX" else "<I", head[4:])
        return 0 if abs(whole + 8 - size) <= 1 else at + length  # complete; only the size of the data chunk is wrong
    if kind == "AIFF":
        return sum(data_chunk(file, size, b"SSND", ">"))
    head = _head(file, 1024)
    if kind == "AU":
        order = "<" if head[:4] == b"dns." else ">"
        offset, length = struct.unpack(f"{order}II", head[4:12])
        return 0 if length >= OPEN_LENGTH else offset + length
    if kind == "W64":
        return _w64_end(file, size)
    if kind == "VOC":
        return _voc_end(file, size)
    if kind == "NIST":
        return _nist_end(head)
    return 0


def _head(file: BinaryIO, count: int) -> bytes:
    file.seek(0)
    return file.read(count)


def data_chunk(file: BinaryIO, size: int, wanted: bytes, order: str) -> tuple[int, int]:
    """Offset and length, in bytes, of the chunk of sound in a RIFF or IFF file.

    (0, 0) if the length is unknown or there is no such chunk.
    """
    head = _head(file, 12)
    order = ">" if head[:4] == b"RIFX" else order
    long_size = 0
    at = 12
    while at + 8 <= size:
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        name, length = chunk[:4], struct.unpack(f"{order}I", chunk[4:])[0]
        if name == b"ds64":  # the 64-bit sizes of RF64 (EBU Tech 3306): riff, data, samples
            long_size = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))[1]
        if name == wanted:
            if length == 0xFFFFFFFF and long_size:
                return at + 8, long_size
            is_open = length & 0x7FFFFFFF >= OPEN_LENGTH or length == ARECORD_LENGTH
            return (0, 0) if is_open else (at + 8, length)
        at += 8 + length + length % 2
    return 0, 0


def forgotten_length(file: BinaryIO, size: int) -> tuple[int, bytes] | None:
    """The length of a wav whose data size is 0 although sound follows, as a crashed recorder leaves it.

    Returns the offset of the size and its correct value; None for any other wav.
    """
    at, length = data_chunk(file, size, b"data", "<")
    if at == 0 or length != 0 or size - at < 2:
        return None
    file.seek(at)
    following = file.read(8)
    if re.fullmatch(rb"[A-Za-z0-9 ]{4}", following[:4]) and len(following) == 8:
        (chunk_length,) = struct.unpack("<I", following[4:])
        if at + 8 + chunk_length <= size + 1:  # another chunk, not sound
            return None
    return at - 4, struct.pack("<I", min(size - at, 0xFFFFFFFF))


def _w64_end(file: BinaryIO, size: int) -> int:
    """Sony Wave64: chunks of a 16-byte GUID and a 64-bit size that counts them, aligned to 8 bytes."""
    at = 40
    while at + 24 <= size:
        file.seek(at)
        chunk = file.read(24)
        length = struct.unpack("<Q", chunk[16:].ljust(8, b"\0"))[0]
        if chunk[:4] == b"data":
            return 0 if length >= 1 << 62 else at + length
        if length < 24:
            break
        at += length + -length % 8
    return 0


def _voc_end(file: BinaryIO, size: int) -> int:
    """Creative Voice: blocks of a type and a 24-bit length; type 0 ends the file."""
    at = struct.unpack("<H", _head(file, 22)[20:22].ljust(2, b"\0"))[0]
    while 0 < at < size:
        file.seek(at)
        block = file.read(4)
        if len(block) < 4 or block[0] == 0:
            break
        at += 4 + int.from_bytes(block[1:], "little")
    return at


def _nist_end(head: bytes) -> int:
    """SPHERE: a text header that holds its own length and the counts of samples, channels and bytes a sample."""
    text = head.decode("latin-1")
    found = {name: int(value) for name, value in re.findall(r"(\w+) -i (\d+)", text)}
    length = re.match(r"NIST_1A\s+(\d+)", text)
    if length is None or "sample_count" not in found or "embedded" in text:
        return 0
    return int(length[1]) + found["sample_count"] * found.get("channel_count", 1) * found.get("sample_n_bytes", 2)


def _mp3(file: BinaryIO, frames: int, declared_frames: int) -> str:
    """A tag in the first frame gives the length; without one, the declared length is only an estimate."""
    file.seek(mp3.first_frame(file))
    return fewer(frames, declared_frames) if mp3.tag_of(file.read(64)) and frames < declared_frames - MP3_SLACK else ""


def caf_length(file: BinaryIO, size: int) -> tuple[int, bytes] | None:
    """For a truncated caf, which libsndfile refuses: the offset of its length in bytes, and the actual length.

    None for any other file. Chunks have a name and a 64-bit length (Apple Core Audio Format Specification).
    """
    at = 8 if _head(file, 4) == b"caff" else size
    while at + 12 <= size:
        file.seek(at)
        chunk = file.read(12)
        length = struct.unpack(">q", chunk[4:])[0]
        if length < 0:
            return None
        if chunk[:4] == b"data":
            cut = at + 12 + length > size
            return (at + 4, struct.pack(">q", size - at - 12)) if cut else None
        at += 12 + length
    return None
