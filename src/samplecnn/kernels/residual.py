"""The passes of a residual block in training other than its convolutions: dropout, and sum with ReLU and max-pooling.

Each of the two takes one pass over memory forward and one backward.
"""

import numpy as np
import torch
from torch import Tensor

from samplecnn.kernels.threads import parallel_for, passes, rows
from samplecnn.processes import current_share


def dropout(x: Tensor, share: float) -> Tensor:
    """Sets `share` of the values of x [..., channels] to 0 and scales the others up; `is_faster` must hold for x.

    Whether a value is kept is computed from its index, forward and backward, and not stored. It depends only on 64 bits
    of PyTorch's CPU generator, not on the number of threads; if several processes divide a batch, the index is that in
    the batch.
    """
    return _Dropout.apply(x, share)  # type: ignore[no-untyped-call,no-any-return]


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, share):  # type: ignore[no-untyped-def]
        key = torch.empty(2, dtype=torch.int32).random_(-(2**31), None).numpy().view(np.uint32)
        part = current_share()
        first = 0 if part is None else part.first * (x[0].numel() // x.shape[-1])  # row of the batch
        ctx.settings = first, key, np.uint32(round(share * 2**32)), np.float32(1 / (1 - share))
        return _dropped(x, *ctx.settings)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return _dropped(gradient, *ctx.settings), None


def _dropped(x: Tensor, first: int, key: np.ndarray, threshold: np.uint32, factor: np.float32) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    operands = rows(x), first, key, threshold, factor, rows(out)
    parallel_for(passes().dropout, x.numel() // x.shape[-1], x.shape[-1], *operands)
    return out


def sum_pool(x: Tensor, y: Tensor) -> Tensor:
    """Max-pooling over 3 steps of the ReLU of x + y.

    x and y are [batch, time, channels] of one type; the result is [batch, time // 3, channels].
    """
    return _SumPool.apply(x, y)  # type: ignore[no-untyped-call,no-any-return]


class _SumPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):  # type: ignore[no-untyped-def]
        x, y = x.contiguous(), y.contiguous()
        batch, steps, channels = x.shape
        out = x.new_empty(batch, steps // 3, channels)
        chosen = torch.empty(batch * (steps // 3), channels, dtype=torch.uint8)
        parallel_for(passes().sum_pool, len(chosen), channels, steps, rows(x), rows(y), rows(out), chosen.numpy())
        ctx.saved = chosen, x.shape
        return out

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        chosen, shape = ctx.saved
        out = gradient.new_empty(shape)
        source = rows(gradient.contiguous())
        parallel_for(passes().unpool, len(chosen), shape[2], shape[1], source, chosen.numpy(), rows(out))
        return out, out
