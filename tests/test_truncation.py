"""Truncated recordings: complete files that look truncated, and truncated files that look complete."""

import io
import struct

import numpy as np
import pytest
import soundfile

from samplecnn.audio import Remarks, decode
from samplecnn.containers.mp3 import first_frame, frame_length, length_tag, streams
from samplecnn.errors import AudioError

RATE = 16000


def encoded(format: str, subtype: str, seconds: float = 1.5) -> bytes:
    """Noise as a file."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, int(seconds * RATE))
    soundfile.write(file, noise, RATE, format=format, subtype=subtype)
    return file.getvalue()


def decoded(data: bytes, seconds: float | None = None) -> np.ndarray:
    return decode(io.BytesIO(data), RATE, seconds)


def refusal(data: bytes) -> str:
    with pytest.raises(AudioError) as caught:
        decoded(data)
    assert "; " in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("format", ["AU", "W64", "VOC", "NIST"])
def test_every_header_that_gives_its_length_is_checked(format):
    data = encoded(format, "PCM_16")
    assert len(decoded(data)) == 24000
    assert "cut short" in refusal(data[:20_000])
    assert len(decoded(data[:20_000], 0.5)) == 8000, "the requested part is complete"


def test_an_au_file_of_open_length_is_whole():
    data = bytearray(encoded("AU", "PCM_16"))
    data[8:12] = b"\xff" * 4
    assert len(decoded(bytes(data))) == 24000


# WAV: headers without lengths, or with wrong ones


@pytest.mark.parametrize("junk", [b"", struct.pack("<4sI", b"JUNK", 4044) + bytes(4044)])
def test_a_wav_whose_recorder_crashed_is_read_to_its_end(tmp_path, junk):
    data = encoded("WAV", "PCM_16")
    head, sound = bytearray(data[:36] + junk + data[36:44]), data[44:]
    head[4:8] = head[-4:] = bytes(4)
    assert np.array_equal(decoded(bytes(head) + sound), decoded(data))
    (tmp_path / "a.wav").write_bytes(head + sound)
    assert np.array_equal(decode(tmp_path / "a.wav", RATE), decoded(data))
    assert "no samples" in refusal(bytes(head))
    assert "no samples" in refusal(bytes(head) + struct.pack("<4sI", b"LIST", 4) + b"INFO")


def test_a_recorder_that_writes_two_gigabytes_does_not_know_the_length():
    data = bytearray(encoded("WAV", "PCM_16"))
    data[40:44], data[4:8] = struct.pack("<I", 0x80000000), struct.pack("<I", 0x80000024)
    assert len(decoded(bytes(data))) == 24000


@pytest.mark.parametrize("factor", [2, 1.01])
def test_a_wrong_data_size_in_a_file_that_is_whole(factor):
    data = bytearray(encoded("WAV", "PCM_16"))
    data[40:44] = struct.pack("<I", int(48000 * factor))
    assert len(decoded(bytes(data))) == 24000
    data[4:8] = struct.pack("<I", 36 + int(48000 * factor))  # a file of exactly that size is truncated
    assert "cut short" in refusal(bytes(data))


def test_a_wav_cut_in_the_middle():
    data = encoded("WAV", "PCM_16")
    assert "cut short" in refusal(data[: 44 + 24000])


# Ogg


def pages(data: bytes):
    """(start, end) of every page."""
    at = 0
    while (at := data.find(b"OggS", at)) >= 0:
        count = data[at + 26]
        end = at + 27 + count + sum(data[at + 27 : at + 27 + count])
        yield at, end
        at = end


def crc(data: bytes) -> int:
    """Ogg's checksum of a page (RFC 3533)."""
    value = 0
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if value & 0x80000000 else value << 1
    return value


def changed(data: bytes, serial: int | None = None, end_mark: bool = True) -> bytes:
    """An Ogg file with another serial number, or without the mark on its last page; checksums are corrected.

    Without the mark, an Opus stream cannot be trimmed: its last page counts whole packets of 20 ms.
    """
    content = bytearray(data)
    places = list(pages(data))
    packets = 0
    for start, end in places:
        if serial is not None:
            content[start + 14 : start + 18] = struct.pack("<I", serial)
        packets += sum(length < 255 for length in content[start + 27 : start + 27 + content[start + 26]])
        if not end_mark and (start, end) == places[-1]:
            content[start + 5] &= ~4
            if b"OpusHead" in data[:100]:
                content[start + 6 : start + 14] = struct.pack("<q", (packets - 2) * 960)
        content[start + 22 : start + 26] = bytes(4)
        content[start + 22 : start + 26] = struct.pack("<I", crc(content[start:end]))
    return bytes(content)


@pytest.mark.parametrize("serial", [1, 2])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_all_links_of_a_chained_ogg_file_are_decoded(subtype, serial):
    data = encoded("OGG", subtype)
    one = decoded(data)
    joined = changed(data, 1) + changed(data, 2) + changed(data, serial)
    assert np.array_equal(decoded(joined), np.concatenate((one, one, one)))
    assert np.array_equal(decoded(joined, 2.0), decoded(joined)[: 2 * RATE])
    assert len(decoded(joined, 0.5)) == 8000


def test_a_chain_of_different_codecs():
    vorbis, opus = encoded("OGG", "VORBIS"), encoded("OGG", "OPUS")
    assert np.array_equal(decoded(vorbis + opus), np.concatenate((decoded(vorbis), decoded(opus))))


def test_an_ogg_stream_damaged_in_its_middle_is_noticed():
    """libsndfile gives the first part without an error."""
    data = bytearray(encoded("OGG", "VORBIS", seconds=30))
    places = list(pages(data))
    at = places[len(places) // 2][0]
    data[at : at + 500] = bytes(500)
    with pytest.raises(AudioError, match=r"damaged: \d+\.\d of 30\.0 s"):
        decoded(bytes(data))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_stream_without_end_mark_is_whole(subtype):
    data = encoded("OGG", subtype)
    whole, open_ended = decoded(data), decoded(changed(data, end_mark=False))
    assert 0 <= len(open_ended) - len(whole) < 2000 and np.array_equal(open_ended[:20_000], whole[:20_000])
    *_, (start, end) = pages(data)
    assert any(words in refusal(data[: (start + end) // 2]) for words in ("cut short", "damaged"))


def test_data_after_an_ogg_stream_is_ignored():
    data = encoded("OGG", "VORBIS")
    assert np.array_equal(decoded(data + b"TAG" + bytes(125)), decoded(data))


# MP3


def mp3(channels: int = 1, rate: int = RATE, seconds: float = 1.5, tag: bool = True, **options) -> bytes:
    """Noise; without `tag`, without the first frame, which gives the length."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (int(seconds * rate), channels))
    with soundfile.SoundFile(file, "w", rate, channels, format="MP3", subtype="MPEG_LAYER_III", **options) as sound:
        sound.write(noise)
    data = file.getvalue()
    start = first_frame(io.BytesIO(data))
    return data if tag else data[start + frame_length(data, start) :]


ID3 = b"ID3\x03\0\0\0\0\0\0"


@pytest.mark.parametrize("between", [b"", ID3, b"TAG" + bytes(125)])
def test_all_of_joined_mp3_files_is_decoded(between):
    data = mp3()
    one, other = decoded(data), decoded(mp3(rate=44100))
    assert np.array_equal(decoded(data + b"TAG" + bytes(125)), one)
    joined = data + between + mp3(rate=44100) + between + data
    assert np.array_equal(decoded(joined), np.concatenate((one, other, one)))
    assert len(decoded(joined, 0.5)) == 8000


@pytest.mark.parametrize("second", [{"rate": 44100}, {"channels": 2}, {"rate": 22050, "channels": 2}])
def test_joined_mp3_files_without_tags_are_split_where_the_format_changes(second):
    """Compared with the decoder's output for each file, whose length it then knows."""
    one, other = mp3(tag=False, seconds=3), mp3(tag=False, seconds=3, **second)
    wave, first = decoded(one + other), decoded(one)
    assert np.array_equal(wave[: len(first)], first)
    delayed = decoded(other)
    least = min(len(wave) - len(first), len(delayed))
    assert abs(len(wave) - len(first) - len(delayed)) <= 1152
    shift = len(delayed) - (len(wave) - len(first))  # the delay of the encoder
    middle = slice(len(first) + RATE // 2, len(first) + least - RATE // 2)
    expected = delayed[middle.start - len(first) + shift : middle.stop - len(first) + shift]
    assert np.corrcoef(wave[middle], expected)[0, 1] > 0.95  # the shift is not a whole number of samples


@pytest.mark.parametrize("format", ["FLAC", "WAV", "AIFF"])
def test_other_files_joined_byte_by_byte(format):
    data = encoded(format, "PCM_16")
    one = decoded(data)
    assert np.array_equal(decoded(data * 3), np.concatenate((one, one, one)))
    assert np.array_equal(decoded(data * 3, 2.0), decoded(data * 3)[: 2 * RATE])


def test_a_later_part_that_cannot_be_decoded_is_an_error_or_skipped():
    data = encoded("OGG", "VORBIS")
    joined = changed(data, 1) + changed(data, 2)[: len(data) * 2 // 3]
    assert "part 2" not in refusal(data[: len(data) * 2 // 3])
    assert "cut short" in refusal(joined)
    remarks = Remarks()
    wave = decode(io.BytesIO(joined), RATE, None, True, remarks)
    assert 24000 < len(wave) < 48000 and "cut short" in remarks.kept


def untagged(level: float) -> bytes:
    """An mp3 of variable bit rate without its first frame, which gives the length; loud or quiet at the start."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 20 * RATE)
    noise[: 10 * RATE] *= level
    noise[10 * RATE :] *= 1 - level
    with soundfile.SoundFile(
        file, "w", RATE, 1, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.5, bitrate_mode="VARIABLE"
    ) as sound:
        sound.write(noise)
    data = file.getvalue()
    start = first_frame(io.BytesIO(data))
    return data[start + frame_length(data, start) :]


def test_words_in_the_title_of_an_mp3_are_not_its_length():
    """Its length is estimated, here too long."""
    data = untagged(0.0)
    title = b"TIT2" + struct.pack(">I", 10) + b"\0\0" + b"\0More Info"
    with_title = b"ID3\x03\0\0" + struct.pack(">I", len(title)) + title + data
    info = soundfile.info(io.BytesIO(with_title))
    assert info.frames > 22 * RATE, "a correct estimate would test nothing"
    assert abs(len(decoded(with_title)) - 20 * RATE) < RATE / 10


def test_an_mp3_whose_length_is_estimated_too_short_is_decoded_to_its_end():
    data = untagged(1.0)
    assert soundfile.info(io.BytesIO(data)).frames < 18 * RATE, "a correct estimate would test nothing"
    wave = decoded(data)
    assert abs(len(wave) - 20 * RATE) < RATE / 10
    assert np.array_equal(decoded(data, 19.0), wave[: 19 * RATE])
    known = length_tag(data[:4], next(streams(io.BytesIO(data), 0))) + data
    delay = len(wave) - len(decoded(known))  # of the encoder, omitted if the length is known
    assert np.array_equal(wave[delay:], decoded(known)), "no sample is lost or repeated at the estimated end"


@pytest.mark.parametrize("front", [bytes(3000), b"ID3\x03\0\0\0\0\0\x0cTIT2\0\0\0\x02\0\0\0x" + bytes(2048)])
def test_an_mp3_after_zeros_is_recognised_by_its_suffix(tmp_path, front):
    data = encoded("MP3", "MPEG_LAYER_III")
    (tmp_path / "a.mp3").write_bytes(front + data)
    assert np.array_equal(decode(tmp_path / "a.mp3", RATE), decoded(data))
    (tmp_path / "b.mp3").write_bytes(b"<html>404</html>" * 100)
    with pytest.raises(AudioError, match="not audio"):
        decode(tmp_path / "b.mp3", RATE)
