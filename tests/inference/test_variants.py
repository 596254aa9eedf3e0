"""Variants of the network: each trained for one step, folded, run by every engine, summarised and written.

A new variant is a line in VARIANTS.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from samplecnn.analysis import summarize
from samplecnn.bench.plain import PlainSampleCNN
from samplecnn.errors import UsageError
from samplecnn.inference import installed, open_engine
from samplecnn.inference.overlap_plan import align_hop, shared_depth
from samplecnn.interop import keras
from samplecnn.interop.keras import h5, hdf5
from samplecnn.models import ModelConfig, SampleCNN, blocks_for_window, network_spec
from samplecnn.models.folding import fold
from samplecnn.models.logmel import LogMel
from samplecnn.models.stored import StoredModel

VARIANTS: dict[str, dict] = {
    "2^n": {"pool_size": 2, "filter_size": 2, "num_blocks": 6},
    "4^n": {"block": "rese2", "pool_size": 4, "filter_size": 4, "num_blocks": 3},
    "5^n": {"block": "basic", "pool_size": 5, "filter_size": 5, "num_blocks": 3},
    "filters of 5": {"block": "res2", "filter_size": 5},
    "frames of 27": {"block": "basic", "first_size": 27, "num_blocks": 3},
    "strided": {"pooling": "strided"},
    "strided residual": {"block": "rese2", "pooling": "strided", "multi": True},
    "strided, wide filters": {"block": "res1", "pooling": "strided", "pool_size": 2, "filter_size": 5},
    "strided, uneven": {"block": "basic", "pooling": "strided", "filter_size": 4},
    "log-mel": {"logmel": LogMel(8000, 256, 81, 24), "num_blocks": 2},
    "log-mel, residual": {"block": "rese2", "logmel": LogMel(8000, 128, 27, 16), "num_blocks": 3, "multi": True},
    "log-mel, strided": {
        "block": "basic", "logmel": LogMel(8000, 100, 64, 16), "pool_size": 2, "filter_size": 2, "pooling": "strided",
        "num_blocks": 3,
    },
}  # fmt: skip
WINDOW = 729


@pytest.fixture(params=VARIANTS)
def variant(request):
    return VARIANTS[request.param]


@pytest.fixture
def model(make_network, variant) -> SampleCNN:
    return make_network(**variant)


def test_every_engine_computes_it(model, make_sounds, reference):
    for samples in (WINDOW, 1001):  # with and without frames that pooling drops
        segments = make_sounds(3, samples)
        wanted = reference(model, segments)
        assert wanted.std(0).min() > 0.002, "segments must differ for a meaningful test"
        for name in installed():
            for few in (True, False):
                found = open_engine(model, name, "fp32", segments=1 if few else 10**6)(segments)
                np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5, err_msg=f"{name}, {samples} samples")


def test_lower_precisions_are_close(model, make_sounds, reference):
    segments = make_sounds(8, WINDOW)
    for name in ("torch", "openvino", "numpy"):
        if name in installed():
            found = open_engine(model, name, "bf16", segments=10**6)(segments)
            assert np.abs(found - reference(model, segments)).max() < 0.1, name


def test_it_equals_plain_pytorch_layers(model, make_sounds):
    """Compared with ordinary 1-D layers, on a window without dropped frames."""
    if model.logmel is not None:
        with pytest.raises(UsageError, match="not with log-mel frames"):
            PlainSampleCNN(model.config)
        return
    samples = model.hop * 2
    plain = PlainSampleCNN(model.config).eval()
    values = [value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")]
    names = [name for name in plain.state_dict() if not name.endswith("num_batches_tracked")]
    order = [values[i] for i in _plain_order(model)]
    plain.load_state_dict({**plain.state_dict(), **dict(zip(names, order, strict=True))})
    segments = torch.from_numpy(make_sounds(2, samples))
    with torch.inference_mode():
        torch.testing.assert_close(model(segments), plain(segments), rtol=1e-4, atol=1e-4)


def _plain_order(model: SampleCNN) -> list[int]:
    """Indices of a network's values in its state dict, in the order of the plain network."""
    names = list(model.state_dict())
    norm = ("weight", "bias", "running_mean", "running_var")
    wanted: list[str] = []
    for conv in model.spec.convolutions[:1]:
        wanted += [f"{conv.name}.weight", f"{conv.name}.bias", *(f"{conv.norm}.{part}" for part in norm)]
    for stage in model.spec.blocks:
        for conv in stage.convolutions:
            wanted += [f"{conv.name}.weight", f"{conv.name}.bias", *(f"{conv.norm}.{part}" for part in norm)]
        if stage.excitation is not None:
            wanted += [f"{stage.excitation.name}.{layer}.{part}" for layer in ("ex0", "ex1") for part in norm[:2]]
    wanted += ["final_fc.weight", "final_fc.bias", *(f"final_norm.{part}" for part in norm)]
    return [names.index(name) for name in [*wanted, "logit.weight", "logit.bias"]]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_training_step_lowers_the_loss(variant, make_network, make_sounds, precision):
    model = make_network(dropout=0.0, **variant).train()
    model.compute_dtype = precision
    segments, labels = torch.from_numpy(make_sounds(6, WINDOW)), (torch.arange(30).view(6, 5) % 3 == 0).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(segments), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_the_summary_counts_every_layer(model, make_sounds):
    summary = summarize(model, WINDOW)
    assert summary.totals["parameters"] == model.num_values()
    assert summary.totals["receptive_field"] == model.receptive_field
    assert summary.totals["macs"] == model.spec.macs(WINDOW)
    ends = [
        next(row.time for row in reversed(summary.layers) if row.group == stage.label) for stage in model.spec.blocks
    ]
    assert ends == [output.shape[1] for output in model.features(torch.from_numpy(make_sounds(1, WINDOW)))]


def test_the_receptive_field_is_the_support_of_the_gradient(model, make_sounds):
    """The samples that a frame of the second block depends on, by the gradient of the network."""
    depth = 1 + (model.stem is not None)
    field = model.spec.receptive_fields(WINDOW)[depth + 1]
    wave = torch.from_numpy(make_sounds(1, WINDOW)).requires_grad_()
    for excitation in [stage.excitation for stage in model.stages if stage.excitation is not None]:
        excitation.factors = lambda x: torch.ones(len(x), x.shape[2])  # it depends on the whole window
    x = model.first(wave)
    for stage in model.stages[: depth + 1]:
        x = stage(x)
    frame = x.shape[1] // 2
    x[0, frame].sum().backward()
    (reached,) = np.nonzero(wave.grad[0].numpy())
    first = field.first + frame * field.hop
    assert first <= reached.min() and reached.max() < first + field.size
    assert reached.max() - reached.min() >= min(field.size, WINDOW) // 2, "most of the field has a gradient"


def test_overlapping_windows_are_computed_separately(model):
    net = fold(model)
    if model.logmel is None and net.spec.first.width == 3 and all(stage.pool == 3 for stage in net.stages):
        pytest.skip("its layers are shared where the filters allow it, as test_overlap.py has it")
    assert shared_depth(net, WINDOW, 243) == 0 and shared_depth(net, WINDOW, 81) == 0
    assert align_hop(net, WINDOW, 250) == 250


def test_keras_files_are_read_back(model, tmp_path, monkeypatch):
    if model.logmel is not None:
        with pytest.raises(UsageError, match="cannot express this model: its log-mel frames"):
            h5.write(model, tmp_path / "m.h5")
        assert not (tmp_path / "m.h5").exists()
        return
    monkeypatch.setattr(h5, "read_contents", hdf5.contents)  # without the sandbox
    assert keras.unsupported(model.config) is None
    h5.write(model, tmp_path / "m.h5")
    again = h5.read(tmp_path / "m.h5")
    assert again.config.to_dict() == model.config.to_dict()
    for name, value in StoredModel.of(model).values.items():
        np.testing.assert_array_equal(again.values[name], value)


def test_configurations_of_earlier_versions_are_those_of_the_original():
    earlier = {"block": "res2", "multi": True, "num_blocks": 8, "num_classes": 35, "features": 128, "dropout": 0.5}
    config = ModelConfig.from_dict(earlier)
    assert config == ModelConfig("res2", True, 8, 35)
    assert config.signature == "res2_multi" and config.variant == ""
    assert ModelConfig.from_dict(replace(config, pool_size=2, pooling="strided").to_dict()).pool_size == 2


def test_depths_of_the_sub_sampling_models():
    """A window of m^n samples becomes one frame: by the first convolution over m samples and n - 1 blocks."""
    samples = {2: (2**14, 13), 3: (3**10, 9), 4: (4**8, 7), 5: (5**7, 6)}
    for size, (window, blocks) in samples.items():
        assert blocks_for_window(window, pool_size=size) == blocks
        spec = network_spec(ModelConfig("basic", num_blocks=blocks, pool_size=size, filter_size=size))
        assert spec.hop == window and spec.first.width == size
        assert {conv.width for conv in spec.convolutions} == {size}
    assert blocks_for_window(3**10, first_size=729) == 4  # in frames of 729 samples


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool_size": 1}, "pool_size must be a whole number from 2 to 8,192, not 1"),
        ({"filter_size": 0}, "filter_size must be a whole number from 1 to 8,192, not 0"),
        ({"first_size": 0}, "first_size must be a whole number from 1 to 8,192, not 0"),
        ({"pooling": "mean"}, "pooling must be max or strided, not 'mean'"),
        ({"block": "rese2-wide", "pooling": "strided"}, "rese2-wide is used as it was converted"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        ModelConfig(**settings)
