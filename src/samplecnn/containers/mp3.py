"""MPEG layer 3: frames, length tags, and streams that are joined in one file.

Frame headers: ISO 11172-3, 2.4.2.3. The tags Xing, Info and VBRI are a first frame without sound, written by encoders.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

SEARCH = 1 << 16  # bytes in which the first frame is searched for
BLOCK = 1 << 20  # bytes read at a time
MAX_FRAME_BYTES = 1441
KBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # for MPEG 1, and for MPEG 2 and 2.5
TAGS = (b"Xing", b"Info", b"VBRI")
MONO = 3  # value of the two bits of the channel mode
MIN_FRAMES = 3  # consecutive frames that identify the start of a stream in a damaged file


class Stream(NamedTuple):
    """Frames of one rate and number of channels: bytes from `start` to before `end`, `frames` with sound.

    A stream that is `tagged` begins with a tag that gives its length.
    """

    start: int
    end: int
    frames: int
    tagged: bool


def frame_length(data: bytes, at: int) -> int:
    """The length in bytes of the frame whose header is at `at`; 0 if there is none."""
    header = data[at : at + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, rate, bits = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate == 3 or bits in (0, 15):
        return 0
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kbits = KBITS[1 if version == 3 else 2][bits]
    return (144 if version == 3 else 72) * kbits * 1000 // hertz + (header[2] >> 1 & 1)


def samples_per_frame(header: bytes) -> int:
    return 1152 if header[1] >> 3 & 3 == 3 else 576


def first_frame(file: BinaryIO) -> int:
    """Where the first frame begins, after an ID3 tag and zeros; the end of the tag if no frame is found."""
    file.seek(0)
    start = id3_length(file.read(10))
    file.seek(start)
    data = file.read(SEARCH)
    at = data.find(b"\xff")
    while at >= 0:
        if frame_length(data, at):
            return start + at
        at = data.find(b"\xff", at + 1)
    return start


def has_frames(file: BinaryIO, at: int) -> bool:
    """Whether sound follows: three consecutive frames soon after byte `at`, or another ID3 tag exactly there."""
    file.seek(at)
    data = file.read(SEARCH)
    return data[:3] == b"ID3" or any(_is_start(data, start) for start in range(min(len(data), MAX_FRAME_BYTES)))


def tag_of(frame: bytes) -> bytes:
    """The name of the length tag in a frame; b"" if the frame contains sound."""
    at = 4 + _side_information(frame)
    return next((tag for tag in TAGS if tag in (frame[at : at + 4], frame[36:40])), b"")


def tagged_bytes(frame: bytes) -> int:
    """The length in bytes of the stream with its first frame, from that frame's tag; 0 if the tag does not give it."""
    tag = tag_of(frame)
    if tag == b"VBRI":
        return struct.unpack(">I", frame[46:50])[0] if len(frame) >= 50 else 0
    at = 4 + _side_information(frame)
    if not tag or len(frame) < at + 16:
        return 0
    flags = struct.unpack(">I", frame[at + 4 : at + 8])[0]
    offset = at + 8 + 4 * (flags & 1)
    return struct.unpack(">I", frame[offset : offset + 4])[0] if flags & 2 else 0


def length_tag(header: bytes, stream: Stream) -> bytes:
    """A first frame with a length tag for a stream without one, so that decoders need not estimate its length.

    Args:
        header: the first 4 bytes of the stream's first frame.
        stream: the stream, with its number of frames.
    """
    header = bytes([header[0], header[1] | 1, header[2] & 0x0D | 0xE0, header[3]])  # no checksum, largest bit rate
    frame = bytearray(frame_length(header, 0))
    at = 4 + _side_information(header)
    frame[:4] = header
    frame[at : at + 16] = b"Xing" + struct.pack(">III", 3, stream.frames, len(frame) + stream.end - stream.start)
    return bytes(frame)


def streams(file: BinaryIO, start: int) -> Iterator[Stream]:
    """The streams from byte `start` to the end of the file, found by parsing all frames.

    A stream ends where the rate or the number of channels changes, and where a frame with a length tag begins the next.
    Other data between frames, such as ID3 tags, belongs to the stream before it.
    """
    kind: tuple[int, int, bool] | None = None
    begin = end = frames = 0
    tagged = False
    for at, head in _frames(file, start):
        found = (head[1] >> 3 & 3, head[2] >> 2 & 3, head[3] >> 6 == MONO)
        tag = bool(tag_of(head))
        if tag or found != kind:
            if kind is not None:
                yield Stream(begin, at, frames, tagged)
            kind, begin, frames, tagged = found, at, 0, tag
        frames += not tag
        end = at + frame_length(head, 0)
    if kind is not None:
        yield Stream(begin, end, frames, tagged)


def _frames(file: BinaryIO, at: int) -> Iterator[tuple[int, bytes]]:
    """Offset and first bytes of every frame. Other data is skipped."""
    data, base = b"", at
    while True:
        if at + 2 * MAX_FRAME_BYTES + 64 > base + len(data):
            file.seek(at)
            data, base = file.read(BLOCK), at
            if len(data) < 4:
                return
        here = at - base
        length = frame_length(data, here)
        if length:
            if here + length > len(data):
                return  # cut short
            yield at, data[here : here + 64]
            at += length
            continue
        skipped = id3_length(data[here : here + 10])
        if not skipped:
            found = data.find(b"\xff", here + 1)
            while found >= 0 and not _is_start(data, found):
                found = data.find(b"\xff", found + 1)
            # The last bytes of a block are searched again together with those that follow.
            skipped = found - here if found >= 0 else max(len(data) - here - MIN_FRAMES * MAX_FRAME_BYTES, 0)
            if not skipped:
                return
        at += skipped


def _is_start(data: bytes, at: int) -> bool:
    """Whether MIN_FRAMES consecutive frames begin at `at`."""
    for _ in range(MIN_FRAMES):
        length = frame_length(data, at)
        if not length:
            return False
        at += length
    return True


def id3_length(head: bytes) -> int:
    """Bytes of the ID3v2 tag that begins with `head` (10 bytes); 0 if there is none."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])


def _side_information(header: bytes) -> int:
    """Bytes between a frame's header and its sound; a tag is placed after them."""
    mono = header[3] >> 6 == MONO
    return (17 if mono else 32) if header[1] >> 3 & 3 == 3 else (9 if mono else 17)
