"""Several recordings joined into one file, one after the other: the byte range of each.

Chaining is part of the Ogg format, and radio streams are recorded that way; mp3, flac, wav and aiff files are joined by
programs that concatenate bytes. Decoders read only the first recording, or none.
"""

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO

from samplecnn.containers import mp3, ogg
from samplecnn.containers.splice import Pieces

FLAC_START = b"fLaC\0\0\0\x22"  # with the header of the first metadata block, whose length is fixed
FLAC_READ_AHEAD = 1 << 16  # bytes that the decoder may have read past the end of a stream


def later_parts(file: BinaryIO, kind: str, size: int, end: int, links: list[ogg.Link]) -> Iterator[Pieces]:
    """The recordings after the first one.

    Args:
        file: the open file; its position changes.
        kind: libsndfile's name of the first one's format.
        size: bytes of the file.
        end: the byte up to which the first one was read.
        links: the links of an Ogg file.
    """
    if kind == "OGG":
        yield from ((range(link.start, size if link.cut else link.end),) for link in links[1:])
    elif kind == "MP3":
        yield from _mp3(file, size, end)
    elif kind == "FLAC":
        yield from _flac(file, size, end)
    elif kind in ("WAV", "WAVEX", "AIFF"):
        yield from _chunked(file, size)


def first_part(file: BinaryIO, size: int) -> Pieces | None:
    """The first recording of a file that libsndfile refuses because another one follows; None for other files."""
    end = _chunked_end(file, 0)
    return (range(end),) if end and _chunked_end(file, end) and end < size else None


def whole_stream(file: BinaryIO, at: int) -> tuple[Pieces, int] | None:
    """An mp3 stream without length tag whose decoder stopped at byte `at` although frames follow, with a tag.

    The decoder had estimated the length. Also returns the length in samples. None if no frames follow, or if the stream
    has a tag.
    """
    start = mp3.first_frame(file)
    file.seek(start)
    head = file.read(64)
    if mp3.tag_of(head) or not mp3.has_frames(file, at):
        return None
    found = next(mp3.streams(file, start), None)
    return None if found is None else (_tagged(file, found), found.frames * mp3.samples_per_frame(head))


def _mp3(file: BinaryIO, size: int, end: int) -> Iterator[Pieces]:
    start = mp3.first_frame(file)
    file.seek(start)
    head = file.read(64)
    if not mp3.tag_of(head):  # the decoder reads on until the format changes
        if not mp3.has_frames(file, end):
            return
        found = list(mp3.streams(file, start))[1:]
    else:
        length = mp3.tagged_bytes(head)
        end = start + length if length else end
        if not 0 < end < size - mp3.SEARCH // 64 or not mp3.has_frames(file, end):
            return
        found = list(mp3.streams(file, end))
    yield from (_tagged(file, stream) for stream in found if stream.frames)


def _tagged(file: BinaryIO, stream: mp3.Stream) -> Pieces:
    content = range(stream.start, stream.end)
    if stream.tagged:
        return (content,)
    file.seek(stream.start)
    return (mp3.length_tag(file.read(4), stream), content)


def _flac(file: BinaryIO, size: int, end: int) -> Iterator[Pieces]:
    starts: list[int] = []
    file.seek(0)
    at = max(end - FLAC_READ_AHEAD, mp3.id3_length(file.read(10)) + len(FLAC_START))
    while at < size:
        file.seek(at)
        data = file.read(mp3.BLOCK)
        found = data.find(FLAC_START)
        while found >= 0:
            starts.append(at + found)
            found = data.find(FLAC_START, found + 1)
        at += max(len(data) - len(FLAC_START) + 1, 1)
    yield from ((range(start, stop),) for start, stop in pairwise([*starts, size]))


def _chunked(file: BinaryIO, size: int) -> Iterator[Pieces]:
    at = _chunked_end(file, 0)
    while 0 < at < size and (stop := _chunked_end(file, at)):
        last = stop >= size or not _chunked_end(file, stop)
        yield (range(at, size if last else stop),)
        at = stop


def _chunked_end(file: BinaryIO, at: int) -> int:
    """Where the wav or aiff file that begins at `at` ends, according to its header; 0 if there is none."""
    file.seek(at)
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        length = struct.unpack("<I", head[4:8])[0]
    elif (head[:4] == b"RIFX" and head[8:] == b"WAVE") or (head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC")):
        length = struct.unpack(">I", head[4:8])[0]
    else:
        return 0
    return at + 8 + length + length % 2
