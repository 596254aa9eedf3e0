"""Batch norm in training with ReLU and max-pooling after it: two passes over memory forward, two backward."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from samplecnn.kernels.operands import Affine, Batch, InputFactors, Pooled
from samplecnn.kernels.threads import bounds, floats, parallel_for, parallel_sum, rows, run
from samplecnn.processes import Share, current_share


class Following(NamedTuple):
    """A batch norm's epsilon, and the operations after it; max-pooling requires the ReLU."""

    epsilon: float
    relu: bool
    pool: bool


class Sums(NamedTuple):
    """The sums of y - pivot and of its square, float64 [2, channels], and the pivot, float32 [channels]."""

    sums: np.ndarray
    pivot: np.ndarray


@dataclass
class Normed:
    """What backward needs from a batch norm of y [batch, time, channels].

    Args:
        y: the batch norm's input.
        mean, variance: of the batch, float64 [channels]; the variance is uncorrected.
        scale: 1 / sqrt(variance + epsilon), float64 [channels].
        affine: the batch norm as a function of y.
        kept, chosen: with pooling, the y that it chose and which of 3 steps that was, [batch, time // 3, channels].
        share: of the batch that y is, if several processes divide it.
    """

    y: Tensor
    mean: np.ndarray
    variance: np.ndarray
    scale: np.ndarray
    affine: Affine
    kept: Tensor | None = None
    chosen: Tensor | None = None
    share: Share | None = None

    def split(self) -> tuple["Normed", tuple[Tensor | None, ...]]:
        """Separates the large tensors, which autograd frees as soon as they have been used."""
        return replace(self, y=self.y.new_empty(0), kept=None, chosen=None), (self.y, self.kept, self.chosen)

    def joined(self, y: Tensor, kept: Tensor | None, chosen: Tensor | None) -> "Normed":
        return replace(self, y=y, kept=kept, chosen=chosen)


def batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, relu: bool, pool: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm with mean and variance of the batch; then optionally ReLU and max-pooling over 3 steps.

    Args:
        x: [batch, time, channels], for which `is_faster` holds.
        weight, bias: gamma and beta, float32 [channels].
        epsilon: added to the variance.
        relu, pool: operations after it; `pool` requires `relu`.

    Returns:
        The result [batch, time or time // 3, channels], and mean and (uncorrected) variance, float32 [channels].
    """
    return _BatchNorm.apply(x, weight, bias, Following(epsilon, relu, pool))  # type: ignore[no-untyped-call,no-any-return]


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, following):  # type: ignore[no-untyped-def]
        from samplecnn.kernels import norm_passes

        x = x.contiguous()
        pivot = x[0, 0].detach().float().numpy()
        sums = parallel_sum(norm_passes.moments, x.shape[0] * x.shape[1], x.shape[2], 2, rows(x), pivot)
        out, normed = normalised(x, *mean_and_variance(x, Sums(sums, pivot)), weight, bias, following)
        ctx.normed, large = normed.split()
        ctx.save_for_backward(weight, *large)
        statistics = floats(normed.mean, normed.variance)
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    def backward(ctx, gradient, *_):  # type: ignore[no-untyped-def]
        weight, *large = ctx.saved_tensors
        normed, gradient = ctx.normed.joined(*large), gradient.contiguous()
        grad_weight, grad_bias, factors = gradients(normed, weight, gradient)
        return input_gradient(normed, gradient, factors), *floats(grad_weight, grad_bias), None


def stored_batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, following: Following
) -> Tensor:
    """The same with given mean and variance, float32 [channels]; without gradients."""
    y = x.contiguous()
    return normalised(y, mean.double().numpy(), variance.double().numpy(), weight, bias, following)[0]


def mean_and_variance(y: Tensor, moments: Sums) -> tuple[np.ndarray, np.ndarray]:
    """Mean and uncorrected variance of y [batch, time, channels], float64 [channels], from the sums over y.

    Of a batch that several processes divide, those of the whole batch.
    """
    count, share = y.shape[0] * y.shape[1], current_share()
    shift, square = moments.sums / count
    mean, variance = shift + moments.pivot, np.maximum(square - shift * shift, 0)
    return (mean, variance) if share is None else share.moments(mean, variance, count)


def normalised(
    y: Tensor,
    mean: np.ndarray,
    variance: np.ndarray,
    weight: Tensor,
    bias: Tensor,
    following: Following,
    sums_over_time: Tensor | None = None,
) -> tuple[Tensor, Normed]:
    """The batch norm of y [batch, time, channels] with mean and variance, and the operations after it.

    With pooling, the result is added to `sums_over_time`, float32 [batch, channels], unless that is None.
    """
    from samplecnn.kernels import norm_passes

    batch, steps, channels = y.shape
    count, scale = batch * steps, 1 / np.sqrt(variance + following.epsilon)
    exact = weight.detach().numpy() * scale
    k, d = exact.astype(np.float32), (bias.detach().numpy() - mean * exact).astype(np.float32)
    normed = Normed(y, mean, variance, scale, Affine(k, d, following.relu), share=current_share())
    if not following.pool:
        out = torch.empty_like(y)
        parallel_for(norm_passes.affine, count, channels, rows(y), normed.affine, rows(out))
        return out, normed
    pooled = steps // 3
    out = y.new_empty(batch, pooled, channels)
    normed.kept = kept = torch.empty_like(out)
    normed.chosen = chosen = torch.empty(out.shape, dtype=torch.uint8)
    sums = None if sums_over_time is None else sums_over_time.numpy()
    operands = Batch(rows(y), steps), normed.affine, Pooled(rows(out), rows(kept), rows(chosen)), sums
    calls = [(lo * pooled, hi * pooled, *operands) for lo, hi in bounds(batch, pooled * channels)]
    run(norm_passes.affine_pool, calls)
    return out, normed


def gradients(normed: Normed, weight: Tensor, gradient: Tensor) -> tuple[np.ndarray, np.ndarray, InputFactors]:
    """The gradients of gamma and beta, float64 [channels], and the factors of the gradient of y."""
    from samplecnn.kernels import norm_passes

    y, g, mean = normed.y, rows(gradient), np.float32(normed.mean)
    batch, steps, channels = y.shape
    if normed.kept is None or normed.chosen is None:
        plain = rows(y), mean, normed.affine, g
        total, product = parallel_sum(norm_passes.affine_sums, batch * steps, channels, 2, *plain)
    else:
        pooled = rows(normed.kept), mean, g, rows(normed.chosen)
        total, product = parallel_sum(norm_passes.affine_pool_sums, len(g), channels, 2, *pooled)
    return from_sums(normed, weight, total, product)


def from_sums(
    normed: Normed, weight: Tensor, total: np.ndarray, product: np.ndarray
) -> tuple[np.ndarray, np.ndarray, InputFactors]:
    """The result of `gradients` from sum g and sum g (y - mean), float64 [channels].

    If several processes divide the batch, gamma and beta get the gradients of this share, which are added up with all
    others, and the factors are those of the whole batch.
    """
    count = normed.y.shape[0] * normed.y.shape[1]
    # With z = (y - mean) scale: dbeta = total, dgamma = scale product.
    grad_weight, grad_bias = normed.scale * product, total
    if normed.share is not None:
        count, (total, product) = normed.share.whole(count), normed.share.sum(np.stack((total, product)))
    a = weight.detach().numpy() * normed.scale
    b = -a * normed.scale * (normed.scale * product) / count
    e = -a * total / count - b * normed.mean
    return grad_weight, grad_bias, InputFactors(a.astype(np.float32), b.astype(np.float32), e.astype(np.float32))


def input_gradient(normed: Normed, gradient: Tensor, factors: InputFactors) -> Tensor:
    """The gradient of y."""
    from samplecnn.kernels import norm_passes

    y, g, out = normed.y, rows(gradient), torch.empty_like(normed.y)
    batch, steps, channels = y.shape
    if normed.chosen is None:
        plain = rows(y), normed.affine, g, factors, rows(out)
        parallel_for(norm_passes.affine_input, batch * steps, channels, *plain)
    else:
        pooled = Batch(rows(y), steps), g, rows(normed.chosen), factors, rows(out)
        parallel_for(norm_passes.affine_pool_input, len(g), channels, *pooled)
    return out
