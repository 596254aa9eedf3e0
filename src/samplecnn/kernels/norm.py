"""Batch norm in training with what follows it, ReLU and max-pooling, in two passes over memory each way."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from samplecnn.kernels.threads import bounds, floats, parallel_for, parallel_sum, passes, rows, run

Factors = tuple[np.ndarray, np.ndarray, np.ndarray]  # a, b, e, float32 [channels]: dy = a g + b y + e


@dataclass
class Normed:
    """What the way back needs of a batch norm of y [batch, time, channels]; float64 [channels] where nothing is said.

    Args:
        mean, variance: of the batch, the variance uncorrected.
        scale: 1 / sqrt(variance + epsilon).
        k, d: the batch norm is k y + d; float32.
        relu: whether a ReLU follows.
        kept, chosen: where pooling follows, the y that it chose and which of three that was.
    """

    y: Tensor
    mean: np.ndarray
    variance: np.ndarray
    scale: np.ndarray
    k: np.ndarray
    d: np.ndarray
    relu: bool
    kept: Tensor | None = None
    chosen: Tensor | None = None

    def parted(self) -> tuple["Normed", tuple[Tensor | None, ...]]:
        """The same without what is large, and that, which autograd gives back as soon as it was used."""
        return replace(self, y=self.y.new_empty(0), kept=None, chosen=None), (self.y, self.kept, self.chosen)

    def whole(self, y: Tensor, kept: Tensor | None, chosen: Tensor | None) -> "Normed":
        return replace(self, y=y, kept=kept, chosen=chosen)


def norm(
    x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, relu: bool, pool: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm by the batch's own mean and variance; then, if asked for, ReLU and max-pooling by threes over time.

    Args:
        x: [batch, time, channels], for which `fits` holds.
        weight, bias: gamma and beta, float32 [channels].
        relu, pool: what follows; a pool without a ReLU is not there.

    Returns:
        The result [batch, time or time // 3, channels], and mean and (uncorrected) variance, float32 [channels].
    """
    return _Norm.apply(x, weight, bias, epsilon, relu, pool)  # type: ignore[no-untyped-call,no-any-return]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, epsilon, relu, pool):  # type: ignore[no-untyped-def]
        x = x.contiguous()
        pivot = x[0, 0].detach().float().numpy()
        sums = parallel_sum(passes().moments, x.shape[0] * x.shape[1], x.shape[2], 2, rows(x), pivot)
        out, normed = normalised(x, sums, pivot, weight, bias, epsilon, relu, pool)
        ctx.normed, large = normed.parted()
        ctx.save_for_backward(weight, *large)
        statistics = floats(normed.mean, normed.variance)
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    def backward(ctx, gradient, *_):  # type: ignore[no-untyped-def]
        weight, *large = ctx.saved_tensors
        normed, gradient = ctx.normed.whole(*large), gradient.contiguous()
        of_weight, of_bias, factors = gradients(normed, weight, gradient)
        return of_input(normed, gradient, *factors), *floats(of_weight, of_bias), None, None, None


def normalised(
    y: Tensor,
    sums: np.ndarray,
    pivot: np.ndarray,
    weight: Tensor,
    bias: Tensor,
    epsilon: float,
    relu: bool,
    pool: bool,
    sums_over_time: Tensor | None = None,
) -> tuple[Tensor, Normed]:
    """The batch norm of y [batch, time, channels] and what follows, from the sums of y - pivot and of its square.

    What was pooled is added to `sums_over_time`, float32 [batch, channels], where it is asked for.
    """
    batch, steps, channels = y.shape
    count = batch * steps
    shift = sums[0] / count
    variance = np.maximum(sums[1] / count - shift * shift, 0)
    mean, scale = shift + pivot, 1 / np.sqrt(variance + epsilon)
    exact = weight.detach().numpy() * scale
    k, d = exact.astype(np.float32), (bias.detach().numpy() - mean * exact).astype(np.float32)
    normed = Normed(y, mean, variance, scale, k, d, relu)
    if not pool:
        out = torch.empty_like(y)
        parallel_for(passes().affine, count, channels, rows(y), k, d, relu, rows(out))
        return out, normed
    out = y.new_empty(batch, steps // 3, channels)
    normed.kept = kept = torch.empty_like(out)
    normed.chosen = chosen = torch.empty(out.shape, dtype=torch.uint8)
    pooled = steps // 3
    summed = None if sums_over_time is None else sums_over_time.numpy()
    made = steps, rows(y), k, d, rows(out), rows(kept), rows(chosen), summed
    run(passes().affine_pool, [(lo * pooled, hi * pooled, *made) for lo, hi in bounds(batch, pooled * channels)])
    return out, normed


def gradients(normed: Normed, weight: Tensor, gradient: Tensor) -> tuple[np.ndarray, np.ndarray, Factors]:
    """Those of gamma and beta, float64 [channels], and with them the factors of that of y."""
    y, g, centre = normed.y, rows(gradient), np.float32(normed.mean)
    batch, steps, channels = y.shape
    if normed.kept is None or normed.chosen is None:
        seen = rows(y), centre, normed.k, normed.d, normed.relu, g
        total, product = parallel_sum(passes().affine_sums, batch * steps, channels, 2, *seen)
    else:
        chosen = rows(normed.chosen)
        total, product = parallel_sum(
            passes().affine_pool_sums, len(chosen), channels, 2, rows(normed.kept), centre, g, chosen
        )
    return from_sums(normed, weight, total, product)


def from_sums(
    normed: Normed, weight: Tensor, total: np.ndarray, product: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Factors]:
    """The same from sum g and sum g (y - mean), float64 [channels]."""
    count = normed.y.shape[0] * normed.y.shape[1]
    # With z = (y - mean) scale: dbeta = total, dgamma = scale product.
    of_weight = normed.scale * product
    a = weight.detach().numpy() * normed.scale
    b = -a * normed.scale * of_weight / count
    e = -a * total / count - b * normed.mean
    return of_weight, total, (a.astype(np.float32), b.astype(np.float32), e.astype(np.float32))


def of_input(normed: Normed, gradient: Tensor, a: np.ndarray, b: np.ndarray, e: np.ndarray) -> Tensor:
    """The gradient of y."""
    y, g, out = normed.y, rows(gradient), torch.empty_like(normed.y)
    batch, steps, channels = y.shape
    if normed.chosen is None:
        seen = rows(y), normed.k, normed.d, normed.relu, g
        parallel_for(passes().affine_input, batch * steps, channels, *seen, a, b, e, rows(out))
    else:
        chosen = rows(normed.chosen)
        parallel_for(passes().affine_pool_input, len(chosen), channels, steps, rows(y), g, chosen, a, b, e, rows(out))
    return out
