"""The layers every block is made of.

Inside the network a batch is [batch, channels, 1, time] in channels-last memory, which is [batch, time, channels] in
order: a 1-wide image, because PyTorch's fast convolution, pooling and batch-norm kernels exist for images. Weights
keep the shapes of their 1-D layers. Activations are in the network's compute type (float32 or bfloat16); weights,
batch-norm statistics and everything behind the last pooling stay float32.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FirstPadding = Literal["same", "valid", "centred"]


def first_padding(samples: int, kind: FirstPadding) -> tuple[int, int]:
    """Zeros in front and behind that make `samples` a whole number of threes; below zero: samples left out.

    "same" is TensorFlow's (the smaller half in front; the original), "valid" leaves out what does not fill a three
    (the authors' code of 2018), "centred" is PyTorch's padding=1, each three centred on a sample (its peers).
    For a length that three divides, the first two are the same.
    """
    if kind == "valid":
        return 0, -(samples % 3)
    total = -samples % 3
    return (1, total - 1) if kind == "centred" else (total // 2, total - total // 2)


class FirstConv(nn.Conv1d):
    """The strided convolution on the waveform: [batch, samples] -> [batch, features, 1, about samples / 3].

    As wide as its stride, it is one matrix product over the samples taken three by three.
    """

    def __init__(self, features: int, padding: FirstPadding = "same") -> None:
        super().__init__(1, features, 3, stride=3)
        self.kind = padding

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, first_padding(x.shape[1], self.kind))
        x = F.linear(x.view(x.shape[0], -1, 3), self.weight.squeeze(1), self.bias)
        return x.unsqueeze(1).permute(0, 3, 1, 2)


class Conv(nn.Conv1d):
    """A 3-wide (or 1-wide) convolution that keeps the length, on [batch, channels, 1, time]."""

    def __init__(self, channels: int, features: int, width: int = 3) -> None:
        super().__init__(channels, features, width, padding=width // 2)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.unsqueeze(2), self.bias
        assert bias is not None
        return F.conv2d(x, weight.to(x.dtype), bias.to(x.dtype), padding=(0, self.kernel_size[0] // 2))


class BatchNorm(nn.Module):
    """Batch norm as in Keras: epsilon 1e-3, keeps 0.99 of its running averages, running variance uncorrected.

    Takes [batch, channels] or [batch, channels, 1, time].
    """

    EPSILON = 1e-3
    UPDATE = 0.01

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        count = x.numel() // x.shape[1]
        if not self.training or count == 1:  # one value has no variance: the running averages are all there is
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.EPSILON)
        mean, var = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        x = F.batch_norm(x, mean, var, self.weight, self.bias, True, 1.0, self.EPSILON)
        with torch.no_grad():  # PyTorch divides the variance by count - 1, Keras by count
            self.running_mean.lerp_(mean, self.UPDATE)
            self.running_var.lerp_(var * ((count - 1) / count), self.UPDATE)
        return x


def time_last_but_one(x: Tensor) -> Tensor:
    """[batch, channels, 1, time] -> [batch, time, channels], the order in memory.

    A gradient that is spread over time in this order needs no reordering where it meets the others.
    """
    return x.permute(0, 2, 3, 1).squeeze(1)


class Excitation(nn.Module):
    """Squeeze and excitation: a factor in (0, 1) for every feature, from the features' means over time.

    [batch, features, 1, time] -> [batch, features] (paper section II-B; Hu et al. 2018 for images).
    """

    def __init__(self, features: int, ratio: float) -> None:
        super().__init__()
        hidden = int(features * ratio)
        self.ex0 = nn.Linear(features, hidden)
        self.ex1 = nn.Linear(hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = time_last_but_one(x).mean(1, dtype=torch.float32)
        return torch.sigmoid(self.ex1(F.relu(self.ex0(squeezed))))


def scale(x: Tensor, factors: Tensor) -> Tensor:
    """x [batch, features, 1, time] times factors [batch, features]."""
    return x * factors.to(x.dtype)[:, :, None, None]


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Drops `share` of the values in training and scales the rest up.

    On a CPU the random numbers cost more than a convolution, so one 64-bit draw decides four values.
    """
    if not training or share == 0 or x.device.type != "cpu":
        return F.dropout(x, share, training)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[: x.numel()] >= round(share * 2**16) - 2**15
    factors = kept.to(x.dtype).mul_(1 / (1 - share))
    return x * factors.view(x.shape[0], x.shape[3], 1, x.shape[1]).permute(0, 3, 2, 1)


def max_pool(x: Tensor) -> Tensor:
    """Max over time by threes; what is left over at the end is dropped."""
    return F.max_pool2d(x, (1, 3), (1, 3))
