"""Files that cannot be used: one line each, with the reason and the remedy."""

import io
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sounds import refusal, wav_bytes

from samplecnn.audio import decode
from samplecnn.errors import AudioError


def test_missing_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.wav")


def test_folder(tmp_path):
    assert "a folder" in refusal(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "a.mp3").write_bytes(b"")
    text = refusal(tmp_path / "a.mp3")
    assert "0 bytes" in text and str(tmp_path / "a.mp3") in text


@pytest.mark.parametrize("name", ["a.wav", "a.m4a"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello, world\n" * 1000, "not audio but text; download it again or leave it out"),
        ("{caf\u00e9}".encode() * 999, "not audio but text; "),  # cut off inside a character
        (b"<html>404</html>", "not audio but a web page; download it again"),
        (b"\0" * 5000, "not audio but zeros, as in a file that was not written to its end; download or copy it again"),
        (b"%PDF-1.7 " * 99, "not audio but a document (pdf); leave it out"),
        (b"\xff\xd8\xff\xe0" * 99, "not audio but a picture (jpeg); leave it out"),
        (b"\x17\x01" * 999, ""),
    ],
)
def test_not_audio(tmp_path, content, words, name):
    (tmp_path / name).write_bytes(content)
    if words or name == "a.wav":
        assert (words or "not audio of a known format") in refusal(tmp_path / name)
    else:
        assert "not audio" in refusal(tmp_path / name) or "damaged" in refusal(tmp_path / name)
    assert "--accept-truncated" not in refusal(tmp_path / name)


def test_the_reason_for_an_unreadable_file(tmp_path):
    (tmp_path / "a.wav").symlink_to(tmp_path / "a.wav")
    assert "cannot be read" in refusal(tmp_path / "a.wav")


def test_a_disk_that_fails_while_reading(tone):
    class Failing(io.BytesIO):
        def read(self, count=-1):
            if self.tell() > 20_000:
                raise OSError(5, "Input/output error")
            return super().read(count)

    assert "Input/output error" in refusal(Failing(wav_bytes(tone(), 22050)))


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAVEX", "PCM_24"),
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("kept", [0.4, 0.9])
def test_a_missing_end_is_noticed(format, subtype, kept):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 44100 * 4)
    data = wav_bytes(noise, 44100, subtype, format)
    decode(io.BytesIO(data), 22050)
    part = io.BytesIO(data[: int(len(data) * kept)])
    text = refusal(part)
    assert "cut short" in text or "damaged" in text
    assert len(decode(part, 22050, 0.5)) == 11025  # the requested part is complete
    refusal(part, 4.0)


def test_flac_that_ends_between_frames_is_noticed(tone):
    data = bytearray(wav_bytes(tone(440, 1.0), 22050, "PCM_16", "FLAC"))
    promised = 22050 * 2
    data[22:26] = struct.pack(">I", promised)  # the low half of STREAMINFO's 36-bit sample count
    assert f"of {promised:,} samples" in refusal(io.BytesIO(bytes(data)))


def test_flac_of_unknown_length_is_whole(tone):
    data = bytearray(wav_bytes(tone(440, 1.0), 22050, "PCM_16", "FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert len(decode(io.BytesIO(bytes(data)), 22050)) == 22050


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF - 36, 0x80000000])
def test_streams_written_without_their_length_are_whole(tone, length):
    data = bytearray(wav_bytes(tone(440, 1.0), 22050))
    at = data.index(b"data") + 4
    data[at : at + 4] = data[4:8] = struct.pack("<I", length)
    assert len(decode(io.BytesIO(bytes(data)), 22050)) == 22050


def test_a_data_size_that_includes_the_header_is_accepted(tone):
    data = bytearray(wav_bytes(tone(440, 1.0), 22050))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", len(data))
    assert len(decode(io.BytesIO(bytes(data)), 22050)) == 22050


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tone, bad):
    sound = tone()
    sound[1234] = bad
    assert "NaN or infinite" in refusal(io.BytesIO(wav_bytes(sound, 22050, "FLOAT")))


def test_samples_that_are_not_scaled(tone):
    assert "full scale" in refusal(io.BytesIO(wav_bytes(tone() * 32768, 22050, "FLOAT")))


def test_no_samples():
    assert "no samples" in refusal(io.BytesIO(wav_bytes(np.zeros(0), 22050)))


def test_an_implausible_rate(tone):
    data = bytearray(wav_bytes(tone(), 22050))
    data[24:28] = struct.pack("<I", 3)
    assert "3 Hz" in refusal(io.BytesIO(bytes(data)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@given(
    head=st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"\xff\xfb\x90", b"ID3\x04", b"FORM", b"caff", b".snd"]),
    rest=st.binary(max_size=2000),
)
def test_random_bytes_give_sound_or_an_audio_error(head, rest):
    try:
        wave = decode(io.BytesIO(head + rest), 22050, 1.0)
    except AudioError:
        return
    assert wave.dtype == np.float32 and np.isfinite(wave).all() and 0 < len(wave) <= 22050


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16")],
)
def test_damaged_bytes_give_sound_or_an_audio_error(format, subtype):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 8000)
    data = wav_bytes(noise, 16000, subtype, format)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(st.integers(0, 300) | st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=8))
    def check(changes):
        damaged = bytearray(data)
        for place, value in changes:
            damaged[place % len(data)] = value
        try:
            wave = decode(io.BytesIO(bytes(damaged)), 22050, 1.0)
        except AudioError:
            return
        assert np.isfinite(wave).all() and 0 < len(wave) <= 22050

    check()
