"""Explanations of hand-made networks that depend on a known part of the sound."""

import io

import numpy as np
import pytest
import soundfile
import torch

from samplecnn.analysis import explain, explain_over_time
from samplecnn.analysis.attribution import (
    band_edges,
    integrated_gradients,
    log_odds,
    logit_function,
    moment_weights,
    path,
    split_bands,
)
from samplecnn.analysis.explained_window import ExplainedWindow, Settings, explain_window, shortest_range
from samplecnn.analysis.explainer import find_class
from samplecnn.errors import AudioError, UsageError
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.task import Task

RATE = 8000
FEW = Settings(bands=12, moments=20, steps=24)


class Detector(SampleCNN):
    """A network whose first tag depends on the energy in a stretch of time or a band; the others are constant."""

    def __init__(self, seconds=None, hertz=None, window=16000, kind="multilabel", padding="tile"):
        task = Task("planted", ("wanted", "other", "third"), kind, RATE, window, mean=0.01, std=0.2, padding=padding)
        super().__init__(ModelConfig("basic", num_blocks=1, num_classes=3, features=2), task)
        self.seconds, self.hertz = seconds, hertz

    def forward(self, x):
        wave = x * self.task.std + self.task.mean
        if self.hertz is not None:
            spectrum = torch.fft.rfft(wave)
            places = torch.fft.rfftfreq(wave.shape[1], 1 / RATE)
            wave = torch.fft.irfft(spectrum * ((places > self.hertz[0]) & (places < self.hertz[1])), wave.shape[1])
        if self.seconds is not None:
            wave = wave[:, int(self.seconds[0] * RATE) : int(self.seconds[1] * RATE)]
        level = 4 * torch.log1p(300 * (wave**2).mean(dim=1)) - 8
        return torch.stack([level, torch.zeros_like(level), torch.full_like(level, -1)], dim=1)


@pytest.fixture
def noise():
    """noise(seconds) -> white noise, float32."""
    return lambda seconds: (0.2 * np.random.default_rng(5).standard_normal(int(seconds * RATE))).astype(np.float32)


def share(values: np.ndarray, inside: np.ndarray) -> float:
    """The share of all absolute values that lies inside."""
    return float(np.abs(values[inside]).sum() / np.abs(values).sum())


def test_a_network_that_depends_on_one_interval(noise):
    found = explain(Detector(seconds=(1.0, 1.5)).eval(), noise(2), RATE, tags=["wanted"], settings=FEW)
    [window] = found.windows
    inside = (window.times > 0.92) & (window.times < 1.58)  # neighbouring moments overlap by 0.05 s
    assert share(window.moment_loss[0], inside) > 0.99
    assert share(window.by_moment[0], inside) > 0.99
    samples = np.arange(len(window.wave)) / RATE
    assert share(window.attribution[0], (samples >= 1.0) & (samples < 1.5)) == pytest.approx(1)
    named = window.moment_range[0]
    assert named is not None and 0.95 <= named.low < named.high <= 1.55
    assert named.score_without < window.scores[0]
    assert "mostly from 1." in found.words()[0]


def test_a_network_that_depends_on_one_band(noise):
    found = explain(Detector(hertz=(600, 1100)).eval(), noise(2), RATE, tags=["wanted"], settings=FEW)
    [window] = found.windows
    middle = (found.edges[1:] + found.edges[:-1]) / 2
    inside = (found.edges[1:] > 600) & (found.edges[:-1] < 1100)
    assert not inside.all() and np.diff(middle).min() > 0
    assert share(window.band_loss[0], inside) > 0.97
    assert share(window.by_band[0], inside) > 0.97
    named = window.band_range[0]
    assert named is not None and 350 <= named.low < named.high <= 1400
    assert window.moment_range[0] is None  # the band is present all the time
    words = found.words()[0]
    assert "Hz (without" in words and " s (without" not in words


def test_a_network_that_depends_on_a_band_in_one_interval(noise):
    detector = Detector(seconds=(0.5, 1.0), hertz=(1500, 2500)).eval()
    window = explain(detector, noise(2), RATE, tags=["wanted"], settings=FEW).windows[0]
    edges = band_edges(FEW.bands, RATE)
    cells = ((edges[1:] > 1450) & (edges[:-1] < 2550))[:, None] & ((window.times > 0.4) & (window.times < 1.1))
    assert share(window.by_part[0], cells) > 0.9


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_attributions_add_up_to_the_difference_of_the_logit(noise, kind, monkeypatch):
    monkeypatch.setattr("samplecnn.models.stages.dropout", lambda x, *_: x)  # one network, however values are dropped
    torch.manual_seed(8)
    task = Task("t", ("a", "b", "c", "d"), kind, RATE, 6561, mean=0.01, std=0.2)
    model = SampleCNN(ModelConfig("rese2", num_blocks=5, num_classes=4, features=8), task)
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.UPDATE = 1.0  # the statistics of one batch, so that outputs differ between sounds
    with torch.no_grad():
        model.train()(torch.randn(8, 6561))
        model.logit.weight *= 3
    model.eval()
    wave = noise(1)[:6561]
    window = explain_window(model, wave, [0, 2], settings=Settings(steps=400, batch_size=50))
    with torch.no_grad():
        logits = model((torch.from_numpy(np.stack([np.zeros_like(wave), wave])) - 0.01) / 0.2)
        odds = torch.logit((torch.sigmoid if kind == "multilabel" else lambda x: x.softmax(1))(logits))
    difference = (odds[1] - odds[0]).numpy()[[0, 2]]
    assert window.rise == pytest.approx(difference, abs=1e-3)
    assert np.abs(difference).max() > 0.05
    assert window.attribution.sum(axis=1) == pytest.approx(difference, rel=0.06, abs=0.02)
    assert window.gap == pytest.approx(window.attribution.sum(axis=1) - difference, abs=1e-3)
    # the parts add up to the same sum
    assert window.by_moment.sum(axis=1) == pytest.approx(window.attribution.sum(axis=1), abs=1e-4)
    assert window.by_band.sum(axis=1) == pytest.approx(window.attribution.sum(axis=1), abs=1e-4)
    assert window.scores == pytest.approx(torch.sigmoid(odds[1]).numpy()[[0, 2]], abs=1e-5)


def test_more_steps_reduce_the_gap(noise):
    model = Detector(seconds=(0.2, 0.9)).eval()
    gaps = []
    for steps in (1, 4, 16):
        with logit_function(model, [0], 16000) as logits:
            gradients, rise = integrated_gradients(logits, noise(2), steps, 8)
        gaps.append(abs(float((gradients * noise(2)).sum() - rise[0])))
    assert gaps[0] > 10 * gaps[2] and gaps[2] < 0.01
    levels, weights = path(32)
    assert weights.sum() == pytest.approx(1) and (np.diff(levels) > 0).all() and levels[0] > 0 and levels[-1] < 1


def test_explaining_does_not_change_the_model(noise):
    model = Detector(seconds=(0, 1)).train()
    needs = [parameter.requires_grad for parameter in model.parameters()]
    first = explain_window(model, noise(2), [0], settings=FEW)
    again = explain_window(model, noise(2), [0], settings=Settings(12, 20, 24, batch_size=3))
    assert model.training and [parameter.requires_grad for parameter in model.parameters()] == needs
    assert all(parameter.grad is None for parameter in model.parameters())
    np.testing.assert_allclose(first.attribution, again.attribution, atol=1e-5)  # whatever the batch
    np.testing.assert_allclose(first.band_loss, again.band_loss, atol=1e-5)


@pytest.mark.parametrize("padding", ["tile", "zero", "stretch"])
def test_a_clip_shorter_than_the_window_is_explained_on_its_own_time_axis(noise, padding):
    # It is padded to 2 s. The network uses 0 to 0.25 s of that: of a stretched clip the first eighth.
    model = Detector(seconds=(0.0, 0.25), padding=padding).eval()
    wave = noise(0.6)
    found = explain(model, wave, RATE, tags=["wanted"], settings=FEW)
    [window] = found.windows
    assert window.seconds == pytest.approx(0.6) and found.recording_tags.samples == 4800
    assert window.scores[0] == pytest.approx(float(found.recording_tags.scores[0]), abs=1e-4)
    assert abs(window.gap[0]) < 0.02 * abs(window.rise[0])
    heard = 0.25 if padding != "stretch" else 0.25 / 4
    samples = np.arange(4800) / RATE
    assert share(window.attribution[0], samples < heard + 1e-3) == pytest.approx(1, abs=1e-3)


def test_repeats_of_a_tiled_clip_are_added_to_the_sample_they_repeat(noise):
    model = Detector(seconds=(0.0, 2.0)).eval()
    wave = noise(1)
    once = explain_window(model, wave, [0], settings=FEW)
    twice = explain_window(model, np.tile(wave, 2), [0], settings=FEW)
    folded = twice.attribution.reshape(1, 2, -1).sum(axis=1)
    np.testing.assert_allclose(once.attribution, folded, atol=1e-5)


def test_silence_is_named():
    found = explain(Detector().eval(), np.zeros(16000), RATE, settings=FEW)
    assert all("is silent here" in line for line in found.words())
    assert not found.windows[0].attribution.any() and not found.windows[0].band_loss.any()
    assert np.isfinite(found.windows[0].rise).all()


def test_the_clearest_windows_of_a_long_recording_are_explained(noise):
    model = Detector(hertz=(600, 1100), window=4000).eval()  # half a second
    wave = 0.01 * noise(6)
    wave[20000:24000] = noise(0.5)
    wave[36000:40000] = noise(0.5)
    found = explain(model, wave, RATE, tags=["wanted"], max_windows=2, settings=FEW)
    assert [window.start for window in found.windows] == [2.5, 4.5]
    assert len(found.recording_tags.starts) == 12
    for window in found.windows:
        at = int(window.start * RATE)
        np.testing.assert_allclose(window.wave, wave[at : at + 4000], atol=1e-4)
        index = int(found.recording_tags.times.tolist().index(window.start))
        assert window.scores[0] == pytest.approx(found.recording_tags.over_time[index, 0], abs=1e-5)
    assert "where it is clearest" in found.words()[0]
    both = explain(model, wave, RATE, tags=["wanted", "other"], max_windows=1, settings=FEW)
    assert 0.0 in [window.start for window in both.windows]  # every tag's clearest window is among them


def test_all_windows_over_time_in_pages(noise):
    model = Detector(seconds=(0.1, 0.2), window=4000).eval()
    wave = noise(3.3)  # six windows and one more that ends where the recording ends
    pages = list(explain_over_time(model, wave, RATE, tags=["wanted"], windows_per_page=3, settings=FEW))
    assert [len(page.windows) for page in pages] == [3, 3, 1]
    starts = [window.start for page in pages for window in page.windows]
    assert starts == pytest.approx([0, 0.5, 1.0, 1.5, 2.0, 2.5, 2.8])
    assert pages[-1].windows[0].end == pytest.approx(3.3)


def test_long_recordings_are_explained_window_by_window(noise):
    """The first page is available after the first window, before the rest is explained."""
    model = Detector(window=4000).eval()
    pages = explain_over_time(model, noise(60), RATE, windows_per_page=1, settings=Settings(2, 2, 2))
    first = next(pages)
    assert isinstance(first.windows[0], ExplainedWindow) and len(first.windows) == 1
    pages.close()


def test_bands_and_moments_are_partitions_of_unity(noise):
    wave = noise(1)
    bands = split_bands(wave, 10, RATE)
    np.testing.assert_allclose(bands.sum(axis=0), wave, atol=1e-6)
    weights = moment_weights(8000, 7)
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    assert (weights >= 0).all()
    assert split_bands(wave, 1, RATE)[0] == pytest.approx(wave, abs=1e-6)
    assert moment_weights(3, 5).sum(axis=0) == pytest.approx(1)


def test_a_tone_is_in_its_band_without_a_phase_shift(tone):
    edges = band_edges(16, RATE)
    frequency = float((edges[6] + edges[7]) / 2)
    wave = tone(frequency, 1.0, RATE)
    bands = split_bands(wave, 16, RATE)
    inner = slice(800, -800)
    np.testing.assert_allclose(bands[6, inner], wave[inner], atol=0.01)
    assert np.abs(np.delete(bands, 6, axis=0)[:, inner]).max() < 0.01


def test_log_odds_are_those_of_the_probability():
    outputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    for kind, probabilities in (("multiclass", outputs.softmax(1)), ("multilabel", outputs.sigmoid())):
        task = Task("t", tuple("abcde"), kind, RATE, 1000)
        torch.testing.assert_close(log_odds(outputs, [3, 1], task), probabilities[:, [3, 1]].logit())
    alone = Task("t", ("a",), "multiclass", RATE, 1000)
    assert torch.isfinite(log_odds(outputs[:, :1], [0], alone)).all()


@pytest.mark.parametrize(
    "loss, wanted",
    [
        ([0, 0, 5, 4, 0, 0], slice(2, 4)),
        ([0, 0, 0, 0, 0, 9], slice(5, 6)),
        ([9, -5, 0, 1, 0, 0], slice(0, 1)),
        ([1, 1, 1, 1, 1, 1], None),
        ([5, 0, 0, 0, 0, 5], None),
        ([-1, -2, 0, 0, -1, 0], None),
        ([0, 0, 0, 0, 0, 0], None),
    ],
)
def test_the_shortest_range_that_holds_most(loss, wanted):
    assert shortest_range(np.array(loss, dtype=np.float32)) == wanted


def test_an_unknown_tag_gets_one_line_with_similar_ones():
    classes = ("guitar", "no guitar", "techno", "piano")
    assert find_class("Techno", classes) == 2
    with pytest.raises(UsageError, match=r"no tag 'guittar'; did you mean guitar, no guitar\?"):
        find_class("guittar", classes)
    with pytest.raises(UsageError, match=r"no tag 'zzz'; it has guitar, no guitar, techno, piano$"):
        find_class("zzz", classes)


def test_wrong_use_is_one_line(noise, tmp_path):
    model = Detector().eval()
    with pytest.raises(UsageError, match="window"):
        explain(model, noise(1), RATE, max_windows=0)
    with pytest.raises(UsageError, match="top"):
        explain(model, noise(1), RATE, top=0)
    with pytest.raises(UsageError, match="steps must be 1 or more"):
        Settings(steps=0)
    with pytest.raises(UsageError, match="sample rate"):
        explain(model, noise(1))
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    with pytest.raises(AudioError, match="empty"):
        explain(model, empty)


def test_an_open_file_and_a_path_give_the_same(noise, tmp_path):
    model = Detector(window=4000).eval()
    soundfile.write(tmp_path / "a.wav", noise(1.2), RATE)
    of_path = explain(model, tmp_path / "a.wav", settings=FEW)
    of_file = explain(model, io.BytesIO((tmp_path / "a.wav").read_bytes()), settings=FEW)
    assert [window.start for window in of_path.windows] == [window.start for window in of_file.windows]
    np.testing.assert_array_equal(of_path.windows[0].attribution, of_file.windows[0].attribution)


def test_by_default_only_likely_tags_are_explained(noise):
    model = Detector(window=4000).eval()
    assert len(explain(model, noise(1), RATE, settings=FEW, top=3).tags) == 3
    model.task = Task("planted", ("wanted", "other", "third"), "multiclass", RATE, 4000, mean=0.01, std=0.2)
    loud = explain(model, np.sign(noise(0.5)), RATE, settings=FEW)
    assert loud.names == ("wanted",)
