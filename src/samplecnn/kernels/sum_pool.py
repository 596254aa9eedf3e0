"""The end of a residual block in training: sum, ReLU and max-pooling by threes over time in one pass each way."""

import torch
from torch import Tensor

from samplecnn.kernels.threads import parallel_for, passes, rows


def sum_pool(x: Tensor, y: Tensor) -> Tensor:
    """x and y [batch, time, channels] of one type -> [batch, time // 3, channels]."""
    return _SumPool.apply(x, y)  # type: ignore[no-untyped-call,no-any-return]


class _SumPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):  # type: ignore[no-untyped-def]
        x, y = x.contiguous(), y.contiguous()
        batch, steps, channels = x.shape
        out = x.new_empty(batch, steps // 3, channels)
        chosen = torch.empty(batch * (steps // 3), channels, dtype=torch.uint8)
        parallel_for(passes().sum_pool, len(chosen), channels, steps, rows(x), rows(y), rows(out), chosen.numpy())
        ctx.kept = chosen, x.shape
        return out

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        chosen, shape = ctx.kept
        out = gradient.new_empty(shape)
        parallel_for(
            passes().unpool, len(chosen), shape[2], shape[1], rows(gradient.contiguous()), chosen.numpy(), rows(out)
        )
        return out, out
