"""Decoding, resampling, padding and segmenting, on signals with a known result and on files made by the original."""

import io
import json
import os
import struct
import threading
import wave as wave_module
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samplecnn.audio import cut, decode, fit, from_int16, is_silent, standardise, stream, to_int16
from samplecnn.errors import AudioError
from samplecnn.task import Task

TASK = Task("t", ("a", "b"))
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


def wav_bytes(samples: np.ndarray, rate: int = 16000, subtype: str = "PCM_16", format: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def task_of(window: int, clip_seconds: float | None = None, padding: str = "tile") -> Task:
    return replace(TASK, sample_rate=1000, window=window, clip_seconds=clip_seconds, padding=padding)


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


def test_only_the_requested_seconds_are_read(tmp_path):
    """Decoding 29 s of a long recording does not read the rest."""
    with wave_module.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.arange(16000 * 600, dtype=np.int16).tobytes())

    class Counting(io.FileIO):
        taken = 0

        def readinto(self, buffer):
            count = super().readinto(buffer)
            Counting.taken += count
            return count

        def read(self, count=-1):
            data = super().read(count)
            Counting.taken += len(data)
            return data

    wrapped = io.BufferedReader(Counting(tmp_path / "a.wav"), 4096)
    assert len(decode(wrapped, 16000, 29.0)) == 29 * 16000
    assert Counting.taken < 32 * 16000 * 2


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


def test_decoding_repeats_bit_for_bit(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 16000)
    soundfile.write(tmp_path / "a.ogg", noise, 16000)
    assert np.array_equal(decode(tmp_path / "a.ogg", 22050), decode(tmp_path / "a.ogg", 22050))


# Files that cannot be used: one line each, with the reason and the remedy.


def refusal(source, seconds=None) -> str:
    with pytest.raises(AudioError) as caught:
        decode(source, 22050, seconds)
    text = str(caught.value)
    assert "\n" not in text and ("; " in text), text
    return text


def test_missing_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.wav")


def test_folder(tmp_path):
    assert "a folder" in refusal(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "a.mp3").write_bytes(b"")
    text = refusal(tmp_path / "a.mp3")
    assert "0 bytes" in text and str(tmp_path / "a.mp3") in text


@pytest.mark.parametrize("content", [b"hello, world\n" * 1000, b"<html>404</html>", b"\0" * 5000, b"%PDF-1.7 " * 99])
def test_not_audio(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    assert "not audio" in refusal(tmp_path / "a.wav")


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


def test_silence_is_decoded_and_recognised(tone):
    silence = decode(io.BytesIO(wav_bytes(np.zeros(16000))), 22050)
    assert len(silence) == 22050 and is_silent(silence)
    assert not is_silent(tone())


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


# int16 and back


def test_int16_round_trip_is_exact():
    every = np.arange(-32768, 32768).astype(np.int16)
    assert np.array_equal(to_int16(from_int16(every)), every)
    assert from_int16(every).dtype == np.float32


def test_a_16_bit_recording_keeps_its_bits():
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    assert np.array_equal(to_int16(decode(io.BytesIO(wav_bytes(samples)), 16000)), samples)


def test_too_loud_is_clipped():
    assert to_int16(np.array([1.0, 2.0, -1.0, -3.0], np.float32)).tolist() == [32767, 32767, -32768, -32768]


# fit and cut


def test_tile_repeats_zero_fills_stretch_slows():
    clip = np.array([1, 2, 3], np.float32)
    assert fit(clip, 8, "tile").tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    assert fit(clip, 5, "zero").tolist() == [1, 2, 3, 0, 0]
    assert fit(clip, 8, "stretch").tolist() == [1, 1, 1, 2, 2, 2, 3, 3]
    assert fit(clip, 6, "stretch").tolist() == [1, 1, 1, 2, 2, 2]  # 6 // 3 + 1 times, so the end is lost
    assert fit(clip, 2, "tile").tolist() == fit(clip, 2, "stretch").tolist() == [1, 2]
    with pytest.raises(ValueError, match="padding"):
        fit(clip, 5, "mirror")


def test_an_empty_waveform_cannot_be_padded():
    with pytest.raises(AudioError, match="without samples"):
        fit(np.zeros(0, np.float32), 5)


@given(length=st.integers(1, 500), samples=st.integers(1, 2000), padding=st.sampled_from(["tile", "zero", "stretch"]))
def test_fit_gives_the_length_and_begins_with_the_clip(length, samples, padding):
    clip = np.arange(1, length + 1, dtype=np.float32)
    fitted = fit(clip, samples, padding)
    assert fitted.shape == (samples,) and fitted.dtype == np.float32 and fitted[0] == 1
    if padding != "stretch" or samples <= length:
        assert np.array_equal(fitted[: min(length, samples)], clip[:samples])


@given(length=st.integers(1, 3000), window=st.integers(1, 700), padding=st.sampled_from(["tile", "zero", "stretch"]))
def test_cut_of_whole_recordings(length, window, padding):
    clip = np.arange(1, length + 1, dtype=np.float32)
    segments = cut(clip, task_of(window, None, padding))
    assert segments.shape == (max(1, length // window), window)
    kept = min(length, segments.size)
    if padding != "stretch" or length >= window:
        assert np.array_equal(segments.reshape(-1)[:kept], clip[:kept])


@given(length=st.integers(1, 3000), window=st.integers(1, 700), factor=st.floats(1.0, 4.0))
def test_cut_of_fixed_clips_always_gives_the_same_number(length, window, factor):
    task = task_of(window, (window * factor + 0.5) / 1000)
    assert cut(np.ones(length, np.float32), task).shape == (task.segments_per_clip, window)


def test_cut_with_the_settings_of_the_data_sets():
    wave = np.random.default_rng(0).uniform(-1, 1, 642184).astype(np.float32)
    mtt = replace(TASK, window=59049, clip_seconds=29.0)
    segments = cut(wave, mtt)
    assert segments.shape == (10, 59049)
    assert np.array_equal(segments.reshape(-1), wave[:590490])


# Against the original's own files


def tfrecords(path: Path) -> list[dict[str, list[bytes]]]:
    """The bytes features of each tf.train.Example or SequenceExample of a TFRecord file, by name."""

    def varint(data: bytes, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 128:
                return value, at

    def messages(data: bytes):
        at = 0
        while at < len(data):
            _, at = varint(data, at)  # every field here is a length and its bytes
            length, at = varint(data, at)
            yield data[at : at + length]
            at += length

    def leaves(data: bytes) -> list[bytes]:
        """A Feature's, or a FeatureList's Features', bytes values: two or three levels down."""
        found = []
        for part in messages(data):
            inner = list(messages(part))
            if len(inner) == 1 and len(inner[0]) < len(part) and inner[0][:1] == b"\n" and kind == "sequence":
                inner = list(messages(inner[0]))
            found += inner
        return found

    data, at, records = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        features: dict[str, list[bytes]] = {}
        for number, group in enumerate(messages(data[at + 12 : at + 12 + length])):
            kind = "sequence" if number == 1 else "context"
            for entry in messages(group):
                key, value = messages(entry)
                features[key.decode()] = leaves(value)
        records.append(features)
        at += length + 16
    return records


def likeness(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.corrcoef(ours, theirs)[0, 1])


@pytest.mark.parametrize(
    ("name", "feature", "padding", "least"),
    [
        ("scd-train", "segment", "stretch", 0.9999),
        ("scd-test", "segments", "stretch", 0.9999),
        ("scd-short-clips", "segment", "stretch", 0.999),
    ],
)
def test_speech_as_the_original_decoded_it(shared, name, feature, padding, least):
    folder = shared / "interop" / "tfrecord"
    task = replace(TASK, window=22050, clip_seconds=1.0, padding=padding)
    records = tfrecords(folder / f"{name}.tfrecord")
    files = json.loads((folder / "contents.json").read_text())[f"{name}.tfrecord"]
    assert len(records) == len(files)
    for record, file in zip(records, files, strict=True):
        (theirs,) = (np.frombuffer(value, np.float32) for value in record[feature])
        (ours,) = cut(decode(folder / "audio" / file, 22050, 1.0), task)
        assert ours.shape == theirs.shape
        assert likeness(ours, theirs) > least
        assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.02 * theirs.std()


def test_short_speech_is_not_stretched_unless_asked(shared):
    folder = shared / "interop" / "tfrecord"
    file = json.loads((folder / "contents.json").read_text())["scd-short-clips.tfrecord"][0]
    (theirs,) = tfrecords(folder / "scd-short-clips.tfrecord")[0]["segment"]
    (ours,) = cut(decode(folder / "audio" / file, 22050, 1.0), replace(TASK, clip_seconds=1.0))
    assert abs(likeness(ours, np.frombuffer(theirs, np.float32))) < 0.5


def test_music_as_the_original_decoded_it(shared):
    folder = shared / "interop" / "tfrecord"
    (record,) = tfrecords(folder / "mtt-test.tfrecord")
    task = replace(TASK, window=59049, clip_seconds=29.0)
    (mp3,) = (shared / "data").glob("joram*.mp3")
    ours = cut(decode(mp3, 22050, 29.0), task).reshape(-1)
    theirs = np.concatenate([np.frombuffer(value, np.float32) for value in record["segments"]])
    assert ours.shape == theirs.shape == (590490,)
    assert likeness(ours, theirs) > 0.999


# Streaming


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


# Standardising


@pytest.mark.parametrize("shape", [(5,), (3, 70_001)])
def test_standardising_gives_the_same_bits_for_integers_and_floats(shape):
    task = replace(TASK, mean=0.013, std=0.21)
    samples = np.random.default_rng(0).integers(-32768, 32768, shape).astype(np.int16)
    result = standardise(samples, task)
    assert result.dtype == np.float32 and result.shape == shape
    assert np.array_equal(result, standardise(from_int16(samples), task))
    np.testing.assert_allclose(result, (samples / 32768 - 0.013) / 0.21, rtol=0, atol=1e-6)
    out = np.empty(shape, np.float32)
    assert standardise(samples, task, out) is out and np.array_equal(out, result)
