"""Is a recording's end missing? What the containers' own headers promise, held against what is there.

libsndfile plays what it finds: of a wav or mp3 whose download broke off it gives the first part without a word. It only
complains of flac.
"""

import io
import struct
from typing import BinaryIO

SLOPPY_BYTES = 64  # some writers count the header into the data size; so few missing bytes are no damage
MP3_SLACK = 3 * 1152  # samples: an encoder's delay and padding, which decoders trim each in their way
LARGEST_OGG_PAGE = 65307  # bytes (RFC 3533)


def cut_short(file: BinaryIO, kind: str, size: int, frames: int, promised: int) -> str:
    """Why the recording counts as cut short, or "" where it is whole or nothing tells.

    Args:
        file: the open recording; it is read and left anywhere.
        kind: libsndfile's name of the format ("WAV", "FLAC", ...).
        size: bytes of the file.
        frames: frames that were decoded, all that there are.
        promised: frames that libsndfile announced.

    Streams that were written without knowing their length (a data size of 0xFFFFFFFF and the like) are whole. An mp3
    without a length tag and formats not named here cannot tell.
    """
    if kind in ("WAV", "WAVEX", "RF64"):
        missing = _data_end(file, size, b"data", "<") - size
    elif kind == "AIFF":
        missing = _data_end(file, size, b"SSND", ">") - size
    elif kind == "FLAC":
        unknown = promised > 1 << 62
        return "" if unknown or frames >= promised else f"cut short: {frames:,} of {promised:,} samples are there"
    elif kind == "MP3":
        tagged = any(tag in _head(file, 1 << 16) for tag in (b"Xing", b"Info", b"VBRI"))
        short = tagged and frames < promised - MP3_SLACK  # without a tag the promise is a guess from the first frame
        return f"cut short: {frames:,} of {promised:,} samples are there" if short else ""
    elif kind == "OGG":
        return "" if _ogg_is_whole(file, size) else "cut short: its last page carries no end mark"
    else:
        return ""
    return f"cut short: {missing:,} of the bytes that its header promises are missing" if missing > SLOPPY_BYTES else ""


def _head(file: BinaryIO, count: int) -> bytes:
    file.seek(0)
    return file.read(count)


def _data_end(file: BinaryIO, size: int, wanted: bytes, order: str) -> int:
    """Where the chunk of sound should end, in bytes from the start; 0 where its length is open or it is not found."""
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
                return at + 8 + long_size
            # Writers to a pipe give 0xFFFFFFFF, 0x7FFFFFFF or a round number just below; none is a length.
            return 0 if length & 0x7FFFFFFF >= 0x7FFFF000 else at + 8 + length
        at += 8 + length + length % 2
    return 0


def _ogg_is_whole(file: BinaryIO, size: int) -> bool:
    """Whether the last Ogg page is marked as the end of its stream and all of it is there."""
    file.seek(max(size - 2 * LARGEST_OGG_PAGE, 0), io.SEEK_SET)
    tail = file.read(2 * LARGEST_OGG_PAGE)
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return False
    segments = tail[at + 26]
    lengths = tail[at + 27 : at + 27 + segments]
    return bool(tail[at + 5] & 4) and len(lengths) == segments and at + 27 + segments + sum(lengths) <= len(tail)
