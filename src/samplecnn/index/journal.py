"""The journal of an update: every recording is appended as soon as it is tagged, and survives a kill at any moment.

A frame is a header (`FRAME`: a mark, the lengths of JSON and of raw bytes, CRC-32 of both) and these two. Reading stops
at the first frame that is cut off or damaged. When the journal has grown to a part's size, its recordings become a part
of the index (`parts`) and a new journal begins.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from samplecnn import parsing
from samplecnn.errors import SampleCNNError
from samplecnn.index.entry import ENTRY_RULE, VALUES, Entry
from samplecnn.index.packing import record_type

FRAME = struct.Struct("<4sIQI")
MARK = b"REC1"


class Journal:
    """Open for appending. A context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[bytes] = path.open("wb")
        self.size = 0  # bytes that were written

    def add(self, entry: Entry) -> None:
        values, arrays = entry.to_values(), [entry.scores, entry.starts, entry.over_time, entry.embeddings]
        raw = b"".join(array.tobytes() for array in arrays if array is not None)
        head = json.dumps(values).encode()
        frame = FRAME.pack(MARK, len(head), len(raw), zlib.crc32(raw, zlib.crc32(head))) + head + raw
        self.file.write(frame)
        self.file.flush()
        self.size += len(frame)

    def close(self) -> None:
        self.file.close()


def read_journal(path: Path, classes: int, size: int) -> Iterator[Entry]:
    """The recordings in a journal, up to the first one that is incomplete.

    Args:
        path: of the journal.
        classes: of the model.
        size: values of an embedding.
    """
    with path.open("rb") as file:
        while True:
            frame = file.read(FRAME.size)
            if len(frame) < FRAME.size:
                return
            mark, head_length, raw_length, crc = FRAME.unpack(frame)
            left = path.stat().st_size - file.tell()
            if mark != MARK or head_length + raw_length > left:
                return
            head, raw = file.read(head_length), file.read(raw_length)
            if zlib.crc32(raw, zlib.crc32(head)) != crc:
                return
            entry = _entry(head, raw, classes, size)
            if entry is None:
                return
            yield entry


def _entry(head: bytes, raw: bytes, classes: int, size: int) -> Entry | None:
    try:
        found: dict[str, Any] = json.loads(head)
        parsing.check(found, ENTRY_RULE, "", "")
    except (ValueError, RecursionError, SampleCNNError):
        return None
    values = {name: found[name] for name in VALUES}  # a later version may write more
    if values["error"] is not None:
        return Entry(**values)
    windows, records = values["windows"], record_type(size)
    lengths = [4 * classes, 8 * windows, 4 * windows * classes, windows * records.itemsize]
    if sum(lengths) != len(raw):
        return None
    kinds: list[Any] = [np.dtype("<f4"), np.dtype("<i8"), np.dtype("<f4"), records]
    arrays, at = [], 0
    for length, kind in zip(lengths, kinds, strict=True):
        arrays.append(np.frombuffer(raw[at : at + length], kind))
        at += length
    scores, starts, over_time, embeddings = arrays
    return Entry(
        **values, scores=scores, starts=starts, over_time=over_time.reshape(windows, classes), embeddings=embeddings
    )
