"""Rounding, padding, cutting into segments, standardising."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import TASK, wav_bytes

from samplecnn.audio import cut, decode, fit, from_int16, standardise, to_int16
from samplecnn.errors import AudioError
from samplecnn.task import Task


def task_of(window: int, clip_seconds: float | None = None, padding: str = "tile") -> Task:
    return replace(TASK, sample_rate=1000, window=window, clip_seconds=clip_seconds, padding=padding)


def test_int16_round_trip_is_exact():
    every = np.arange(-32768, 32768).astype(np.int16)
    assert np.array_equal(to_int16(from_int16(every)), every)
    assert from_int16(every).dtype == np.float32


def test_a_16_bit_recording_keeps_its_bits():
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    assert np.array_equal(to_int16(decode(io.BytesIO(wav_bytes(samples)), 16000)), samples)


def test_too_loud_is_clipped():
    assert to_int16(np.array([1.0, 2.0, -1.0, -3.0], np.float32)).tolist() == [32767, 32767, -32768, -32768]


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
