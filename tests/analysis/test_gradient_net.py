"""Batch norms folded into convolutions: the same results."""

import pytest
import torch

from samplecnn import ModelConfig, SampleCNN
from samplecnn.analysis.gradient_net import FoldedNorm, gradient_network
from samplecnn.models.layers import BatchNorm


@pytest.fixture
def lived():
    """lived(config) -> a network whose norms are far from their initial values, some factors below zero."""

    def make(**config):
        generator = torch.Generator().manual_seed(3)
        net = SampleCNN(ModelConfig(num_blocks=4, features=8, num_classes=3, **config))
        with torch.no_grad():
            for norm in (module for module in net.modules() if isinstance(module, BatchNorm)):
                norm.weight.normal_(generator=generator)
                norm.bias.normal_(generator=generator)
                norm.running_mean.normal_(generator=generator)
                norm.running_var.uniform_(0.5, 2, generator=generator)
        return net

    return make


@pytest.mark.parametrize("block", ["basic", "se", "res1", "rese2", "rese2-wide"])
@pytest.mark.parametrize("tail", [False, True])
def test_answers_and_gradients_stay(lived, block, tail):
    """The features agree everywhere; the gradients but where rounding decides which of two frames a pooling takes."""
    net, agree = lived(block=block, tail=tail, multi=True).eval(), []
    for _ in range(6):
        wave = torch.randn(1, 800, requires_grad=True)
        inner, quick = net.features(wave), gradient_network(net).features(wave)
        for ours, theirs in zip(quick, inner, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        [wanted], [got] = (torch.autograd.grad(levels[-1].square().sum(), wave) for levels in (inner, quick))
        largest = float(wanted.abs().max())
        assert largest > 1e-6
        agree.append(torch.allclose(got, wanted, rtol=1e-3, atol=1e-4 * largest))
    assert sum(agree) >= 4


def test_the_network_itself_is_left_as_it_was(lived):
    net = lived(block="rese2")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    made = gradient_network(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training and all(value.requires_grad for value in net.parameters())
    assert not any(isinstance(module, FoldedNorm) for module in net.modules())
    assert not made.training and not any(value.requires_grad for value in made.parameters())
    left = [name for name, module in made.named_modules() if type(module) is BatchNorm]
    assert left == ["final_norm"]  # every other one is folded
