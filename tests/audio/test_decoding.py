"""Decoding and resampling, on signals with a known result."""

import io
import os
import threading

import numpy as np
import pytest
import soundfile
from sounds import wav_bytes

from samplecnn.audio import decode, is_silent, to_int16

FORMATS = [
    ("wav", "PCM_U8", 0.01),
    ("wav", "PCM_16", 1e-4),
    ("wav", "PCM_24", 1e-6),
    ("wav", "PCM_32", 1e-6),
    ("wav", "FLOAT", 1e-6),
    ("wav", "DOUBLE", 1e-6),
    ("flac", "PCM_16", 1e-4),
    ("flac", "PCM_24", 1e-6),
    ("ogg", "VORBIS", 0.05),
    ("ogg", "OPUS", 0.05),
    ("mp3", "MPEG_LAYER_III", 0.05),
    ("aiff", "PCM_16", 1e-4),
]


def spectrum_peak(wave: np.ndarray, rate: int) -> float:
    """The strongest frequency in Hz."""
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(power.argmax() * rate / len(wave))


@pytest.mark.parametrize(("ending", "subtype", "tolerance"), FORMATS)
def test_every_format_gives_the_same_sound(tmp_path, tone, ending, subtype, tolerance):
    rate = 48000 if subtype == "OPUS" else 22050
    sound = tone(440, 1.0, rate)
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, sound, rate, subtype=subtype)
    wave = decode(path, rate)
    assert wave.dtype == np.float32 and wave.shape == sound.shape
    middle = slice(2000, -2000)  # lossy codecs smear the ends
    assert np.abs(wave[middle] - sound[middle]).max() < tolerance
    assert spectrum_peak(wave, rate) == pytest.approx(440, abs=1.5)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000])
def test_resampling_keeps_frequency_level_and_timing(tmp_path, tone, rate):
    soundfile.write(tmp_path / "a.wav", tone(1000, 2.0, rate), rate, subtype="FLOAT")
    wave = decode(tmp_path / "a.wav", 22050)
    assert len(wave) == 44100
    middle = slice(2000, -2000)
    assert np.abs(wave[middle] - tone(1000, 2.0, 22050)[middle]).max() < 1e-3
    assert spectrum_peak(wave, 22050) == pytest.approx(1000, abs=1)


def test_frequencies_above_half_the_rate_vanish(tmp_path, tone):
    soundfile.write(tmp_path / "a.wav", tone(15000, 1.0, 44100), 44100, subtype="FLOAT")
    assert np.abs(decode(tmp_path / "a.wav", 22050)[2000:-2000]).max() < 1e-3


@pytest.mark.parametrize(
    ("rate", "frames", "expected"), [(16000, 15999, 22049), (44100, 3, 2), (48000, 1, 1), (8000, 5, 14)]
)
def test_length_is_rounded_up(rate, frames, expected):
    wave = decode(io.BytesIO(wav_bytes(np.full(frames, 0.1), rate)), 22050)
    assert len(wave) == expected == -(-frames * 22050 // rate)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_mono_is_the_mean_of_the_channels(tone, channels):
    tracks = np.stack([tone(300 * (channel + 1)) for channel in range(channels)], axis=1)
    wave = decode(io.BytesIO(wav_bytes(tracks, 22050, "FLOAT")), 22050)
    assert np.allclose(wave, tracks.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("seconds", [0.1, 0.9, 1.0, 1.2345])
def test_first_seconds_equal_those_of_the_whole(rate, seconds):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * rate).astype(np.float32)
    data = wav_bytes(noise, rate, "FLOAT")
    part = decode(io.BytesIO(data), 22050, seconds)
    assert len(part) == int(seconds * 22050)
    assert np.array_equal(to_int16(part), to_int16(decode(io.BytesIO(data), 22050)[: len(part)]))


def test_paths_strings_and_open_files_are_equal(tmp_path, tone):
    path = tmp_path / "ü sound.raw"  # a wrong suffix
    path.write_bytes(wav_bytes(tone(), 22050))
    expected = decode(path, 16000)
    with path.open("rb") as file:
        assert np.array_equal(decode(file, 16000), expected)
    with path.open("rb", buffering=0) as file:
        assert np.array_equal(decode(file, 16000), expected)
    assert np.array_equal(decode(str(path), 16000), expected)
    assert np.array_equal(decode(io.BytesIO(path.read_bytes()), 16000), expected)


def test_a_pipe_is_read_to_its_end(tone):
    data = wav_bytes(tone(), 22050)
    read_end, write_end = os.pipe()

    def feed():
        with os.fdopen(write_end, "wb") as file:
            file.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(read_end, "rb") as file:
        wave = decode(file, 22050)
    feeder.join()
    assert np.array_equal(wave, decode(io.BytesIO(data), 22050))


def test_decoding_repeats_bit_for_bit(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 16000)
    soundfile.write(tmp_path / "a.ogg", noise, 16000)
    assert np.array_equal(decode(tmp_path / "a.ogg", 22050), decode(tmp_path / "a.ogg", 22050))


def test_silence_is_decoded_and_recognised(tone):
    silence = decode(io.BytesIO(wav_bytes(np.zeros(16000))), 22050)
    assert len(silence) == 22050 and is_silent(silence)
    assert not is_silent(tone())
