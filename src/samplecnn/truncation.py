"""Is all of a recording there, and was all of it decoded? The lengths in the containers' headers against the file.

libsndfile decodes what it finds: of a wav or mp3 whose download broke off it gives the first part without an error, and
of files that were joined (chained Ogg streams, mp3 after mp3) the first one. Only a broken flac is an error.
"""

import io
import re
import struct
from typing import BinaryIO

SLOPPY_BYTES = 64  # some writers count the header into the data size; so few missing bytes are no damage
MP3_SLACK = 3 * 1152  # samples: an encoder's delay and padding, which decoders trim in different ways
LARGEST_OGG_PAGE = 65307  # bytes (RFC 3533)
OPEN_LENGTH = 0x7FFFF000  # data sizes from here on, and 2^31 above, are written by programs that do not know the length
ARECORD_LENGTH = 0x80000000  # and so is this one
MP3_SEARCH = 1 << 16  # bytes in which the first frame of an mp3 is looked for
LARGEST_FRAME = 1441  # bytes, of layer 3
MP3_KBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # of layer 3, for MPEG 1 and for MPEG 2 and 2.5
JOINED = (
    "several recordings joined into one file, of which only the first is decoded; split it, or convert it with ffmpeg"
)
LENGTH_UNKNOWN = "its header does not give its length, and its end cannot be decoded; convert it with ffmpeg"
ANEW = "download or copy it again, or write it anew to keep what is there"


def incomplete(file: BinaryIO, kind: str, size: int, frames: int, promised: int) -> str:
    """Why the recording counts as incomplete, with the remedy, or "" where it is whole or cannot be judged.

    Args:
        file: the open recording, where decoding has left it; it is moved.
        kind: libsndfile's name of the format ("WAV", "FLAC", ...).
        size: bytes of the file.
        frames: frames that were decoded, all that there are.
        promised: frames that libsndfile announced.

    Streams that were written without knowing their length (a data size of 0xFFFFFFFF and the like, an Ogg stream
    without end mark) are whole. An mp3 without a length tag and formats not named here cannot be judged.
    """
    if kind == "FLAC":
        unknown = promised > 1 << 62
        return "" if unknown or frames >= promised else _samples(frames, promised)
    if kind == "MP3":
        return _mp3(file, file.tell(), size, frames, promised)
    if kind == "OGG":
        return _ogg(file, size)
    missing = _end(file, kind, size) - size
    if missing <= SLOPPY_BYTES:
        return ""
    return f"cut short: {missing:,} of the bytes that its header promises are missing; {ANEW}"


def _samples(frames: int, promised: int) -> str:
    return f"cut short: {frames:,} of {promised:,} samples are there; {ANEW}"


def _end(file: BinaryIO, kind: str, size: int) -> int:
    """Where the sound should end, in bytes from the start; 0 where that is unknown."""
    if kind in ("WAV", "WAVEX", "RF64"):
        at, length = data_chunk(file, size, b"data", "<")
        head = _head(file, 8)
        (whole,) = struct.unpack(">I" if head[:4] == b"RIFX" else "<I", head[4:])
        return 0 if abs(whole + 8 - size) <= 1 else at + length  # all is there, and only the data's size is wrong
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
    """Where the chunk of sound begins in a RIFF or IFF file, and its length in bytes.

    (0, 0) where its length is open or it is not found.
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
    """Of a wav whose data size is 0 although sound follows, as a recorder that crashed leaves it.

    Returns the offset of the size and the right one; None for any other wav.
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


def _ogg(file: BinaryIO, size: int) -> str:
    """The last page must be whole, and belong to the stream that the file begins with."""
    head = _head(file, 27)
    file.seek(max(size - 2 * LARGEST_OGG_PAGE, 0), io.SEEK_SET)
    tail = file.read(2 * LARGEST_OGG_PAGE)
    at = tail.rfind(b"OggS")
    short = f"cut short: its last page is not complete; {ANEW}"
    if at < 0 or at + 27 > len(tail):
        return short
    segments = tail[at + 26]
    lengths = tail[at + 27 : at + 27 + segments]
    if len(lengths) < segments or at + 27 + segments + sum(lengths) > len(tail):
        return short
    return "" if head[14:18] == tail[at + 14 : at + 18] else JOINED  # the serial numbers of the streams


def _mp3(file: BinaryIO, position: int, size: int, frames: int, promised: int) -> str:
    """The tag in the first frame (Xing, Info or VBRI) gives the length; without one, the promise is only an estimate.

    libsndfile decodes no more than it promised: behind `position`, too low an estimate leaves frames unread.
    """
    start = _first_frame(file)
    file.seek(start)
    frame = file.read(256)
    tag = next((tag for tag in (b"Xing", b"Info", b"VBRI") if tag in frame), b"")
    if not tag:
        return LENGTH_UNKNOWN if _has_frames(file, position) else ""
    if frames < promised - MP3_SLACK:
        return _samples(frames, promised)
    at = frame.index(tag)
    if tag == b"VBRI":
        flags, length = 2, struct.unpack(">I", frame[at + 10 : at + 14])[0]
    else:
        flags = struct.unpack(">I", frame[at + 4 : at + 8])[0]
        length = struct.unpack(">I", frame[at + 8 + 4 * (flags & 1) : at + 12 + 4 * (flags & 1)])[0]
    if not flags & 2 or not 0 < length < size - start - MP3_SEARCH // 64:
        return ""
    return JOINED if _has_frames(file, start + length) else ""


def _has_frames(file: BinaryIO, at: int) -> bool:
    """Whether sound follows: three frames in a row soon after byte `at`, or another ID3 tag right there."""
    file.seek(at)
    data = file.read(MP3_SEARCH)
    if data[:3] == b"ID3":
        return True
    for start in range(min(len(data), LARGEST_FRAME)):
        second = start + (_mp3_frame(data, start) or len(data))
        third = second + (_mp3_frame(data, second) or len(data))
        if _mp3_frame(data, third):
            return True
    return False


def _first_frame(file: BinaryIO) -> int:
    """Where the first MPEG frame begins, behind an ID3 tag and zeros; the end of the tag where none is found."""
    head = _head(file, 10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    file.seek(start)
    data = file.read(MP3_SEARCH)
    at = data.find(b"\xff")
    while at >= 0:
        if _mp3_frame(data, at):
            return start + at
        at = data.find(b"\xff", at + 1)
    return start


def _mp3_frame(data: bytes, at: int) -> int:
    """The length in bytes of the layer 3 frame whose header is at `at`; 0 where there is none."""
    header = data[at : at + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, rate, bits = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate == 3 or bits in (0, 15):
        return 0
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kbits = MP3_KBITS[1 if version == 3 else 2][bits]
    return (144 if version == 3 else 72) * kbits * 1000 // hertz + (header[2] >> 1 & 1)
