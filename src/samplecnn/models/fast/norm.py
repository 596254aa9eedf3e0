"""Batch norm in training with what follows it, ReLU and max-pooling, in two passes over memory each way."""

import numpy as np
import torch
from torch import Tensor

from samplecnn.models.fast.threads import floats, passes, rows, spread, summed


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
        batch, steps, channels = x.shape
        y, count = rows(x), batch * steps
        pivot = x[0, 0].detach().float().numpy()
        total, squares = summed(passes().moments, count, channels, 2, y, pivot)
        shift = total / count
        mean = shift + pivot
        variance = np.maximum(squares / count - shift * shift, 0)
        scale = 1 / np.sqrt(variance + epsilon)
        k = weight.detach().numpy() * scale
        k, d = np.float32(k), np.float32(bias.detach().numpy() - mean * k)
        if pool:
            out = x.new_empty(batch, steps // 3, channels)
            kept, chosen = torch.empty_like(out), torch.empty(out.shape[0] * out.shape[1], channels, dtype=torch.uint8)
            spread(passes().affine_pool, len(chosen), channels, steps, y, k, d, rows(out), rows(kept), chosen.numpy())
        else:
            out, kept, chosen = torch.empty_like(x), None, None
            spread(passes().affine, count, channels, y, k, d, relu, rows(out))
        ctx.save_for_backward(x, weight)
        ctx.kept = mean, scale, k, d, kept, chosen, relu
        statistics = floats(mean, variance)
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    def backward(ctx, gradient, *_):  # type: ignore[no-untyped-def]
        (x, weight), (mean, scale, k, d, kept, chosen, relu) = ctx.saved_tensors, ctx.kept
        batch, steps, channels = x.shape
        y, g, centre = rows(x), rows(gradient.contiguous()), np.float32(mean)
        count, out = batch * steps, torch.empty_like(x)
        if chosen is None:
            total, product = summed(passes().affine_sums, count, channels, 2, y, centre, k, d, relu, g)
        else:
            of_chosen = rows(kept), centre, g, chosen.numpy()
            total, product = summed(passes().affine_pool_sums, len(chosen), channels, 2, *of_chosen)
        # With z = (y - mean) scale: dbeta = total, dgamma = scale product.
        gamma = weight.detach().numpy()
        of_weight = scale * product
        a = gamma * scale
        b = -a * scale * of_weight / count
        e = -a * total / count - b * mean
        a, b, e = np.float32(a), np.float32(b), np.float32(e)
        if chosen is None:
            spread(passes().affine_input, count, channels, y, k, d, relu, g, a, b, e, rows(out))
        else:
            spread(passes().affine_pool_input, len(chosen), channels, steps, y, g, chosen.numpy(), a, b, e, rows(out))
        return out, *floats(of_weight, total), None, None, None
