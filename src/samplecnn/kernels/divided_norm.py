"""Batch norm of a batch that several processes divide, by PyTorch's operations: on any device, in any precision.

For inputs to which the compiled passes do not apply. The exchange between the processes is that of the passes: two sums
per channel forward and two backward, in float64.
"""

import torch
from torch import Tensor

from samplecnn.processes import Share


def divided_batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, share: Share
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm with mean and variance of the whole batch.

    Args:
        x: this process's share, [batch, channels] or [batch, time, channels].
        weight, bias: gamma and beta, float32 [channels].
        epsilon: added to the variance.

    Returns:
        The result, of x's shape, and mean and (uncorrected) variance, float32 [channels].
    """
    return _DividedBatchNorm.apply(x, weight, bias, epsilon, share)  # type: ignore[no-untyped-call,no-any-return]


class _DividedBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, epsilon, share):  # type: ignore[no-untyped-def]
        axes, rows = tuple(range(x.ndim - 1)), x.numel() // x.shape[-1]
        values = x.double()
        sums = torch.stack((values.sum(axes), values.square().sum(axes)))
        share.processes.add_up(sums)
        mean, square = sums / share.whole(rows)
        variance = (square - mean * mean).clamp_(min=0)
        scale = (variance + epsilon).rsqrt()
        k = weight.double() * scale
        out = torch.addcmul((bias.double() - mean * k).float(), x.float(), k.float()).to(x.dtype)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.share = share
        statistics = mean.float(), variance.float()
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    def backward(ctx, gradient, *_):  # type: ignore[no-untyped-def]
        x, weight, mean, scale = ctx.saved_tensors
        axes, rows = tuple(range(x.ndim - 1)), x.numel() // x.shape[-1]
        g, centred = gradient.double(), x.double() - mean
        own = torch.stack((g.sum(axes), (g * centred).sum(axes)))
        sums = own / ctx.share.whole(rows)
        ctx.share.processes.add_up(sums)
        total, product = sums
        # As in `norm_passes`, with the sums divided by the number of rows.
        grad_x = (g - total - centred * (scale * scale * product)) * (weight.double() * scale)
        return grad_x.to(x.dtype), (own[1] * scale).float(), own[0].float(), None, None
