"""Parser and writer of the two Protocol Buffers messages in the original's TFRecords.

`Example` {label: bytes, segment: bytes} is one segment, `SequenceExample` {context: label, feature list: segments} all
segments of a clip; labels are uint8 [classes], segments float32 [window] (the original's lib/data/audio.py). The
authors' code of 2018 uses the names raw_labels, raw_segment, raw_segments. Messages are parsed in place: the result is
offsets of the values in the file, and lengths in the file never determine an allocation.

The wire format is described at https://protobuf.dev/programming-guides/encoding, the messages in TensorFlow's
example.proto and feature.proto.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

LABEL = {b"label", b"raw_labels"}
SEGMENT = {b"segment", b"raw_segment"}
SEGMENTS = {b"segments", b"raw_segments"}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
KINDS = {1: "bytes", 2: "floats", 3: "integers"}  # fields of the message Feature
MAX_CACHED_SEGMENTS = 2000  # segments of a message whose layout is cached; more than any clip has
MAX_NAME_BYTES = 100  # longer feature names are ignored


class Span(NamedTuple):
    """Bytes of a buffer from `start` up to, excluding, `end`."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


class Clip(NamedTuple):
    """The spans of a record's label and segments; `whole`: a SequenceExample, with all segments of a clip."""

    label: Span
    segments: list[Span]
    whole: bool


def segment_example(label: bytes, segment: bytes) -> bytes:
    """An Example of one segment."""
    features = _entry(b"label", _bytes_feature(label)) + _entry(b"segment", _bytes_feature(segment))
    return _field(1, features)


def clip_example(label: bytes, segments: list[bytes]) -> bytes:
    """A SequenceExample of all segments of a clip."""
    listed = b"".join(_field(1, _bytes_feature(segment)) for segment in segments)
    return _field(1, _entry(b"label", _bytes_feature(label))) + _field(2, _entry(b"segments", listed))


def parse(buffer: Any, start: int, end: int) -> Clip:
    """Finds the label and the segments in the message buffer[start:end].

    Raises:
        ValueError: not one of the two messages, or a feature that is missing or has another type.
    """
    fields = list(_fields(buffer, Span(start, end)))
    whole = any(number == 2 for number, _ in fields)
    features: dict[bytes, Span] = {}
    lists: dict[bytes, Span] = {}
    for number, span in fields:
        if number in (1, 2):
            _add_entries(buffer, span, features if number == 1 else lists)
    label = _bytes_of(buffer, "label", _one(features, LABEL, "label"))
    if not whole:
        return Clip(label, [_bytes_of(buffer, "segment", _one(features, SEGMENT, "segment"))], whole)
    listed = _one(lists, SEGMENTS, "segments")
    spans = [_bytes_of(buffer, "segments", feature) for number, feature in _fields(buffer, listed) if number == 1]
    if not spans:
        raise ValueError("its feature list 'segments' is empty")
    if any(span.length != spans[0].length for span in spans):
        raise ValueError("its segments differ in length")
    return Clip(label, spans, whole)


class Parser:
    """`parse` with a cached layout: if the bytes between the values equal those of the previous message, its offsets
    are reused. The records of a data set have the same layout, so few are parsed in full.
    """

    def __init__(self) -> None:
        self.length = -1
        self.gaps: list[tuple[int, int, bytes]] = []  # (start, end, content) between the values
        self.clip: Clip | None = None  # offsets relative to the message's start

    def __call__(self, buffer: Any, start: int, end: int) -> Clip:
        if self.clip is None or end - start != self.length or not self._has_cached_layout(buffer, start):
            found = parse(buffer, start, end)
            if len(found.segments) > MAX_CACHED_SEGMENTS:
                return found
            self.length, self.clip = end - start, _moved(found, -start)
            spans = sorted([self.clip.label, *self.clip.segments])
            edges = [0, *(edge for span in spans for edge in span), self.length]
            pairs = zip(edges[::2], edges[1::2], strict=True)
            self.gaps = [(a, b, bytes(buffer[start + a : start + b])) for a, b in pairs]
        return _moved(self.clip, start)

    def _has_cached_layout(self, buffer: Any, start: int) -> bool:
        return all(buffer[start + a : start + b] == content for a, b, content in self.gaps)


def _moved(clip: Clip, by: int) -> Clip:
    segments = [Span(start + by, end + by) for start, end in clip.segments]
    return Clip(Span(clip.label.start + by, clip.label.end + by), segments, clip.whole)


def _one(found: dict[bytes, Span], names: set[bytes], wanted: str) -> Span:
    spans = [span for name, span in found.items() if name in names]
    if len(spans) == 1:
        return spans[0]
    there = ", ".join(repr(name.decode(errors="replace")) for name in list(found)[:5]) or "none"
    raise ValueError(f"it has no feature {wanted!r} (found: {there})")


def _add_entries(buffer: Any, span: Span, found: dict[bytes, Span]) -> None:
    """Adds the entries of a map from names to messages."""
    for number, entry in _fields(buffer, span):
        if number != 1:
            continue
        values = dict(_fields(buffer, entry))
        name = values.get(1, Span(0, 0))
        if name.length <= MAX_NAME_BYTES:
            found[bytes(buffer[name.start : name.end])] = values.get(2, Span(0, 0))


def _bytes_of(buffer: Any, name: str, feature: Span) -> Span:
    """The single value of a Feature of bytes."""
    for number, span in _fields(buffer, feature):
        if number != 1:
            raise ValueError(f"its feature {name!r} contains {KINDS.get(number, 'another type')}, not bytes")
        values = [value for inner, value in _fields(buffer, span) if inner == 1]
        if len(values) == 1:
            return values[0]
        raise ValueError(f"its feature {name!r} contains {len(values)} values, not one")
    raise ValueError(f"its feature {name!r} is empty")


def _fields(buffer: Any, span: Span) -> Iterator[tuple[int, Span]]:
    """(field number, span of the value) of each length-delimited field of a message; other fields are skipped."""
    at, end = span
    while at < end:
        tag, at = _varint(buffer, at, end)
        kind = tag & 7
        if kind == BYTES:
            length, at = _varint(buffer, at, end)
            if length > end - at:
                raise ValueError("incomplete message: a field extends beyond its end")
            yield tag >> 3, Span(at, at + length)
            at += length
        elif kind == VARINT:
            _, at = _varint(buffer, at, end)
        elif kind in (FIXED32, FIXED64):
            at += 8 if kind == FIXED64 else 4
            if at > end:
                raise ValueError("incomplete message: a field extends beyond its end")
        else:
            raise ValueError("not a tf.train.Example")


def _varint(buffer: Any, at: int, end: int) -> tuple[int, int]:
    """A varint (groups of seven bits, the lowest first), and the offset after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = buffer[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("incomplete message: a number extends beyond its end")


def _entry(name: bytes, value: bytes) -> bytes:
    """An entry of a map."""
    return _field(1, _field(1, name) + _field(2, value))


def _bytes_feature(value: bytes) -> bytes:
    return _field(1, _field(1, value))


def _field(number: int, value: bytes) -> bytes:
    length, prefix = len(value), bytearray([number << 3 | BYTES])
    while length > 127:
        prefix.append(length & 127 | 128)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + value
