"""Ogg (RFC 3533): pages, and streams chained in one file."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MAX_PAGE_BYTES = 65307
HEAD = 27  # bytes of a page before its segment table
MAGIC = b"OggS"
CUT = "cut short: its last page is not complete"
FIRST_PAGE = 2  # flag of the first page of a stream
SLACK_SECONDS = 0.1  # decoders drop packets at the ends
MAX_FIRST_PAGES = 2.0  # lengths of a page; if the first page ends later, the stream does not begin at time 0
OPUS_RATE = 48000  # Hz, the unit of time in Opus (RFC 7845), whatever the rate of its input


class Link(NamedTuple):
    """One link of a chain: bytes from `start` to before `end`, the end of its last complete page.

    `samples` is its length at `rate` Hz (0: the decoded rate), from the times on its pages; `cut`: an incomplete page
    follows.
    """

    start: int
    end: int
    samples: int
    rate: int
    cut: bool


def links(file: BinaryIO, size: int) -> list[Link]:
    """The links of a chained file, in order; one for a file that is not chained. Only page headers are read."""
    found: list[Link] = []
    start = end = streams = rate = 0  # streams: number of logical streams in this link
    has_sound = False  # whether a page has followed that is not the first of its stream
    times: list[int] = []  # of the first two pages and the last one
    cut = False
    for at, stop, flags, time, codec in _pages(file, size):
        if stop > size:
            cut = True
            break
        if flags & FIRST_PAGE:
            if has_sound:
                found.append(Link(start, end, _samples(streams, times), rate, cut=False))
            if has_sound or not end:
                start, streams, rate, has_sound, times = at, 0, 0, False, []
            streams += 1
            rate = OPUS_RATE if codec == b"OpusHead" else rate
        else:
            has_sound = True
            if time > 0:  # 0 on pages of headers, -1 where no packet ends
                times[2:] = [time]
        end = stop
    return [*found, Link(start, end, _samples(streams, times), rate, cut)] if end else found


def incomplete(link: Link, frames: int, rate: int) -> str:
    """Why a link of which `frames` at `rate` Hz were decoded is incomplete; "" if it is complete."""
    if link.cut:
        return CUT
    if frames / rate < link.samples / (link.rate or rate) - SLACK_SECONDS:
        return f"damaged: {frames / rate:.1f} of {link.samples / (link.rate or rate):.1f} s can be decoded"
    return ""


def last_page(file: BinaryIO, link: Link) -> bytes:
    """The truncated page after a link, reduced to its complete packets; b"" if there are none."""
    file.seek(link.end)
    data = file.read(MAX_PAGE_BYTES)
    if len(data) < HEAD or len(data) < HEAD + data[26]:
        return b""
    lengths = data[HEAD : HEAD + data[26]]
    available = len(data) - HEAD - len(lengths)
    whole = used = 0
    for number, length in enumerate(lengths, 1):
        used += length
        if used > available:
            break
        if length < 255:  # a packet ends here
            whole = number
    if not whole:
        return b""
    body = data[HEAD + len(lengths) :][: sum(lengths[:whole])]
    page = bytearray(data[:22] + bytes(4) + bytes([whole]) + lengths[:whole] + body)
    page[22:26] = struct.pack("<I", _checksum(page))
    return bytes(page)


def _checksum(page: bytes | bytearray) -> int:
    """CRC-32 of polynomial 0x04C11DB7, not reflected, from 0."""
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if value & 0x80000000 else value << 1
        table.append(value)
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ table[crc >> 24 ^ byte]
    return crc


def _samples(streams: int, times: list[int]) -> int:
    """Samples from the times of the first, second and last page; the time of a page is that of its end.

    A stream recorded from its middle does not begin at time 0; its first page is then not counted. 0 if a link contains
    several streams (a video), whose times have different units.
    """
    if streams != 1 or len(times) < 2:
        return 0
    begins_late = times[0] > MAX_FIRST_PAGES * (times[1] - times[0])
    return times[-1] - (times[0] if begins_late else 0)


def _pages(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Start, end, flags, time and first 8 bytes of every page. Data between pages is skipped."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(HEAD + 255 + 8)
        if head[:4] != MAGIC:
            at = _next_page(file, at + 1, size)
            continue
        if len(head) < HEAD:
            yield at, size + 1, 0, 0, b""
            return
        count = head[26]
        lengths = head[HEAD : HEAD + count]
        end = at + HEAD + count + sum(lengths)
        if len(lengths) < count:
            end = size + 1
        yield at, end, head[5], struct.unpack("<q", head[6:14])[0], head[HEAD + count : HEAD + count + 8]
        at = end


def _next_page(file: BinaryIO, at: int, size: int) -> int:
    """Where the next page begins, or `size`."""
    while at < size:
        file.seek(at)
        data = file.read(MAX_PAGE_BYTES)
        found = data.find(MAGIC)
        if found >= 0:
            return at + found
        at += max(len(data) - len(MAGIC) + 1, 1)
    return size
