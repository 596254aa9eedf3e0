"""Learned filters of networks with known filters: the known frequencies are found."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from samplecnn import ModelConfig, SampleCNN, Task
from samplecnn.analysis import learn_filters
from samplecnn.analysis.filters import spectra_of
from samplecnn.analysis.plots import draw_filters, draw_first_layer, draw_peaks, save_figure
from samplecnn.errors import UsageError

RATE = 22050
PLANTED = np.linspace(3000, 8000, 12)  # Hz: resolved from 0 Hz and from half the sample rate by nine samples


def task(window: int = 729) -> Task:
    return Task("planted", ("a", "b"), sample_rate=RATE, window=window)


@torch.no_grad()
def band_passes() -> SampleCNN:
    """conv0 hands on its three samples, halved into positive and negative; block 0 holds band-passes of nine samples;
    filter k of block 1 has filter k of block 0 as its only input."""
    net = SampleCNN(ModelConfig(block="basic", num_blocks=3, features=12, num_classes=2), task()).eval()
    for name, value in net.named_parameters():
        if not name.endswith("norm.weight") and name != "norm0.weight":
            value.zero_()
    for tap in range(3):
        net.conv0.weight[tap, 0, tap] = 1
        net.conv0.weight[3 + tap, 0, tap] = -1
    window = np.hanning(11)[1:-1]
    for number, frequency in enumerate(PLANTED):
        taps = torch.tensor(window * np.cos(2 * np.pi * frequency / RATE * np.arange(-4, 5))).float().view(3, 3)
        net.blocks[0].conv.weight[number, 0:3] = taps.T
        net.blocks[0].conv.weight[number, 3:6] = -taps.T
        net.blocks[1].conv.weight[number, number, 1] = 1
    return net


@pytest.fixture(scope="module")
def found():
    return learn_filters(band_passes(), precision="fp32")


@pytest.mark.parametrize(("layer", "most", "mean"), [("block0_conv", 500, 250), ("block1_conv", 1000, 500)])
def test_known_band_passes_are_found(found, layer, most, mean):
    """Nine samples resolve about 2,400 Hz; block 1 gets them rectified as well."""
    one = found[layer]
    off = np.abs(one.peak_hz - PLANTED)
    assert off.max() < most and off.mean() < mean
    assert np.corrcoef(one.order, np.arange(12))[0, 1] > 0.95  # sorted by peak, they are as they were planted


def test_a_filter_without_input_is_dead(found):
    conv0 = found["conv0"]
    assert conv0.dead == 6 and np.isnan(conv0.peak_hz[6:]).all() and not conv0.spectra[6:].any()
    assert set(conv0.order[-6:].tolist()) == set(range(6, 12))
    assert found["block2_conv"].dead == len(found["block2_conv"])


@torch.no_grad()
def test_the_first_layers_peaks_are_those_of_its_frequency_responses():
    """A filter at every third sample responds most to a period of three samples, 7,350 Hz, which is not its peak."""
    net = SampleCNN(ModelConfig(block="basic", num_blocks=2, features=4, num_classes=2), task()).eval()
    taps = torch.tensor([[-1.0, 2, -1], [1, 0, -1], [1, 1, 1], [1, 1, -1]])
    net.conv0.weight[:, 0] = taps
    with torch.enable_grad():
        found = learn_filters(net, layers=["conv0"])
    truth = found.frequencies[found.responses.argmax(axis=1)]
    assert truth[0] > 11000 and truth[1] == pytest.approx(RATE / 4, abs=31) and truth[2] == 0
    assert found["conv0"].peak_hz == pytest.approx(truth, abs=900)  # of a width of about 7,000 Hz


def test_ascent_raises_the_activation_at_constant_level():
    torch.manual_seed(0)
    net = SampleCNN(ModelConfig(block="se", num_blocks=3, features=8, num_classes=2), task()).eval()
    start = learn_filters(net, steps=1, precision="fp32")
    end = learn_filters(net, precision="fp32")
    for before, after in zip(start.layers[:3], end.layers[:3], strict=True):
        assert after.activation.mean() > 1.1 * before.activation.mean()
        assert np.square(after.waves).mean(axis=1) == pytest.approx(1, rel=1e-4)  # not by a higher level
        assert np.abs(after.waves.mean(axis=1)).max() < 1e-4


def test_a_seed_is_repeatable_and_the_model_is_not_changed():
    net = SampleCNN(ModelConfig(block="rese2", num_blocks=2, features=8, num_classes=2), task())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    one, again = (learn_filters(net, steps=3, seed=5, precision="fp32") for _ in range(2))
    alone = learn_filters(net, steps=3, seed=5, layers=["block1_conv1"], precision="fp32")
    other = learn_filters(net, steps=3, seed=6, precision="fp32")
    for a, b, c in zip(one.layers, again.layers, other.layers, strict=True):
        assert np.array_equal(a.waves, b.waves) and not np.array_equal(a.waves, c.waves)
    assert np.array_equal(alone.layers[0].waves, one["block1_conv1"].waves)
    assert net.training and all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_spectrum_is_that_of_the_wave(tone):
    waves = np.stack([tone(1000, 0.1, RATE), tone(5000, 0.1, RATE)])
    for field in (3, 100, 1000):
        spectra = spectra_of(waves, field)
        peaks = np.fft.rfftfreq(729, 1 / RATE)[spectra.argmax(axis=1)]
        assert peaks == pytest.approx([1000, 5000], abs=31 if field > 3 else 150)
        assert spectra.max(axis=1) == pytest.approx(1)


def test_wrong_use_is_one_line():
    net = SampleCNN(ModelConfig(num_blocks=2, features=8, num_classes=2), task())
    with pytest.raises(UsageError, match=r"no layer 'block9_conv'; it has conv0, block0_conv, block1_conv"):
        learn_filters(net, layers=["block9_conv"])
    with pytest.raises(UsageError, match="steps must be 1 or more"):
        learn_filters(net, steps=0)


def test_table_and_pictures(found, tmp_path):
    pq.write_table(found.table(), tmp_path / "filters.parquet")
    table = pq.read_table(tmp_path / "filters.parquet")
    rows = table.filter(np.array(table["layer"]) == "block0_conv").to_pylist()
    assert [row["filter"] for row in rows] == list(range(12))
    assert np.argsort([row["rank"] for row in rows]).tolist() == found["block0_conv"].order.tolist()
    peaks = [(1 + np.argmax(row["spectrum"][1:])) * int(table.schema.metadata[b"sample_rate"]) / 729 for row in rows]
    assert peaks == pytest.approx([row["peak_hz"] for row in rows])
    dead = table.filter(np.array(table["layer"]) == "block2_conv").to_pylist()
    assert dead[0]["peak_hz"] is None
    figures = [draw_filters(found, "block0_conv"), draw_filters(found, "block2_conv"), draw_peaks(found)]
    for number, figure in enumerate([*figures, draw_first_layer(found)]):
        assert save_figure(figure, tmp_path / f"{number}.png").stat().st_size > 5000
    upper, lower = figures[0].axes[:2]
    on_linear = lower.lines[0].get_ydata()  # the line over the colours is that of the peaks, in order
    assert np.allclose(on_linear, np.sort(found["block0_conv"].peak_hz))
    assert np.allclose(upper.lines[0].get_ydata(), 2595 * np.log10(1 + on_linear / 700))
    with pytest.raises(UsageError, match="no filters of 'conv7'"):
        draw_filters(found, "conv7")
