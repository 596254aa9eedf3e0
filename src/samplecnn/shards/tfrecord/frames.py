"""TFRecord files as the original writes them: their names, the frame of a record, and the writer.

A record is its length (uint64), a checksum of that, the data, a checksum of those; all little-endian. The checksum is
the masked CRC-32C (tensorflow/core/lib/io/record_writer.h). The data are described in `wire`.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import crc32c
import numpy as np

from samplecnn.audio import from_int16
from samplecnn.shards.tfrecord.wire import Span, clip_example, segment_example
from samplecnn.task import Task

VERSION = "tfrecord 1"
HEAD, TAIL = struct.Struct("<QI"), struct.Struct("<I")
FRAME = HEAD.size + TAIL.size  # bytes around the data


def shard_name(split: str, number: int, count: int) -> str:
    """The original's file name of shard `number` (from 1) of `count`."""
    return f"{split}-{number:04d}-{count:04d}.tfrecord"


def masked_crc(data: Any) -> int:
    """TFRecord's checksum: CRC-32C, rotated and shifted so that data may contain checksums themselves."""
    crc = crc32c.crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """A record of these data."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, TAIL.pack(masked_crc(length)), data, TAIL.pack(masked_crc(data))))


class TFRecordWriter:
    """Writes one shard: an Example for every segment, or, with `whole_clips`, a SequenceExample for every clip.

    The samples are those of the Arrow shards, int16 / 32768, as float32. Use as a context manager.
    """

    def __init__(self, path: str | Path, task: Task, whole_clips: bool) -> None:
        self.path, self.task, self.whole_clips = Path(path), task, whole_clips

    def add(self, id: str, labels: Sequence[int], segments: np.ndarray) -> None:
        """Adds a clip: indices of its classes, and its segments, int16 [n, window]. The format has no field for ids."""
        row = np.zeros(self.task.num_classes, np.uint8)
        row[list(labels)] = 1
        if self.whole_clips:
            self.file.write(frame(clip_example(row.tobytes(), [_floats(segment) for segment in segments])))
            return
        for segment in segments:
            self.file.write(frame(segment_example(row.tobytes(), _floats(segment))))

    def __enter__(self) -> "TFRecordWriter":
        self.file = self.path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


def _floats(segment: np.ndarray) -> bytes:
    return from_int16(segment).astype("<f4").tobytes()


class Record(NamedTuple):
    """A record's number in its file, from 0, the offset of its frame (bytes), and the span of its data."""

    number: int
    offset: int
    data: Span


class Damage(NamedTuple):
    """What is wrong with the record that starts at byte `offset`; `lost` bytes from there on cannot be used."""

    offset: int
    what: str
    lost: int


def records(buffer: Any) -> Iterator[Record | Damage]:
    """The records of a whole file, found by their headers, whose checksums are checked; the data are not touched.

    After a damaged header the next record is searched where the header points, then where it would be if this record
    were as long as the one before; if it is at neither offset, the rest of the file is lost.
    """
    size, at, number, before = len(buffer), 0, 0, 0
    while at < size:
        trouble, length = _header(buffer, at, size)
        if not trouble:
            yield Record(number, at, Span(at + HEAD.size, at + HEAD.size + length))
            before, at = length, at + FRAME + length
        else:
            places = [at + FRAME + guess for guess in (length, before) if guess]
            after = next((place for place in places if place < size and not _header(buffer, place, size)[0]), size)
            yield Damage(at, trouble, after - at)
            at = after
        number += 1


def _header(buffer: Any, at: int, size: int) -> tuple[str, int]:
    """What is wrong with the header at `at`, or "", and the length of the data that it gives."""
    if size - at < FRAME:
        return "the file is cut off", 0
    length, crc = HEAD.unpack_from(buffer, at)
    if masked_crc(buffer[at : at + 8]) != crc:
        return "the checksum of its length is wrong", length
    if length > size - at - FRAME:
        return "the file is cut off", 0
    return "", length


def is_sound(buffer: Any, start: int, end: int) -> bool:
    """Whether a record's data, buffer[start:end], match the checksum that follows them."""
    (crc,) = TAIL.unpack_from(buffer, end)
    return masked_crc(memoryview(buffer)[start:end]) == crc
