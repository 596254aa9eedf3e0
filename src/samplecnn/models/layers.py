"""The layers every block is made of.

Inside the network a batch is [batch, time, channels]: the order in which matrix products, pooling and batch norm are
fastest. Weights keep the shapes of PyTorch's 1-D layers. Activations are in the network's compute type (float32 or
bfloat16); weights, batch-norm statistics and everything behind the last pooling stay float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplecnn import kernels
from samplecnn.kernels import gpu
from samplecnn.models.config import EPSILON, FIRST_SIZE, NORM_UPDATE, FirstPadding, first_padding
from samplecnn.models.logmel import FLOOR, LogMel, filters, hann
from samplecnn.models.receptive_field import same_padding
from samplecnn.processes import current_share

FUSED_POOL = 3  # frames of the pooling that the compiled passes know; any other is PyTorch's
FUSED_WIDTHS = (1, 3)  # frames of the convolutions that they know, without a stride


def is_frozen(weight: Tensor, x: Tensor) -> bool:
    """Whether neither a layer's weight nor its input gets a gradient, in training or not.

    Frozen layers use the compiled passes of training, with stored statistics. Evaluation uses PyTorch's kernels.
    """
    return not weight.requires_grad and not x.requires_grad


class FirstConv(nn.Conv1d):
    """The strided convolution on the waveform: [batch, samples] -> [batch, about samples / size, features].

    As wide as its stride, it is one matrix product over frames of `size` samples, 3 in the original.
    """

    def __init__(self, features: int, padding: FirstPadding = "same", size: int = FIRST_SIZE) -> None:
        super().__init__(1, features, size, stride=size)
        self.kind, self.size = padding, size

    def frames(self, x: Tensor) -> Tensor:
        """[batch, samples] -> [batch, time, size], what each step of time is made of."""
        return F.pad(x, first_padding(x.shape[1], self.kind, self.size)).view(x.shape[0], -1, self.size)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.frames(x), self.weight.squeeze(1), self.bias)


class LogMelFrames(nn.Module):
    """Log-mel frames: [batch, samples] -> float32 [batch, frames, bands], see `logmel`. Nothing is learnt."""

    window: Tensor
    bands: Tensor

    def __init__(self, logmel: LogMel) -> None:
        super().__init__()
        self.logmel = logmel
        for name, value in (("window", hann(logmel.frame)), ("bands", filters(logmel))):
            self.register_buffer(name, torch.from_numpy(value.copy()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return log_mel(F.pad(x, self.logmel.padding(x.shape[1])), self.logmel, self.window, self.bands)


def log_mel(padded: Tensor, logmel: LogMel, window: Tensor, bands: Tensor) -> Tensor:
    """`LogMel.__call__` on tensors."""
    frames = padded.float().unfold(1, logmel.frame, logmel.hop) * window
    power = torch.view_as_real(torch.fft.rfft(frames)).square().sum(-1)
    return torch.log(power @ bands.T + FLOOR)


class Conv(nn.Conv1d):
    """A convolution on [batch, time, channels], with the padding of `same_padding`; a batch norm follows it.

    Gives [batch, time // stride, features].
    """

    def __init__(self, channels: int, features: int, width: int = 3, stride: int = 1) -> None:
        super().__init__(channels, features, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.fusable:
            return kernels.conv(x, self.weight, self.bias, normed=self.training)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        padded = F.pad(x.transpose(1, 2), same_padding(self.kernel_size[0], self.stride[0]))
        return F.conv1d(padded, self.weight.to(x.dtype), bias, self.stride).transpose(1, 2).contiguous()

    @property
    def fusable(self) -> bool:
        """Whether the compiled passes know a convolution of this shape."""
        return self.stride[0] == 1 and self.kernel_size[0] in FUSED_WIDTHS


class BatchNorm(nn.Module):
    """Batch norm as in Keras: epsilon 1e-3, keeps 0.99 of its running averages, running variance uncorrected.

    Takes [batch, channels] or [batch, time, channels]. A ReLU and max-pooling over `pool` frames may follow at once.
    """

    EPSILON = EPSILON
    UPDATE = NORM_UPDATE

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor, relu: bool = False, pool: int = 1) -> Tensor:
        count, share = x.numel() // x.shape[-1], current_share()
        if share is not None:
            count = share.whole(count)
        if not self.training and is_frozen(self.weight, x) and x.ndim == 3 and kernels.is_faster(x):
            following = kernels.Following(self.EPSILON, relu, pool == FUSED_POOL)
            x = kernels.stored_batch_norm(x, self.weight, self.bias, self.running_mean, self.running_var, following)
            return x if following.pool else max_pool(x, pool)
        if not self.training or count == 1:  # one value has no variance: the running averages are all there is
            y = _channels_second(x)
            y = F.batch_norm(y, self.running_mean, self.running_var, self.weight, self.bias, eps=self.EPSILON)
            return _followed(_channels_last(y, x), relu, pool)
        if x.ndim == 3 and kernels.is_faster(x):
            fused = pool == FUSED_POOL
            x, mean, var = kernels.batch_norm(x, self.weight, self.bias, self.EPSILON, relu, fused)
            x = x if fused else max_pool(x, pool)
        elif share is not None:
            x, mean, var = kernels.divided_batch_norm(x, self.weight, self.bias, self.EPSILON, share)
            x = _followed(x, relu, pool)
        else:
            mean, var = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
            y = F.batch_norm(_channels_second(x), mean, var, self.weight, self.bias, True, 1.0, self.EPSILON)
            x = _followed(_channels_last(y, x), relu, pool)
            var = var * ((count - 1) / count)  # PyTorch divides the variance by count - 1, Keras by count
        self.update_running_stats(mean, var)
        return x

    @torch.no_grad()
    def update_running_stats(self, mean: Tensor, var: Tensor) -> None:
        """Adds a batch's mean and (uncorrected) variance to the running averages."""
        self.running_mean.lerp_(mean, self.UPDATE)
        self.running_var.lerp_(var, self.UPDATE)


def _channels_second(x: Tensor) -> Tensor:
    """[batch, time, channels] as an image, for which PyTorch has fast kernels: [batch, channels, time, 1]."""
    return x if x.ndim == 2 else kernels.as_image(x)


def _channels_last(y: Tensor, x: Tensor) -> Tensor:
    return y if x.ndim == 2 else kernels.from_image(y)


def _followed(x: Tensor, relu: bool, pool: int) -> Tensor:
    return max_pool(F.relu(x, inplace=True) if relu else x, pool)


class Excitation(nn.Module):
    """Squeeze and excitation: scales every feature by a factor in (0, 1) that the features' means over time give.

    Keeps the shape, [batch, time, features] (paper section II-B; Hu et al. 2018 for images).
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.ex0 = nn.Linear(features, hidden)
        self.ex1 = nn.Linear(hidden, features)

    def values(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weight and bias of both layers."""
        return self.ex0.weight, self.ex0.bias, self.ex1.weight, self.ex1.bias

    def factors(self, x: Tensor) -> Tensor:
        """[batch, time, features] -> [batch, features]."""
        squeezed = x.mean(1, dtype=torch.float32)
        return torch.sigmoid(self.ex1(F.relu(self.ex0(squeezed))))

    def forward(self, x: Tensor) -> Tensor:
        if (self.training or is_frozen(self.ex0.weight, x)) and kernels.is_faster(x):
            return kernels.excite(x, *self.values())
        return x * self.factors(x).to(x.dtype)[:, None]


def conv_norm(
    conv: nn.Module,
    norm: nn.Module,
    x: Tensor,
    relu: bool = False,
    pool: int = 1,
    excitation: Excitation | None = None,
) -> Tensor:
    """A convolution and its batch norm, and where they follow, ReLU, max-pooling, and then an excitation."""
    assert isinstance(conv, Conv) and isinstance(norm, BatchNorm) and conv.bias is not None
    fused = conv.fusable and pool in (1, FUSED_POOL) and kernels.is_supported(x, conv.out_channels)
    values = None if excitation is None else excitation.values()
    parameters = (conv.weight, conv.bias), (norm.weight, norm.bias)
    following = kernels.Following(norm.EPSILON, relu, pool == FUSED_POOL)
    if fused and not norm.training and is_frozen(conv.weight, x):
        return kernels.conv_stored_norm(x, *parameters, (norm.running_mean, norm.running_var), following, values)
    share = current_share()
    one_value = (x.shape[0] if share is None else share.total) * x.shape[1] == 1
    if norm.training and not one_value and torch.is_grad_enabled() and conv.fusable and gpu.is_usable(x):
        x, mean, var = gpu.conv_norm(x, *parameters, norm.EPSILON, relu, pool, values)
        norm.update_running_stats(mean, var)
        return x
    if not norm.training or one_value or not fused:
        x = norm(conv(x), relu, pool)
        return x if excitation is None else excitation(x)
    x, mean, var = kernels.conv_norm(x, *parameters, following, values)
    norm.update_running_stats(mean, var)
    return x


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Drops `share` of the values in training and scales the rest up.

    On a CPU the random numbers cost more than a convolution. Where they are not computed in passing, one draw of 64
    bits decides four values. If several processes divide a batch, values are dropped as in the whole batch; on a GPU
    each process has random numbers of its own.
    """
    part = current_share() if training and share > 0 else None
    if not training or share == 0 or (x.device.type != "cpu" and part is None):
        return F.dropout(x, share, training)
    if x.device.type != "cpu" and part is not None:
        seed = int(torch.randint(2**62, ())) + part.processes.rank  # the same in all processes, but for the rank
        random = torch.Generator(x.device).manual_seed(seed)
        return x * torch.empty_like(x).bernoulli_(1 - share, generator=random).mul_(1 / (1 - share))
    first, whole = (0, x.numel()) if part is None else (part.first * x[0].numel(), part.whole(x.numel()))
    if kernels.is_faster(x, whole=True):
        return kernels.dropout(x, share)
    draws = torch.empty(-(-whole // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[first : first + x.numel()] >= round(share * 2**16) - 2**15
    return x * kept.to(x.dtype).mul_(1 / (1 - share)).view(x.shape)


def head_dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """PyTorch's dropout of x [batch, features]; if several processes divide a batch, that of the whole batch."""
    part = current_share()
    if part is None or not training:
        return F.dropout(x, share, training)
    factors = F.dropout(x.new_ones(part.total, x.shape[1]), share)
    return x * factors[part.first : part.first + part.count]


def sum_pool(x: Tensor, y: Tensor, pool: int) -> Tensor:
    """The end of a residual block: x + y, ReLU, max-pooling."""
    if pool == FUSED_POOL and torch.is_grad_enabled() and kernels.is_faster(x):
        return kernels.sum_pool(x, y)
    return max_pool(F.relu(x + y, inplace=True), pool)


def max_pool(x: Tensor, size: int) -> Tensor:
    """The largest of every `size` frames, which need not overlap; frames left over at the end are dropped."""
    if size == 1:
        return x
    return _channels_last(F.max_pool2d(_channels_second(x), (size, 1), (size, 1)), x)
