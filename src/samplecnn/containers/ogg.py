"""Ogg (RFC 3533): pages, and the streams that are chained in one file."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

LARGEST_PAGE = 65307  # bytes
HEAD = 27  # bytes of a page before its table of lengths
MAGIC = b"OggS"
CUT = "cut short: its last page is not complete"
FIRST_PAGE = 2  # flag of the first page of a stream
SLACK_SECONDS = 0.1  # decoders drop packets at the ends
LATE = 2.0  # lengths of a page; a first page that ends later does not begin at 0
OPUS_RATE = 48000  # Hz in which Opus counts time (RFC 7845), whatever the rate of its sound


class Link(NamedTuple):
    """One link of a chain: bytes from `start` to before `end`, which is the end of its last whole page.

    `samples` are in it, at `rate` Hz (0: that of its sound), by the times on its pages; `cut` says that a page follows
    which is not whole.
    """

    start: int
    end: int
    samples: int
    rate: int
    cut: bool


def links(file: BinaryIO, size: int) -> list[Link]:
    """The links of a chained file, in order; one for a file that is not chained. Only the heads of pages are read."""
    found: list[Link] = []
    start = end = streams = rate = 0  # streams: their number in this link
    sounding = False  # whether pages have followed that are not the first of a stream
    times: list[int] = []  # of the first two pages and the last one
    cut = False
    for at, stop, flags, time, codec in _pages(file, size):
        if stop > size:
            cut = True
            break
        if flags & FIRST_PAGE:
            if sounding:
                found.append(Link(start, end, _samples(streams, times), rate, cut=False))
            if sounding or not end:
                start, streams, rate, sounding, times = at, 0, 0, False, []
            streams += 1
            rate = OPUS_RATE if codec == b"OpusHead" else rate
        else:
            sounding = True
            if time > 0:  # 0 on pages of headers, -1 where no packet ends
                times[2:] = [time]
        end = stop
    return [*found, Link(start, end, _samples(streams, times), rate, cut)] if end else found


def incomplete(link: Link, frames: int, rate: int) -> str:
    """Why a link of which `frames` at `rate` Hz were decoded is not complete; "" where it is."""
    if link.cut:
        return CUT
    if frames / rate < link.samples / (link.rate or rate) - SLACK_SECONDS:
        return f"damaged: {frames / rate:.1f} of {link.samples / (link.rate or rate):.1f} s can be decoded"
    return ""


def last_page(file: BinaryIO, link: Link) -> bytes:
    """The page that is cut off behind a link, with the packets of it that are whole; b"" where there are none."""
    file.seek(link.end)
    data = file.read(LARGEST_PAGE)
    if len(data) < HEAD or len(data) < HEAD + data[26]:
        return b""
    lengths = data[HEAD : HEAD + data[26]]
    room = len(data) - HEAD - len(lengths)
    whole = there = 0
    for number, length in enumerate(lengths, 1):
        there += length
        if there > room:
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
    """Samples by the times of the first, second and last page, each of which is that of its end.

    A stream that was recorded from its middle on begins late; then those of its first page are not counted. 0 where a
    link holds several streams (a video), whose times differ in their units.
    """
    if streams != 1 or len(times) < 2:
        return 0
    begins_late = times[0] > LATE * (times[1] - times[0])
    return times[-1] - (times[0] if begins_late else 0)


def _pages(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Start, end, flags, time and first 8 bytes of every page. What lies between pages is stepped over."""
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
        data = file.read(LARGEST_PAGE)
        found = data.find(MAGIC)
        if found >= 0:
            return at + found
        at += max(len(data) - len(MAGIC) + 1, 1)
    return size
