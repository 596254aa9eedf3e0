"""Messages between a program and its worker processes.

A message is a frame: two uint64 (little-endian), the lengths of a JSON text in UTF-8 and of raw bytes, then both.
"""

import json
import struct
import traceback
from typing import IO, Any, NamedTuple

from samplecnn import errors
from samplecnn.errors import SampleCNNError

FRAME = struct.Struct("<QQ")


class Message(NamedTuple):
    """The content of a frame: a JSON-serialisable value, and raw bytes."""

    value: Any
    data: bytes = b""


def write(file: IO[bytes], value: Any, data: bytes) -> None:
    head = json.dumps(value).encode()
    file.write(FRAME.pack(len(head), memoryview(data).nbytes) + head)
    file.write(data)
    file.flush()


def read(file: IO[bytes]) -> Message | None:
    """The next frame; None at the end of the stream, or for an invalid frame."""
    try:
        lengths = FRAME.unpack(file.read(FRAME.size))
        head, data = (file.read(length) for length in lengths)
        if (len(head), len(data)) != lengths:
            return None
        return Message(json.loads(head), data)
    except (struct.error, ValueError, OverflowError, MemoryError, RecursionError, OSError):
        return None


def received(file: IO[bytes]) -> tuple[str, Message] | None:
    """The next answer and its kind; None as for `read`."""
    message = read(file)
    if message is None or not isinstance(message.value, list) or len(message.value) != 2:
        return None
    kind, value = message.value
    return kind, Message(value, message.data)


def to_data(error: BaseException) -> dict[str, Any]:
    """An exception as data; `exception` is the inverse."""
    filename = getattr(error, "filename", None)
    return {
        "type": type(error).__name__ if isinstance(error, SampleCNNError | MemoryError) else "",
        "text": str(error),
        "system": isinstance(error, OSError),
        "errno": getattr(error, "errno", None),
        "strerror": getattr(error, "strerror", None),
        "filename": filename if isinstance(filename, str) else None,
        "trace": traceback.format_exc(),
    }


def exception(described: dict[str, Any]) -> Exception:
    if described["type"] == "MemoryError":
        return MemoryError(described["text"])
    if described["type"]:
        return getattr(errors, described["type"], SampleCNNError)(described["text"])
    if described["system"] and described["errno"] is not None:
        return OSError(described["errno"], described["strerror"], described["filename"])
    if described["system"]:
        return OSError(described["text"])
    return RuntimeError(f"a bug in a worker process:\n{described['trace']}")
