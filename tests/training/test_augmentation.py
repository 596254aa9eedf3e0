"""Augmentation: each effect on signals with a known answer; the same position gives the same batch."""

import numpy as np
import pytest
import torch

from samplecnn.shards import open_split
from samplecnn.training.augmentation import Augmentation, Crops, fast_length, level_of, resampled
from samplecnn.training.draws import Position
from samplecnn.training.options import TrainOptions

RATE, LENGTH = 8000, 4000
POSITION = Position(seed=1, stage=0, epoch=2, step=3)
LABELS = torch.eye(4)


def tones(frequencies=(200.0, 400.0, 800.0, 1600.0), samples=LENGTH) -> torch.Tensor:
    time = torch.arange(samples) / RATE
    return torch.stack([0.5 * torch.sin(2 * torch.pi * f * time) for f in frequencies])


def varied(x=None, position=POSITION, background=None, **options):
    x = tones() if x is None else x
    return Augmentation(TrainOptions("demo", **options), LENGTH, RATE, background)(x.clone(), LABELS, position)


def decibels(x: torch.Tensor) -> torch.Tensor:
    return 20 * torch.log10(level_of(x))[:, 0]


EVERYTHING = {
    "speed": 0.2, "gain": 6.0, "polarity": True, "reverb": 0.3, "filter": 6.0, "noise": 0.9, "mask": 0.3,
    "mixing": "between-class",
}  # fmt: skip


def test_the_same_place_gives_the_same_batch_and_any_other_another():
    x = tones(samples=5000)
    background = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    one, again = (varied(x, background=background, **EVERYTHING) for _ in range(2))
    assert torch.equal(one[0], again[0]) and torch.equal(one[1], again[1])
    assert one[0].shape == (4, LENGTH) and torch.isfinite(one[0]).all()
    for other in (Position(2, 0, 2, 3), Position(1, 1, 2, 3), Position(1, 0, 3, 3), POSITION.next()):
        assert not torch.equal(varied(x, other, background, **EVERYTHING)[0], one[0])


def test_int16_and_floats_of_the_same_sound_are_varied_alike():
    stored = (tones() * 32768).round().to(torch.int16)
    floats = stored.float() / 32768
    assert torch.equal(varied(stored, gain=6.0, polarity=True)[0], varied(floats, gain=6.0, polarity=True)[0])


def test_gain_stays_within_its_bounds_and_polarity_turns_some():
    x = torch.cat([tones()] * 16)
    out, _ = Augmentation(TrainOptions("demo", gain=6.0, polarity=True), LENGTH, RATE)(x, torch.zeros(64, 4), POSITION)
    change = decibels(out) - decibels(x)
    assert change.abs().max() <= 6.001 and change.max() > 4 and change.min() < -4
    signs = torch.sign((out * x).sum(1))
    assert {-1.0, 1.0} == set(signs.tolist())
    assert torch.allclose(out, x * (signs * 10 ** (change / 20))[:, None], atol=1e-5)


def test_resampling_moves_frequencies_by_the_ratio_and_keeps_the_rest():
    x = tones((300.0, 300.0, 300.0), samples=6000)
    out = resampled(x, torch.tensor([[1.0], [1.2], [0.8]]), LENGTH)
    peaks = torch.fft.rfft(out * torch.hann_window(LENGTH)).abs().argmax(1) * RATE / LENGTH
    assert peaks.tolist() == [300.0, 360.0, 240.0]
    assert torch.allclose(decibels(out), decibels(x), atol=0.05)
    assert torch.allclose(resampled(x, torch.ones(3, 1), 6000)[:, 3:-3], x[:, 3:-3], atol=1e-6)


def test_noise_has_the_level_that_was_drawn_and_half_of_the_segments_keep_their_spectrum():
    x = torch.cat([tones()] * 32)
    out, _ = Augmentation(TrainOptions("demo", noise=0.5), LENGTH, RATE)(x, torch.zeros(128, 4), POSITION)
    changed = (out - x).abs().amax(1) > 1e-3
    assert 40 < changed.sum() < 88
    below = decibels(x)[changed] - decibels(out - x)[changed]
    assert 4 < below.min() < 12 and 30 < below.max() < 41


def test_echoes_follow_half_of_the_sounds_and_decay_within_the_time_that_was_asked():
    x = torch.zeros(256, LENGTH)
    x[:, 1000] = 1.0
    out, _ = Augmentation(TrainOptions("demo", reverb=0.2), LENGTH, RATE)(x.clone(), torch.zeros(256, 4), POSITION)
    assert torch.allclose(level_of(out), level_of(x), rtol=1e-4)
    wet = (out - x).abs().amax(1) > 1e-3
    assert 96 < wet.sum() < 160
    assert (out[:, :1000].abs() < 1e-5).all() and (out[:, 1000 + 1 + 1600 :].abs() < 1e-4).all()
    heard, echoes = out[wet, 1000], out[wet, 1001:]
    direct = 20 * torch.log10(heard / echoes.square().sum(1).sqrt())
    assert direct.min() > -3.1 and direct.min() < 0 and direct.max() < 15.1 and direct.max() > 12
    # The energy that is left falls by 60 dB in the reverberation time: by 30 dB in half of it (Schroeder 1965).
    left = echoes.square().flip(1).cumsum(1).flip(1)
    seconds = 2 * (10 * torch.log10(left / left[:, :1]) > -30).sum(1) / RATE
    assert seconds.min() > 0.08 and seconds.min() < 0.12 and 0.18 < seconds.max() < 0.22


def test_sounds_at_the_end_of_a_segment_have_no_echoes_at_its_beginning():
    x = torch.zeros(64, LENGTH)
    x[:, -1] = 1.0
    out, _ = Augmentation(TrainOptions("demo", reverb=1.0), LENGTH, RATE)(x.clone(), torch.zeros(64, 4), POSITION)
    assert torch.allclose(out, x, atol=1e-5)


def test_a_filter_changes_the_level_of_tones_by_no_more_than_its_bound():
    x = torch.cat([tones()] * 16)
    out, _ = Augmentation(TrainOptions("demo", filter=6.0), LENGTH, RATE)(x, torch.zeros(64, 4), POSITION)
    change = decibels(out) - decibels(x)
    assert change.abs().max() < 6.1 and (change.abs() > 1).sum() > 10
    assert torch.allclose(out[change.abs() < 1e-4], x[change.abs() < 1e-4], atol=1e-4)


def test_background_is_a_stretch_of_the_recordings_at_the_level_that_was_drawn():
    x, ramp = torch.cat([tones()] * 16), np.linspace(0.1, 1, 30_000, dtype=np.float32)
    out, _ = Augmentation(TrainOptions("demo", background="x"), LENGTH, RATE, ramp)(x, torch.zeros(64, 4), POSITION)
    added = out - x
    mixed = added.abs().amax(1) > 1e-4
    assert 30 < mixed.sum() < 60
    below = (decibels(x) - decibels(added))[mixed]
    assert below.min() > -0.1 and below.max() < 30.1
    steps = added[mixed].diff(dim=1)
    assert torch.allclose(steps, steps.mean(1, keepdim=True).expand_as(steps), atol=1e-4)  # straight lines stay so


def test_a_mask_silences_one_stretch():
    out, _ = varied(torch.ones(4, LENGTH), mask=0.5)
    for row in out:
        silent = np.flatnonzero(row.numpy() == 0)
        assert len(silent) <= LENGTH / 2 and (len(silent) == 0 or np.ptp(silent) == len(silent) - 1)
    assert (out == 0).any() and (out == 1).any()


@pytest.mark.parametrize("kind", ["mixup", "between-class"])
def test_mixed_segments_have_labels_to_match(kind):
    x = tones()
    out, labels = varied(x, mixing=kind)
    assert torch.allclose(labels.sum(1), torch.ones(4)) and ((labels > 0).sum(1) <= 2).all()
    assert (labels.amax(1) < 1).any()
    # How much of each tone is in a mixture: tones of whole periods are orthogonal.
    parts = (out @ x.T) / x.square().sum(1)
    shares = parts if kind == "mixup" else parts / parts.sum(1, keepdim=True)
    assert torch.allclose(shares, labels, atol=1e-3)  # equally loud, so that labels are the shares
    energy = out.square().mean(1) / x.square().mean(1)
    assert kind == "mixup" or torch.allclose(energy, torch.ones(4), atol=1e-3)
    assert torch.equal(varied(x, mixing=kind, mixing_share=0.0)[1], LABELS)


def test_between_class_mixing_weighs_by_loudness():
    """The louder of two gets less weight, so that both are heard in the ratio of their labels."""
    x = tones() * torch.tensor([[1.0], [0.1], [1.0], [0.1]])
    out, labels = varied(x, mixing="between-class")
    loudness = ((out @ x.T) / x.square().sum(1)).abs() * level_of(x)[:, 0]
    assert torch.allclose(loudness / loudness.sum(1, keepdim=True), labels, atol=2e-3)


def test_fast_lengths_have_no_large_factors():
    assert [fast_length(n) for n in (1, 7, 16000, 59049, 22050, 80001)] == [1, 8, 16000, 59049, 22500, 81000]


class Clips:
    """Two clips of 3 and 1 segments whose samples count from 1; the second's from 1001."""

    dtype = np.int16

    def __init__(self) -> None:
        self.task = type("Task", (), {"window": 100})
        self.audio = np.concatenate([np.arange(1, 301), np.arange(1001, 1101)]).astype(np.int16).reshape(4, 100)
        self.clip_starts = np.array([0, 3])

    def __len__(self) -> int:
        return 4

    def gather(self, rows):
        return self.audio[np.asarray(rows)]


@pytest.mark.parametrize("options", [{"crop": 0.5}, {"crop": 1.0}, {"crop": 1.0, "shift": 0.3}, {"shift": 0.3}])
def test_crops_are_stretches_of_their_own_clip_with_silence_outside(options):
    crops = Crops(Clips(), TrainOptions("demo", **options))
    rows, starts = np.array([0, 1, 2, 3] * 25), []
    for row, out in zip(rows, crops(rows, POSITION), strict=True):
        assert len(out) == round(options.get("crop", 1.0) * 100)
        heard = out[out > 0]
        assert (np.diff(heard) == 1).all() and (heard[0] > 1000) == (row == 3)
        inside = np.flatnonzero(out)
        assert np.ptp(inside) == len(inside) - 1
        starts.append(int(heard[0]) - int(inside[0]))
        if "shift" not in options:
            assert len(heard) == len(out)
        else:
            assert len(heard) >= 70
    by_row = [{start for start, row in zip(starts, rows, strict=True) if row == wanted} for wanted in range(4)]
    assert all(len(found) > 5 for found in by_row[:3])
    if options == {"crop": 1.0}:
        assert by_row[3] == {1001}  # as long as its clip
    else:
        assert len(by_row[3]) > 5


def test_speed_reads_more_and_gives_the_same_length(built):
    segments = open_split(str(built / "sounds"), built / "data", "train")
    options = TrainOptions("demo", speed=0.25, crop=0.5)
    crops = Crops(segments, options)
    audio = torch.from_numpy(crops(np.arange(8), POSITION))
    assert audio.shape == (8, crops.read_length) and crops.read_length > 1.18 * crops.length
    out, _ = Augmentation(options, crops.length, RATE)(audio, torch.zeros(8, 3), POSITION)
    assert out.shape == (8, round(0.5 * 729)) and torch.isfinite(out).all()
