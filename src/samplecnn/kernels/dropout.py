"""Dropout in one pass over memory each way: whether a value stays is computed from its place, and kept nowhere."""

import numpy as np
import torch
from torch import Tensor

from samplecnn.kernels.threads import parallel_for, passes, rows


def drop(x: Tensor, share: float) -> Tensor:
    """Drops `share` of the values of x [..., channels], for which `fits` holds, and scales the rest up.

    The generator of PyTorch's CPU gives 64 bits, of which all else follows, whatever the number of threads.
    """
    return _Drop.apply(x, share)  # type: ignore[no-untyped-call,no-any-return]


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, share):  # type: ignore[no-untyped-def]
        key = torch.empty(2, dtype=torch.int32).random_(-(2**31), None).numpy().view(np.uint32)
        ctx.how = key, np.uint32(round(share * 2**32)), np.float32(1 / (1 - share))
        return _dropped(x, *ctx.how)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return _dropped(gradient, *ctx.how), None


def _dropped(x: Tensor, key: np.ndarray, least: np.uint32, factor: np.float32) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    parallel_for(passes().dropped, x.numel() // x.shape[-1], x.shape[-1], rows(x), key, least, factor, rows(out))
    return out
