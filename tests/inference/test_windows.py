import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from samplecnn import audio
from samplecnn.audio import standardise, stream
from samplecnn.errors import AudioError, UsageError
from samplecnn.inference.windows import MIN_TAIL_FRACTION, hop_samples, windows
from samplecnn.task import Task

TASK = Task("t", ("a", "b"), "multiclass", 8000, 100, clip_seconds=0.025)


def cut(pieces, task=TASK, max_windows=4):
    batches = list(windows(pieces, task, max_windows))
    segments = np.concatenate([batch.segments for batch in batches])
    return segments, np.concatenate([batch.starts for batch in batches]), batches


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 350), min_size=1, max_size=8), st.integers(1, 5))
def test_windows_do_not_depend_on_the_blocks_of_the_recording(lengths, max_windows):
    total = sum(lengths)
    wave = (np.arange(total) % 30000 + 1).astype(np.float32) / 32768
    pieces = np.split(wave, np.cumsum(lengths)[:-1])
    if total == 0:
        with pytest.raises(AudioError):
            cut(pieces)
        return
    segments, starts, batches = cut(pieces, max_windows=max_windows)
    assert segments.shape == (len(starts), 100) and all(len(batch.segments) <= max_windows for batch in batches)
    assert batches[-1].end == total, "the length of the recording"
    if total < 100:
        np.testing.assert_array_equal(segments[0], audio.fit(wave, 100, "tile"))
        return
    for start, segment in zip(starts, segments, strict=True):
        np.testing.assert_array_equal(segment, wave[start : start + 100])
    whole, rest = divmod(total, 100)
    tail = [total - 100] if rest >= 100 * MIN_TAIL_FRACTION else []
    assert starts.tolist() == [100 * n for n in range(whole)] + tail


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 350), min_size=1, max_size=8), st.integers(1, 5), st.integers(1, 100))
def test_windows_start_every_hop_without_gaps(lengths, max_windows, hop):
    total = sum(lengths)
    wave = (np.arange(total) % 30000 + 1).astype(np.float32) / 32768
    pieces = np.split(wave, np.cumsum(lengths)[:-1])
    if total < 100:
        return
    batches = list(windows(pieces, TASK, max_windows, hop))
    starts = np.concatenate([batch.starts for batch in batches])
    whole = list(range(0, total - 99, hop))
    left = total - 100 - whole[-1]
    assert starts.tolist() == whole + ([total - 100] if left >= MIN_TAIL_FRACTION * hop else [])
    for start, segment in zip(starts, np.concatenate([batch.segments for batch in batches]), strict=True):
        np.testing.assert_array_equal(segment, wave[start : start + 100])
    for batch in batches:
        assert len(batch.segments) <= max_windows
        if batch.buffer is not None:
            assert len(batch.buffer) == (len(batch.segments) - 1) * hop + 100, "the span of the windows"


@pytest.mark.parametrize(("seconds", "samples"), [(None, 100), (0.0125, 100), (0.005, 40), (0.0001, 1)])
def test_hops_in_samples(seconds, samples):
    assert hop_samples(seconds, TASK) == samples


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.00001, 0.013, float("inf"), float("nan"), 1e308])
def test_hops_of_zero_or_beyond_the_window_are_refused(seconds):
    with pytest.raises(UsageError, match=r"from 0\.00013 s, one sample, to 0\.0125 s, the window"):
        hop_samples(seconds, TASK)


def test_segments_are_standardised_and_rounded_as_in_training():
    task = TASK.with_statistics(0.1, 0.5)
    wave = np.random.default_rng(0).uniform(-1.2, 1.2, 200).astype(np.float32)
    segments, _, _ = cut([wave], task)
    wanted = (audio.from_int16(audio.to_int16(audio.cut(wave, task))) - task.mean) / task.std
    np.testing.assert_array_equal(segments, standardise(audio.from_int16(audio.to_int16(audio.cut(wave, task))), task))
    np.testing.assert_allclose(segments, wanted, atol=1e-6)


@pytest.mark.parametrize("padding", ["tile", "zero", "stretch"])
def test_a_short_recording_is_padded_by_the_rule_of_the_task(padding):
    task = Task("t", ("a", "b"), "multiclass", 8000, 100, padding=padding)
    wave = np.linspace(0.1, 0.5, 30, dtype=np.float32)
    segments, starts, batches = cut([wave], task)
    np.testing.assert_allclose(segments[0], audio.fit(wave, 100, padding), atol=1e-4)
    assert starts.tolist() == [0] and batches[0].end == 30


def test_silence_is_detected():
    zeros, ones = np.zeros(250, np.float32), np.full(250, 0.5, np.float32)
    assert [batch.silent for batch in cut([zeros])[2]] == [True, True]
    assert [batch.silent for batch in cut([zeros, ones], max_windows=2)[2]][:3] == [True, False, False]


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize(("suffix", "channels"), [("wav", 2), ("flac", 1), ("ogg", 2), ("mp3", 2)])
def test_streamed_blocks_equal_decoding_at_once(tmp_path, monkeypatch, rate, suffix, channels):
    monkeypatch.setattr(audio, "MAX_SINGLE_READ_SAMPLES", 1000)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 7001)
    path = tmp_path / f"noise.{suffix}"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=(3 * rate + 11, channels)), rate)
    pieces = list(stream(path, 22050))
    assert len(pieces) > 2
    whole = audio.decode(path, 22050)
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=0, atol=1e-6)
    with path.open("rb") as file:
        np.testing.assert_array_equal(np.concatenate(list(stream(file, 22050))), np.concatenate(pieces))


def test_damage_late_in_a_long_recording_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "MAX_SINGLE_READ_SAMPLES", 1000)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 5000)
    wave = 0.1 * np.random.default_rng(0).normal(size=50000).astype(np.float32)

    def written(name, samples, **kind):
        soundfile.write(tmp_path / name, samples, 8000, **kind)
        return tmp_path / name

    truncated = written("cut.wav", wave)
    truncated.write_bytes(truncated.read_bytes()[:-20000])
    with pytest.raises(AudioError, match=r"cut\.wav: cut short"):
        list(stream(truncated, 8000))
    broken = wave.copy()
    broken[40000] = np.inf
    with pytest.raises(AudioError, match=r"nan\.wav: has NaN or infinite samples after 5 s"):
        list(stream(written("nan.wav", broken, subtype="FLOAT"), 8000))
    with pytest.raises(AudioError, match=r"loud\.wav: samples reach"):
        list(stream(written("loud.wav", wave * 1e4, subtype="FLOAT"), 8000))
    damaged = written("damaged.flac", wave)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    damaged.write_bytes(content)
    with pytest.raises(AudioError, match=r"damaged\.flac: "):
        list(stream(damaged, 8000))


def test_files_that_are_not_audio_are_refused():
    with pytest.raises(AudioError, match="not audio"):
        list(stream(io.BytesIO(b"hello, this is text" * 10), 8000))
    with pytest.raises(AudioError, match="no such file"):
        list(stream("/nowhere.wav", 8000))
