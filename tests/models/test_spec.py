"""The description of a network: figures that can be worked out by hand, and names that stored models rely on."""

import itertools

import pytest

from samplecnn.errors import UsageError
from samplecnn.models import (
    BLOCKS,
    CONVERTED_BLOCKS,
    BlockSpec,
    ModelConfig,
    SampleCNN,
    blocks_for_window,
    network_spec,
)


@pytest.mark.parametrize(
    ("block", "multi", "tail"), [*itertools.product([*BLOCKS, *CONVERTED_BLOCKS], (False, True), (False, True))]
)
def test_names_and_shapes_are_those_of_the_modules(block, multi, tail):
    config = ModelConfig(block, multi, num_blocks=4, num_classes=3, features=8, tail=tail)
    net, spec = SampleCNN(config), network_spec(config)
    state = {name: tuple(value.shape) for name, value in net.state_dict().items() if name.endswith(".weight")}
    expected = {}
    for conv in spec.convolutions:
        expected[f"{conv.name}.weight"] = (conv.features, conv.channels, conv.width)
        expected[f"{conv.norm}.weight"] = (conv.features,)
    for stage in spec.stages:
        if stage.excitation is not None:
            sizes = stage.excitation.hidden, stage.excitation.features
            expected[f"{stage.excitation.name}.ex0.weight"] = sizes
            expected[f"{stage.excitation.name}.ex1.weight"] = sizes[::-1]
    for dense in (spec.hidden, spec.logit):
        expected[f"{dense.name}.weight"] = (dense.outputs, dense.inputs)
    expected[f"{spec.hidden.norm}.weight"] = (spec.hidden.outputs,)
    assert state == expected


def test_work_is_counted():
    mtt = network_spec(ModelConfig(block="se", num_blocks=9))
    assert mtt.macs(59049) == pytest.approx(1.73e9, rel=0.01)
    one = network_spec(ModelConfig(block="basic", num_blocks=1, features=2, num_classes=1))
    convolutions = 3 * 1 * 2 * 3 + 3 * 2 * 4 * 3  # conv0 gives 3 frames of 2 features, block 0 sees them 3 at a time
    assert one.macs(9) == convolutions + 4 * 4 + 4


def test_receptive_field_and_hop():
    mtt = network_spec(ModelConfig(block="se", num_blocks=9))
    assert (mtt.receptive_field, mtt.hop, mtt.min_samples) == (118_095, 59_049, 59_047)
    net = SampleCNN(ModelConfig(block="res2", num_blocks=2, features=8))
    # conv0 sees 3 samples; each block adds 2 * 2 hops by its convolutions and 2 by its pooling
    assert (net.receptive_field, net.hop) == (3 + 6 * 3 + 6 * 9, 27)


def test_blocks_for_a_window():
    assert [blocks_for_window(window) for window in (59049, 22050, 9, 3)] == [9, 8, 1, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"convs": ()}, "at least one frame"),
        ({"convs": (0,)}, "at least one"),
        ({"pool": 1}, "pool must be at least 2"),
    ],
)
def test_a_block_that_cannot_be_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        BlockSpec(**settings)
