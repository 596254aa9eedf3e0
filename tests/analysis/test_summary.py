"""The table of layers compared with the network itself: shapes, receptive fields, arithmetic, parameters."""

import itertools
import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from samplecnn import ModelConfig, SampleCNN
from samplecnn.analysis import summarize
from samplecnn.analysis.layers import conv_layers
from samplecnn.analysis.run_analyze import print_summary
from samplecnn.errors import UsageError
from samplecnn.models import BLOCKS, CONVERTED_BLOCKS
from samplecnn.models.layers import Excitation

KINDS = [*BLOCKS, *CONVERTED_BLOCKS]
SMALL = {"num_blocks": 3, "features": 8, "num_classes": 4}


def small(block: str, **more) -> SampleCNN:
    return SampleCNN(ModelConfig(block=block, **{**SMALL, **more})).eval()


@pytest.mark.parametrize(("block", "multi", "tail"), [*itertools.product(KINDS, (False, True), (False, True))])
def test_shapes_and_parameters_are_the_networks(block, multi, tail):
    net = small(block, multi=multi, tail=tail)
    samples = 500
    summary = summarize(net, samples, 8000)
    assert summary.totals["parameters"] == net.num_values()
    assert summary.totals["trainable"] == net.num_trainable() == sum(value.numel() for value in net.parameters())
    assert summary.totals["statistics"] == sum(value.numel() for value in net.buffers())
    outputs = net.features(torch.zeros(1, samples))
    ends = [row for row in summary.ends.values() if row.group.startswith("block")]
    if tail:
        ends[-1] = summary.ends["tail"]
    assert [(row.time, row.features) for row in ends] == [tuple(output.shape[1:]) for output in outputs]
    assert summary.ends["conv0"].time == net.first(torch.zeros(1, samples)).shape[1]
    for row in summary.layers:
        assert row.activation_bytes == 4 * row.time * row.features


@pytest.mark.parametrize("block", KINDS)
def test_arithmetic_is_what_pytorch_counts(block):
    net = small(block, multi=True, tail=True)
    summary = summarize(net, 729, 8000)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 729))
    assert summary.totals["macs"] == counter.get_total_flops() // 2
    assert summary.totals["macs_per_second"] == pytest.approx(summary.totals["macs"] * 8000 / 729)


def only_reach_counts(net: SampleCNN) -> None:
    """Positive weights and no statistics: a sample that is loud reaches whatever it can reach. Excitations say 1."""
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.fill_(0.0 if "bias" in name else 1.0)
    for module in net.modules():
        if isinstance(module, Excitation):
            module.factors = lambda x: torch.ones(x.shape[0], x.shape[2])


@pytest.mark.parametrize(
    ("block", "padding", "samples"), [*itertools.product(KINDS, ("same", "valid", "centred"), (243, 250, 251))]
)
def test_reach_is_what_a_perturbation_measures(block, padding, samples):
    """One sample after the other is made loud; the steps that answer are those whose field it lies in."""
    net = small(block, first_padding=padding)
    only_reach_counts(net)
    summary = summarize(net, samples, 8000)
    with torch.no_grad():
        outputs = net.features(torch.eye(samples))
    for number, output in enumerate(outputs):
        row = summary.ends[f"block{number}"]
        answered = (output.sum(2) > 0).T  # [time, samples]
        assert len(answered) == row.time
        expected = torch.zeros_like(answered)
        for step in range(row.time):
            begin = row.first + step * row.hop
            expected[step, max(begin, 0) : max(begin + row.receptive_field, 0)] = True
        whole = row.time * row.hop - 1  # after it a pooling may have dropped an incomplete step
        assert torch.equal(answered[:, :whole], expected[:, :whole])
        assert not (answered & ~expected).any()


@pytest.mark.parametrize("block", KINDS)
def test_the_convolutions_are_those_of_the_summary(block):
    net = small(block, tail=True)
    rows = {row.name: row for row in summarize(net, 243, 8000).layers}
    layers = conv_layers(net)
    assert [layer.name for layer in layers] == [
        name for name, row in rows.items() if row.kind == "convolution" and "scut" not in name
    ]
    for layer in layers:
        row = rows[layer.name]
        assert (layer.receptive_field.size, layer.receptive_field.hop) == (row.receptive_field, row.hop)
        assert layer.response(torch.zeros(2, 243)).shape == (2, row.time, row.features)
        assert layer.response(torch.zeros(1, layer.min_samples)).shape[1] == 1  # and no sample less


def test_the_layers_response_is_what_the_network_computes():
    net = small("rese2").train(False)
    seen = []
    net.blocks[1].norms[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    wave = torch.randn(2, 243)
    net.features(wave)
    layer = next(layer for layer in conv_layers(net) if layer.name == "block1_conv1")
    assert torch.allclose(layer.response(wave), seen[0], atol=1e-6)


def test_the_originals_sizes():
    assert summarize(SampleCNN(ModelConfig(block="basic")), 59049).totals["parameters"] == 1_875_762
    summary = summarize(SampleCNN(ModelConfig(block="se")))
    assert summary.samples == 59049  # without a task: what fills every step
    assert summary.ends["block8"].receptive_field == 118_095 and summary.ends["block8"].hop == 59_049


def test_too_short_an_input_is_one_line():
    with pytest.raises(UsageError, match="100 samples are too few: this model needs 241 or more"):
        summarize(SampleCNN(ModelConfig(num_blocks=4, features=8)), 100)


def test_it_is_written_as_json_and_text(capsys):
    summary = summarize(small("se"), 250, 8000)
    read = json.loads(json.dumps(summary.to_dict()))
    assert read["layers"][1]["name"] == "block0_conv"
    assert read["layers"][1]["receptive_field_ms"] == pytest.approx(1000 * 9 / 8000)
    assert read["layers"][-1]["receptive_field"] is None  # the head looks at everything
    print_summary(summary)
    said = capsys.readouterr().out
    assert all(row.name in said for row in summary.layers)
    totals = summary.totals
    assert totals["trainable"] + totals["statistics"] == totals["parameters"]
    assert f"{totals['trainable']:,} trainable weights and {totals['statistics']:,} batch-norm statistics" in said
