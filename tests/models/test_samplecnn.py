"""The network against the listed sizes, a plain re-creation, and known answers; over every registered block."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from samplecnn import ModelConfig, SampleCNN, Task
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.models import BLOCKS, blocks_for_window
from samplecnn.models.layers import BatchNorm, Conv, FirstConv, dropout, first_padding

ALL = [(block, multi) for block in BLOCKS for multi in (False, True)]


def small(block: str, multi: bool = False, **changes) -> SampleCNN:
    torch.manual_seed(1)
    config = {"block": block, "multi": multi, "num_blocks": 4, "num_classes": 5, "features": 8, **changes}
    model = SampleCNN(ModelConfig(**config))
    for name, value in model.state_dict().items():  # non-trivial statistics and biases
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name.endswith(("bias", "running_mean")):
            value.uniform_(-0.3, 0.3)
    return model


def plain_forward(model: SampleCNN, x: torch.Tensor) -> torch.Tensor:
    """The paper's network in the simplest words: [batch, channels, time], ordinary 1-D layers, evaluation mode."""
    w, c = model.state_dict(), model.config

    def conv(x, name, **how):
        return F.conv1d(x, w[f"{name}.weight"], w[f"{name}.bias"], **how)

    def norm(x, name):
        shape = (1, -1, 1) if x.ndim == 3 else (1, -1)
        gamma, beta, mean, var = (
            w[f"{name}.{k}"].view(shape) for k in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / torch.sqrt(var + 1e-3) * gamma + beta

    def excite(x, name):
        hidden = torch.relu(x.mean(2) @ w[f"{name}.excitation.ex0.weight"].T + w[f"{name}.excitation.ex0.bias"])
        factors = hidden @ w[f"{name}.excitation.ex1.weight"].T + w[f"{name}.excitation.ex1.bias"]
        return x * torch.sigmoid(factors)[:, :, None]

    steps = math.ceil(x.shape[1] / 3)
    missing = max(3 * (steps - 1) + 3 - x.shape[1], 0)
    x = F.pad(x[:, None], (missing // 2, missing - missing // 2))
    x = torch.relu(norm(conv(x, "conv0", stride=3), "norm0"))
    levels = []
    for i in range(c.num_blocks):
        name = f"blocks.{i}"
        if "res" in c.block:
            path, shortcut = x, x
            if f"{name}.scut_conv.weight" in w:
                shortcut = norm(conv(x, f"{name}.scut_conv"), f"{name}.scut_norm")
            for j in range(int(c.block[-1])):
                path = torch.relu(path) if j else path
                path = norm(conv(path, f"{name}.convs.{j}", padding=1), f"{name}.norms.{j}")
            path = excite(path, name) if "rese" in c.block else path
            x = F.max_pool1d(torch.relu(path + shortcut), 3)
        else:
            x = F.max_pool1d(torch.relu(norm(conv(x, f"{name}.conv", padding=1), f"{name}.norm")), 3)
            x = excite(x, name) if c.block == "se" else x
        levels.append(x.amax(2))
    x = torch.cat(levels[-3:], 1) if c.multi else levels[-1]
    x = torch.relu(norm(x @ w["final_fc.weight"].T + w["final_fc.bias"], "final_norm"))
    return x @ w["logit.weight"].T + w["logit.bias"]


@pytest.mark.parametrize(("block", "multi"), ALL)
@pytest.mark.parametrize("samples", [243, 244, 300, 1001])
def test_equals_a_plain_recreation(block, multi, samples):
    model = small(block, multi).eval()
    x = torch.randn(3, samples)
    with torch.no_grad():
        torch.testing.assert_close(model(x), plain_forward(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("block", "multi", "size"), [("basic", False, 1_875_762), ("se", False, 2_050_386), ("rese2", True, 5_108_562)]
)
def test_listed_sizes(block, multi, size):
    assert SampleCNN(ModelConfig(block=block, multi=multi, num_blocks=9, num_classes=50)).num_values() == size


@pytest.mark.parametrize(("block", "multi"), ALL)
def test_learns_and_every_value_gets_a_gradient(block, multi):
    model = small(block, multi, dropout=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    time = torch.arange(729) / 729
    x = torch.stack([torch.sin(2 * math.pi * f * time) for f in (5, 20, 60, 120, 240)]).repeat(4, 1)
    x = x + 0.1 * torch.randn_like(x)
    y = torch.arange(5).repeat(4)
    for _ in range(60):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 < math.log(5)
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize(("block", "multi"), ALL)
def test_bf16_stays_close_and_trains(block, multi):
    model = small(block, multi, features=16)
    x, y = torch.randn(8, 729), torch.arange(8) % 5
    model.eval()
    with torch.no_grad():
        exact = model(x)
        model.compute_dtype = torch.bfloat16
        rounded = model(x)
    assert rounded.dtype == torch.float32
    assert (exact - rounded).abs().max() < 0.1 * exact.abs().max()
    F.cross_entropy(model.train()(x), y).backward()
    assert all(value.grad.dtype == torch.float32 for value in model.parameters())


@pytest.mark.parametrize("block", BLOCKS)
def test_a_batch_is_its_clips(block):
    model = small(block).eval()
    x = torch.randn(5, 500)
    with torch.no_grad():
        torch.testing.assert_close(model(x), torch.cat([model(row[None]) for row in x]), rtol=1e-4, atol=1e-5)


def test_windows_and_their_blocks():
    assert [blocks_for_window(n) for n in (59049, 22050, 19683, 110250, 9)] == [9, 8, 8, 9, 1]


@pytest.mark.parametrize("window", [9, 81, 100, 729, 5000, 16000, 22050, 59049, 110250, 132300])
def test_a_model_for_a_window_takes_it(window):
    blocks = blocks_for_window(window)
    model = SampleCNN(ModelConfig(block="basic", num_blocks=blocks, num_classes=2, features=2)).eval()
    assert model.min_samples <= window
    assert model(torch.zeros(1, window)).shape == (1, 2)


def test_too_short_an_input_is_refused():
    model = small("basic").eval()
    assert model(torch.zeros(1, model.min_samples)).shape == (1, 5)
    with pytest.raises(SampleCNNError, match="too few"):
        model(torch.zeros(1, model.min_samples - 1))
    with pytest.raises(SampleCNNError, match="batch, samples"):
        model(torch.zeros(1, 1, 500))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"block": "se3"}, "unknown block"),
        ({"multi": True, "num_blocks": 2}, "3 blocks"),
        ({"features": 4}, "amplifying ratio"),
        ({"num_classes": 0}, "num_classes must be a whole number from 1"),
        ({"dropout": 1.0}, "dropout"),
        ({"num_blocks": 10**9}, "num_blocks must be a whole number from 1 to 32"),
        ({"features": "8"}, "features must be a whole number"),
    ],
)
def test_impossible_architectures_are_named(changes, word):
    with pytest.raises(UsageError, match=word):
        ModelConfig(**changes)


def test_probabilities_follow_the_task():
    x = torch.randn(2, 243)
    for kind in ("multilabel", "multiclass"):
        model = small("se").eval()
        model.task = Task(name="t", classes=tuple("abcde"), kind=kind)
        with torch.no_grad():
            p, logits = model.probabilities(x), model(x)
        if kind == "multiclass":
            torch.testing.assert_close(p.sum(1), torch.ones(2))
        else:
            torch.testing.assert_close(p, 1 / (1 + torch.exp(-logits)))
    model.task = None
    with pytest.raises(SampleCNNError, match="task"):
        model.probabilities(x)


@pytest.mark.parametrize(
    ("samples", "padding"), [(9, (0, 0)), (10, (1, 1)), (11, (0, 1)), (22050, (0, 0)), (1, (1, 1))]
)
def test_same_padding_puts_the_smaller_half_in_front(samples, padding):
    assert first_padding(samples, "same") == padding


@pytest.mark.parametrize(("kind", "zeros"), [("valid", 0), ("centred", 1)])
@pytest.mark.parametrize("samples", [243, 244, 245, 1001])
def test_other_first_paddings_are_pytorchs(kind, zeros, samples):
    conv, x = FirstConv(4, kind), torch.randn(2, samples)
    with torch.no_grad():
        expected = F.conv1d(x[:, None], conv.weight, conv.bias, stride=3, padding=zeros)
        torch.testing.assert_close(conv(x).transpose(1, 2), expected)


@pytest.mark.parametrize("kind", ["same", "valid", "centred"])
def test_the_least_number_of_samples_is_exact(kind):
    model = small("se", first_padding=kind).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, model.min_samples)).isfinite().all()
    with pytest.raises(SampleCNNError, match="too few"):
        model(torch.zeros(1, model.min_samples - 1))
    steps = sum(first_padding(model.min_samples - 1, kind)) + model.min_samples - 1
    assert steps // 3 < 3**4  # the last pooling would have nothing left


def test_initial_values_have_the_originals_ranges():
    torch.manual_seed(0)
    model = SampleCNN(ModelConfig(block="rese2", num_blocks=9, features=128))
    for module, limit in (
        (model.conv0, math.sqrt(3 * 1 / 3)),
        (model.blocks[1].convs[0], math.sqrt(3 * 2 / (128 * 3 * 128))),
        (model.blocks[3].convs[1], math.sqrt(3 * 2 / (256 * 3 * 256))),
        (model.blocks[2].scut_conv, math.sqrt(6 / (128 + 256))),
        (model.final_fc, math.sqrt(6 / (512 + 512))),
    ):
        largest = module.weight.abs().max().item()
        assert 0.97 * limit < largest <= limit
        assert module.bias.abs().max() == 0
        assert abs(module.weight.std().item() - limit / math.sqrt(3)) < 0.05 * limit


def test_batch_norm_is_keras():
    norm = BatchNorm(3)
    x = torch.randn(4, 5, 3) * 3 + 1
    y = norm(x)
    mean, var = x.mean((0, 1)), x.var((0, 1), unbiased=False)
    expected = (x - mean) / torch.sqrt(var + 1e-3)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_mean, 0.01 * mean)
    torch.testing.assert_close(norm.running_var, 0.99 + 0.01 * var)


def test_dropout_drops_the_share_and_keeps_the_mean():
    torch.manual_seed(3)
    x = torch.ones(4, 1001, 16).requires_grad_()
    y = dropout(x, 0.2, True)
    assert set(y.unique().tolist()) == {0.0, 1.25}
    assert abs((y == 0).float().mean().item() - 0.2) < 0.01
    per_channel = (y == 0).float().mean((0, 1))
    assert (per_channel - 0.2).abs().max() < 0.05
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())
    assert dropout(x, 0.2, False) is x


def test_first_convolution_is_a_strided_same_convolution():
    first, x = FirstConv(4), torch.randn(2, 100)
    expected = F.conv1d(F.pad(x[:, None], (1, 1)), first.weight, first.bias, stride=3)
    torch.testing.assert_close(first(x).transpose(1, 2), expected)


def test_convolution_keeps_length_and_layout():
    y = Conv(8, 6)(torch.randn(2, 50, 8))
    assert y.shape == (2, 50, 6) and y.is_contiguous()


def test_same_seed_same_model():
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(SampleCNN(ModelConfig(num_blocks=3, features=8)).state_dict())
    assert all(np.array_equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))
