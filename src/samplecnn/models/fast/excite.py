"""Squeeze and excitation in training: one pass over memory to squeeze, one to scale, and as many back."""

import numpy as np
import torch
from torch import Tensor

from samplecnn.models.fast.threads import passes, rows, spread


def excite(x: Tensor, weight0: Tensor, bias0: Tensor, weight1: Tensor, bias1: Tensor) -> Tensor:
    """x times its excitation.

    Args:
        x: [batch, time, features], float32 or bfloat16.
        weight0, bias0: of the dense layer behind the mean over time, before the ReLU: [hidden, features], [hidden].
        weight1, bias1: of the one before the sigmoid: [features, hidden], [features].

    Returns:
        [batch, time, features].
    """
    return _Excite.apply(x, weight0, bias0, weight1, bias1)  # type: ignore[no-untyped-call,no-any-return]


class _Excite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight0, bias0, weight1, bias1):  # type: ignore[no-untyped-def]
        x = x.contiguous()
        batch, steps, features = x.shape
        sums = torch.zeros(batch, features)
        spread(passes().time_sums, batch, steps * features, steps, rows(x), sums.numpy())
        squeezed = sums / steps
        hidden = torch.relu(torch.addmm(bias0, squeezed, weight0.t()))
        factors = torch.sigmoid(torch.addmm(bias1, hidden, weight1.t()))
        out = torch.empty_like(x)
        none = np.zeros((batch, features), np.float32)
        spread(passes().scaled, batch * steps, features, steps, rows(x), factors.numpy(), none, rows(out))
        ctx.save_for_backward(x, weight0, weight1)
        ctx.kept = squeezed, hidden, factors
        return out

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (x, weight0, weight1), (squeezed, hidden, factors) = ctx.saved_tensors, ctx.kept
        batch, steps, features = x.shape
        g = rows(gradient.contiguous())
        of_factors = torch.zeros(batch, features)
        spread(passes().time_products, batch, steps * features, steps, rows(x), g, of_factors.numpy())
        before_sigmoid = of_factors * factors * (1 - factors)
        before_relu = (before_sigmoid @ weight1) * (hidden > 0)
        of_squeezed = before_relu @ weight0 / steps  # of every step's share in the mean
        of_x = torch.empty_like(x)
        spread(passes().scaled, batch * steps, features, steps, g, factors.numpy(), of_squeezed.numpy(), rows(of_x))
        return of_x, before_relu.t() @ squeezed, before_relu.sum(0), before_sigmoid.t() @ hidden, before_sigmoid.sum(0)
