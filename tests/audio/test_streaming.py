"""Sound in blocks has the bits of sound at once, and takes the memory of the part that is used."""

import io
import wave as wave_module

import numpy as np
import pytest
import soundfile
from sounds import CountingFile, refusal, wav_bytes

from samplecnn.audio import decode, stream
from samplecnn.errors import AudioError


def test_only_the_requested_seconds_are_read(tmp_path):
    """Decoding 29 s of a long recording does not read the rest."""
    with wave_module.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.arange(16000 * 600, dtype=np.int16).tobytes())

    counting = CountingFile(tmp_path / "a.wav")
    wrapped = io.BufferedReader(counting, 4096)
    assert len(decode(wrapped, 16000, 29.0)) == 29 * 16000
    assert counting.taken < 32 * 16000 * 2


def test_mp3_in_blocks_equals_mp3_at_once(tmp_path, monkeypatch):
    """An mp3 decoder depends on earlier frames: reading in blocks must not make it seek."""
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 22050 * 3)
    soundfile.write(tmp_path / "a.mp3", noise, 22050)
    whole = decode(tmp_path / "a.mp3", 22050)
    monkeypatch.setattr("samplecnn.audio.MAX_SINGLE_READ_SAMPLES", 5000)
    monkeypatch.setattr("samplecnn.audio.BLOCK_SAMPLES", 5000)
    assert np.array_equal(decode(tmp_path / "a.mp3", 22050), whole)
    assert len(whole) == 22050 * 3


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_blocks_change_no_bit(monkeypatch, rate):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (20_000, 2))
    data = io.BytesIO(wav_bytes(noise, rate, "FLOAT"))
    whole = decode(data, 22050)
    for block in (777, 10_000, 40_000):  # the last two end with the recording
        monkeypatch.setattr("samplecnn.audio.MAX_SINGLE_READ_SAMPLES", block)
        monkeypatch.setattr("samplecnn.audio.BLOCK_SAMPLES", block)
        assert np.array_equal(decode(data, 22050), whole)


@pytest.mark.parametrize("rate", [500, 999, 10_000_001])
def test_a_stream_and_decoding_refuse_the_same_rates(monkeypatch, tone, rate):
    """A recording that is read in blocks is refused like a short one."""
    data = io.BytesIO(wav_bytes(tone(440, 3.0), rate))
    text = refusal(data)
    monkeypatch.setattr("samplecnn.audio.MAX_SINGLE_READ_SAMPLES", 100)
    with pytest.raises(AudioError, match=f"implausible sample rate in its header, {rate} Hz"):
        list(stream(data, 22050))
    assert refusal(data) == text


@pytest.mark.parametrize("seconds", [None, 0.37, 1.0])
@pytest.mark.parametrize(("suffix", "channels"), [("wav", 2), ("flac", 1), ("ogg", 2), ("mp3", 1)])
def test_joined_blocks_equal_decoding_at_once_bit_for_bit(tmp_path, monkeypatch, suffix, channels, seconds):
    path = tmp_path / f"noise.{suffix}"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=(44100 + 11, channels)), 44100)
    whole = decode(path, 22050, seconds)
    monkeypatch.setattr("samplecnn.audio.MAX_SINGLE_READ_SAMPLES", 1000)
    monkeypatch.setattr("samplecnn.audio.BLOCK_SAMPLES", 4001)
    pieces = list(stream(path, 22050, seconds))
    assert len(pieces) > 2 and np.array_equal(np.concatenate(pieces), whole)
    assert np.array_equal(decode(path, 22050, seconds), whole)


def test_memory_follows_the_part_that_is_used(tmp_path):
    """One second of ten minutes takes the memory of one second; the whole takes no more than the recording itself."""
    import tracemalloc

    with soundfile.SoundFile(tmp_path / "long.wav", "w", 16000, 1) as file:
        for _ in range(10):
            file.write(np.full(16000 * 60, 0.1))
    soundfile.write(tmp_path / "short.wav", np.full(16000, 0.1), 16000)

    def peak(name: str, seconds: float | None) -> int:
        tracemalloc.start()
        decode(tmp_path / name, 22050, seconds)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak("short.wav", None)
    assert peak("short.wav", None) < 400_000, "64 kB are read and 88 kB returned"
    assert peak("long.wav", 1.0) < 400_000
