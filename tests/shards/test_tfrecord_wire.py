"""Protocol Buffers messages, parsed in place: the original's, samplecnn's, and invalid bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplecnn.shards.tfrecord.frames import HEAD, Record, is_intact, records
from samplecnn.shards.tfrecord.wire import Parser, Span, clip_example, parse, segment_example


@pytest.mark.parametrize("name", ["scd-train", "scd-test", "scd-short-clips", "mtt-test"])
def test_the_originals_records_are_found_and_written_to_the_same_bytes(shared, name):
    whole = (shared / "interop" / "tfrecord" / f"{name}.tfrecord").read_bytes()
    found = list(records(whole))
    assert all(isinstance(record, Record) and is_intact(whole, *record.data) for record in found)
    for record in found:
        clip = parse(whole, *record.data)
        label, *segments = (whole[span.start : span.end] for span in (clip.label, *clip.segments))
        assert clip.whole == ("test" in name)
        again = clip_example(label, segments) if clip.whole else segment_example(label, *segments)
        assert again == whole[record.data.start : record.data.end]


@given(label=st.binary(max_size=300), segments=st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=40))
def test_written_messages_are_parsed(label, segments):
    data = b"before" + clip_example(label, segments) + b"after"
    clip = parse(data, 6, len(data) - 5)
    assert clip.whole and data[clip.label.start : clip.label.end] == label
    assert [data[span.start : span.end] for span in clip.segments] == segments
    one = segment_example(label, segments[0])
    clip = parse(one, 0, len(one))
    assert not clip.whole and [one[span.start : span.end] for span in clip.segments] == segments[:1]


@given(st.lists(st.tuples(st.binary(max_size=3), st.lists(st.sampled_from([b"abc", b"defg"]), min_size=1, max_size=3))))
def test_the_cached_layout_gives_the_same_result(clips):
    """Messages with the same layout, and some that differ only in a length, an order or a name."""
    remembering = Parser()
    for label, segments in clips:
        messages = [clip_example(label, segments), segment_example(label, segments[0])]
        messages += [messages[1].replace(b"label", b"lable"), messages[0].replace(b"segments", b"segmemts")]
        for data in messages:
            try:
                expected = parse(b"x" + data, 1, 1 + len(data))
            except ValueError:
                with pytest.raises(ValueError):
                    remembering(b"x" + data, 1, 1 + len(data))
            else:
                assert remembering(b"x" + data, 1, 1 + len(data)) == expected


def feature(name: bytes, kind: int, value: bytes) -> bytes:
    """An entry of a map with a Feature of that kind (1 bytes, 2 floats, 3 integers), in another layout than the
    writer's.
    """

    def part(number: int, content: bytes) -> bytes:
        assert len(content) < 128
        return struct.pack("BB", number << 3 | 2, len(content)) + content

    return part(1, part(1, name) + part(2, part(kind, part(1, value))))


def example(*features: bytes) -> bytes:
    content = b"".join(features)
    return struct.pack("BB", 10, len(content)) + content


def test_order_other_features_and_the_names_of_2018():
    data = example(
        feature(b"raw_segment", 1, b"abcd"), feature(b"path", 1, b"x.mp3"), feature(b"raw_labels", 1, b"\0\1")
    )
    clip = parse(data, 0, len(data))
    assert data[slice(*clip.segments[0])] == b"abcd" and data[slice(*clip.label)] == b"\0\1"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (example(feature(b"label", 1, b"\1")), "no feature 'segment' .found: 'label'"),
        (example(feature(b"segment", 1, b"abcd")), "no feature 'label'"),
        (example(feature(b"label", 3, b"\1"), feature(b"segment", 1, b"abcd")), "'label' contains integers, not bytes"),
        (example(feature(b"label", 1, b"\1"), feature(b"segment", 2, b"abcd")), "'segment' contains floats, not bytes"),
        (b"", "no feature 'label' .found: none"),
        (b"\x0a\x7fabc", "extends beyond its end"),
        (b"\x0a\xff", "extends beyond its end"),
        (b"\xff" * 30, "beyond its end|Example"),
        (b"RIFF0000WAVEfmt ", "beyond its end|Example"),
        (clip_example(b"\1", [b"abcd", b"abcdefgh"]), "differ in length"),
        (clip_example(b"\1", []), "empty"),
    ],
)
def test_invalid_messages_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        parse(data, 0, len(data))


@given(st.binary(max_size=200))
def test_spans_of_arbitrary_bytes_are_within_bounds(data):
    try:
        clip = parse(data, 0, len(data))
    except ValueError:
        return
    assert all(0 <= span.start <= span.end <= len(data) for span in (clip.label, *clip.segments))


@given(st.data())
def test_spans_of_damaged_messages_are_within_bounds(data):
    message = bytearray(clip_example(b"\0\1\0", [b"abcd" * 5] * 4))
    for _ in range(data.draw(st.integers(1, 3))):
        bit = data.draw(st.integers(0, 8 * len(message) - 1))
        message[bit // 8] ^= 1 << bit % 8
    test_spans_of_arbitrary_bytes_are_within_bounds.hypothesis.inner_test(bytes(message))


@given(st.binary(max_size=100))
def test_any_bytes_are_records_damage_or_nothing(data):
    covered = 0
    for record in records(data):
        assert record.offset == covered
        covered += HEAD.size + 4 + record.data.length if isinstance(record, Record) else record.lost
    assert covered == len(data)


def test_spans():
    assert Span(3, 7).length == 4
