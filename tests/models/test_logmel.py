"""Log-mel frames against an independent computation, and by signals whose frames are known."""

import math

import numpy as np
import pytest
import torch

from samplecnn.errors import UsageError
from samplecnn.models import ModelConfig, SampleCNN, network_spec
from samplecnn.models.fitting import config_for_window
from samplecnn.models.layers import LogMelFrames
from samplecnn.models.logmel import FLOOR, LogMel, basis, filters, hann
from samplecnn.models.stored import StoredModel
from samplecnn.task import Task

RATE = 8000


def by_definition(logmel: LogMel, wave: np.ndarray) -> np.ndarray:
    """[samples] -> [frames, bands], in float64: torch's short-time Fourier transform, and triangles drawn by hand."""
    before = (logmel.frame - logmel.hop) // 2
    frames = math.ceil(len(wave) / logmel.hop)
    padded = np.zeros((frames - 1) * logmel.hop + logmel.frame)
    padded[before : before + len(wave)] = wave
    window = torch.hann_window(logmel.frame, periodic=True, dtype=torch.float64)
    spectrum = torch.stft(
        torch.from_numpy(padded), logmel.frame, logmel.hop, window=window, center=False, return_complex=True
    )
    power = spectrum.abs().square().numpy() / float(window.square().sum())
    out = np.empty((frames, logmel.bands))
    top = 1127 * math.log(1 + logmel.sample_rate / 2 / 700)  # the mel scale with a natural logarithm
    for band in range(logmel.bands):
        low, middle, high = (
            700 * (math.exp((band + edge) * top / (logmel.bands + 1) / 1127) - 1) for edge in (0, 1, 2)
        )
        weights = []
        for number in range(logmel.frame // 2 + 1):
            hertz = number * logmel.sample_rate / logmel.frame
            rising, falling = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
            weights.append(max(min(rising, falling), 0.0))
        out[:, band] = np.log(power.T @ np.array(weights) / sum(weights) + 1e-5)
    return out


@pytest.mark.parametrize("logmel", [LogMel(RATE, 256, 81, 20), LogMel(RATE, 250, 250, 8)])
@pytest.mark.parametrize("samples", [81, 729, 1000])
def test_frames_are_those_of_an_independent_computation(logmel, samples):
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(samples) * np.hanning(samples) + np.sin(np.arange(samples))
    wanted = by_definition(logmel, wave)
    given = wave.astype(np.float32)[None]
    found = logmel(np.pad(given, ((0, 0), logmel.padding(samples))))
    assert found.dtype == np.float32 and found.shape == (1, *wanted.shape)
    np.testing.assert_allclose(found[0], wanted, atol=2e-4)
    np.testing.assert_allclose(LogMelFrames(logmel)(torch.from_numpy(given))[0].numpy(), wanted, atol=2e-4)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(given[0], logmel.padding(samples)), logmel.frame)
    parts = np.split(frames[:: logmel.hop] @ basis(logmel.frame).T, 2, axis=1)
    as_convolution = np.log((parts[0] ** 2 + parts[1] ** 2) @ filters(logmel).T + FLOOR)
    np.testing.assert_allclose(as_convolution, wanted, atol=2e-4)


def test_noise_silence_and_a_tone():
    logmel = LogMel(RATE, 256, 64, 20)
    noise = np.random.default_rng(0).standard_normal((1, 64 * 2000)).astype(np.float32)
    assert abs(np.exp(logmel(3 * noise)).mean() - 9) < 0.5  # the variance of the noise, whatever the band
    assert np.allclose(logmel(np.zeros((1, 512), np.float32)), math.log(FLOOR))
    tone = np.sin(2 * np.pi * 1000 * np.arange(4096) / RATE).astype(np.float32)[None]
    loudest = logmel(tone).mean((0, 1)).argmax()
    assert abs(filters(logmel)[loudest].argmax() - 1000 * 256 / RATE) <= 1
    assert hann(4).dtype == np.float32 and abs((hann(4) ** 2).sum() - 1) < 1e-6


def test_frames_take_the_place_of_the_blocks_up_to_their_rate():
    """The blocks behind them are those of the network on the waveform, but for the first one's input."""
    wave = network_spec(config_for_window(59049, 22050, block="rese2", num_classes=50))
    mels = network_spec(config_for_window(59049, 22050, block="rese2", num_classes=50, frontend="logmel", mels=96))
    assert (wave.hop, mels.hop, mels.first.stride) == (59049, 59049, 243)
    assert [stage.features for stage in mels.blocks] == [stage.features for stage in wave.blocks][4:]
    assert mels.blocks[0].convs[0].channels == 96
    assert [stage.convs for stage in mels.blocks[1:]] == [
        tuple(conv.__class__(**{**vars(conv), "name": conv.name.replace(f".{i + 4}.", f".{i}."),
                                "norm": conv.norm.replace(f".{i + 4}.", f".{i}.")}) for conv in stage.convs)
        for i, stage in enumerate(wave.blocks[4:]) if i
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rate", "window", "settings", "shape"),
    [
        (22050, 59049, {}, (1024, 243, 5)),
        (16000, 16000, {}, (512, 243, 3)),
        (16000, 2**14, {"pool_size": 2}, (512, 128, 7)),
        (8000, 729, {}, (256, 81, 2)),
        (48000, 48000, {"pool_size": 5}, (2048, 625, 2)),
    ],
)
def test_frames_are_near_to_10_ms_and_the_depth_fits(rate, window, settings, shape):
    config = config_for_window(window, rate, frontend="logmel", **settings)
    assert (config.logmel.frame, config.logmel.hop, config.num_blocks) == shape
    assert network_spec(config).min_samples <= window


def test_the_model_file_holds_them():
    config = config_for_window(729, RATE, frontend="logmel", mels=12, features=8, num_classes=2)
    assert ModelConfig.from_dict(config.to_dict()) == config
    assert config.to_dict()["logmel"] == {"sample_rate": 8000, "frame": 256, "hop": 81, "bands": 12}
    assert config.signature == "se_logmel" and "12 bands" in config.variant
    model = SampleCNN(config, Task("two", ("a", "b"), "multilabel", RATE, 729))
    stored = StoredModel.of(model)
    assert not [name for name in stored.values if "logmel" in name]  # nothing of them is learnt
    wave = torch.randn(2, 729)
    torch.testing.assert_close(stored.module()(wave), model.eval()(wave))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogMel(8000, 256, 300), "frames of 256 samples every 300"),
        (lambda: LogMel(8000, 256, 81, 129), "1 to 128 bands, not 129"),
        (lambda: LogMel(0, 256, 81), "sample_rate must be a whole number from 1"),
        (lambda: config_for_window(100, 8000, frontend="logmel"), "a window of 100 samples gives 2 frames"),
        (lambda: config_for_window(729, 8000, frontend="mfcc"), "front end 'mfcc': expected waveform, logmel"),
        (lambda: config_for_window(729, 8000, frontend="logmel", first_size=9), "leave its size and padding out"),
        (lambda: config_for_window(729, 8000, frontend="logmel", multi=True), "with --multi needs 3 blocks, not 2"),
    ],
)
def test_what_gives_no_frames_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
