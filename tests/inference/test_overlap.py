"""Windows that share layers, compared with the same windows computed separately."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from samplecnn.inference import open_engine, overlap
from samplecnn.inference.overlap import Sharing
from samplecnn.inference.overlap_plan import HOP_TOLERANCE, align_hop, shared_depth
from samplecnn.inference.streaming import Streaming, can_stream
from samplecnn.models import BLOCKS, ModelConfig, SampleCNN, blocks_for_window
from samplecnn.tagging import Tagger
from samplecnn.task import Task

BOUND = {"fp32": 2e-6, "bf16": 0.03}  # rounding errors; a bf16 step is 0.004 of a value
LENGTHS = [(2187, "same"), (2300, "same"), (2189, "valid"), (2188, "centred")]


@pytest.fixture(scope="module")
def network():
    """network(block, multi, window, first_padding) -> a network whose outputs differ between windows."""

    def make(block="se", multi=False, window=2187, first_padding="same", **more) -> SampleCNN:
        torch.manual_seed(1)
        task = Task("t", tuple("abcde"), "multilabel", 8000, window, mean=0.001, std=0.2)
        config = ModelConfig(block, multi, blocks_for_window(window), 5, 8, 0.25, first_padding=first_padding, **more)
        model = SampleCNN(config, task)
        for module in model.modules():
            if hasattr(module, "running_mean"):
                module.UPDATE = 0.5
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.uniform_(-0.5, 0.5)
        model.train()
        with torch.no_grad():
            for _ in range(4):
                model(torch.randn(4, window) * torch.tensor([[0.1], [0.5], [1.0], [2.0]]))
            model.logit.weight *= 5
        return model.eval()

    return make


def noise_for(count: int, hop: int, window: int) -> np.ndarray:
    """Noise of increasing level, so that windows differ."""
    noise = np.random.default_rng(0).normal(size=(count - 1) * hop + window)
    return (noise * np.linspace(0.1, 2, len(noise))).astype(np.float32)


def separate_windows(buffer: np.ndarray, window: int, hop: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(buffer, window)[::hop]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("block", "multi"), list(itertools.product(BLOCKS, [False, True])))
def test_shared_layers_give_the_outputs_of_separate_windows(network, block, multi, precision):
    depths = set()
    for window, padding in LENGTHS:
        engine = open_engine(network(block, multi, window, padding), "torch", precision)
        for hop in (90, 243, window // 2):
            hop = align_hop(engine.net, window, hop)
            buffer = noise_for(11, hop, window)
            shared = Sharing(engine, window, hop)
            depths.add(shared.depth)
            wanted = engine(separate_windows(buffer, window, hop))
            assert np.ptp(wanted, axis=0).max() > 0.02, "outputs must differ"
            np.testing.assert_allclose(shared(buffer), wanted, rtol=0, atol=BOUND[precision])
    assert depths == ({1} if "se" in block else {1, 3})


@pytest.mark.parametrize("more", [{}, {"filter_size": 5}], ids=["3", "5"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("block", ["basic", "se"])
def test_windows_that_come_one_by_one_share_the_first_block(network, block, precision, more):
    for window, padding in LENGTHS:
        engine = open_engine(network(block, False, window, padding, **more), "numpy", precision)
        for hop in (90, 243, 1089):
            assert can_stream(engine, window, hop) and not can_stream(engine, window, hop + 1)
            starts = np.append(hop * np.arange(11), 10 * hop + 5)  # the last one ends where the sound ends
            buffer = noise_for(12, hop, window)
            separate = np.stack([buffer[start : start + window] for start in starts])
            wanted, stream = engine(separate), Streaming(engine, window, hop)
            assert np.ptp(wanted, axis=0).max() > 0.01, "outputs must differ"
            parts = np.concatenate(
                [stream(separate[part], starts[part]) for part in (slice(3), slice(3, 4), slice(4, 12))]
            )
            bound = 2e-6 if precision == "fp32" else 1e-3  # the operands are rounded alike
            np.testing.assert_allclose(parts, wanted, rtol=0, atol=bound)
            stream.frames += 1
            assert np.abs(stream(separate[:1], starts[-1:] + hop) - wanted[:1]).max() > bound  # they are used


@pytest.mark.parametrize("block", ["basic", "se", "res2", "rese2"])
def test_the_ends_of_windows_matter(network, block, monkeypatch):
    engine = open_engine(network(block), "torch", "fp32")
    hop = align_hop(engine.net, 2187, 243)
    buffer = noise_for(5, hop, 2187)
    shared = Sharing(engine, 2187, hop)
    wanted = engine(separate_windows(buffer, 2187, hop))
    monkeypatch.setattr(
        overlap, "_windows", lambda level, lo, hi: overlap._cut(level.whole, lo, hi, level.hop, level.steps)
    )
    assert abs(shared(buffer) - wanted).max() > 100 * BOUND["fp32"]


def test_hops_are_aligned_within_their_tolerance(network):
    nets = {block: open_engine(network(block), "torch", "fp32").net for block in BLOCKS}
    nets = {block: replace(net, stages=(*net.stages, *net.stages[-3:])) for block, net in nets.items()}
    for net, hop in itertools.product(nets.values(), (500, 1000, 5512, 29524, 40000)):
        rounded = align_hop(net, 59049, hop)
        assert abs(rounded - hop) <= HOP_TOLERANCE * hop and rounded <= 59049
        assert shared_depth(net, 59049, rounded) > 0
    assert align_hop(nets["basic"], 59049, 5512) % 81 == 0 and shared_depth(nets["basic"], 59049, 5508) == 3
    assert align_hop(nets["se"], 59049, 5512) % 9 == 0 and shared_depth(nets["se"], 59049, 5508) == 1
    assert align_hop(nets["rese2"], 59049, 5512) % 3 == 0
    assert align_hop(nets["se"], 59049, 59049) == 59049 and shared_depth(nets["se"], 59049, 59049) == 0
    assert align_hop(nets["se"], 59049, 7) == 7, "too short to be changed"


@pytest.mark.parametrize(
    ("block", "seconds", "shared"),
    [("se", 0.06, True), ("se", 0.13, False), ("basic", 0.13, True), ("rese2", 0.06, False)],
)
def test_auto_shares_layers_if_faster(network, block, seconds, shared):
    from samplecnn.inference import ENGINES

    tagger = Tagger(network(block), hop=seconds, segments=100_000)
    if shared or not ENGINES["openvino"].installed:
        assert tagger.engine.name == "torch" and tagger.sharing is not None
    else:
        assert tagger.engine.name == "openvino" and tagger.sharing is None
    assert Tagger(network(block), hop=seconds, engine="torch").sharing is not None, (
        "on request, layers are shared at any hop"
    )


def test_networks_with_a_stem_share_no_layers(network):
    tagger = Tagger(network("rese2-wide", tail=True), hop=0.1, precision="fp32")
    assert tagger.hop == 800 and tagger.sharing is None


@pytest.mark.parametrize("seconds", [0.1, 0.2734, 0.3, 1.0, 2.9])
@pytest.mark.parametrize("block", ["basic", "rese2"])
def test_tags_with_a_hop_equal_those_of_separate_windows(network, block, seconds, tmp_path):
    """Windows of a file, read in blocks and batches, compared with separate windows; short and long recordings."""
    model = network(block)
    wave = noise_for(1, 1, round(seconds * 8000)) * np.float32(0.1)
    soundfile.write(tmp_path / "x.wav", wave, 8000, subtype="PCM_16")
    tagger = Tagger(model, 4, hop=243 / 8000, precision="fp32", engine="torch")
    assert tagger.sharing is not None and tagger.hop == 243
    tags = tagger(tmp_path / "x.wav")
    alone = Tagger(model, precision="fp32", engine="torch")
    assert tags.seconds == pytest.approx(seconds, abs=1e-4)
    if len(wave) <= 2187:
        assert tags.starts.tolist() == [0]
        np.testing.assert_allclose(tags.over_time, alone(tmp_path / "x.wav").over_time, rtol=0, atol=1e-6)
        return
    whole = list(range(0, len(wave) - 2187 + 1, 243))
    left = len(wave) - 2187 - whole[-1]
    assert tags.starts.tolist() == whole + ([len(wave) - 2187] if left >= 24.3 else [])
    samples = soundfile.read(tmp_path / "x.wav", dtype="float32")[0]
    wanted = np.concatenate([alone(samples[start : start + 2187], 8000).over_time for start in tags.starts])
    np.testing.assert_allclose(tags.over_time, wanted, rtol=0, atol=2e-6)


def test_windows_of_a_long_recording_stay_in_order(network, tmp_path, monkeypatch):

    wave = noise_for(40, 243, 2187) * np.float32(0.1)
    soundfile.write(tmp_path / "x.wav", wave, 8000)
    tagger = Tagger(network("basic"), 4, hop=243 / 8000, precision="fp32", engine="torch")
    wanted = tagger(tmp_path / "x.wav")
    from samplecnn import audio

    monkeypatch.setattr(audio, "MAX_SINGLE_READ_SAMPLES", 100)
    # About one window per block, so that some are pending between batches.
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 2300)
    tags = tagger(tmp_path / "x.wav")
    np.testing.assert_array_equal(tags.starts, wanted.starts)
    np.testing.assert_allclose(tags.over_time, wanted.over_time, rtol=0, atol=2e-6)
