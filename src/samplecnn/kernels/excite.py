"""Squeeze and excitation in training: one pass over memory to squeeze and one to scale, forward and backward."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samplecnn.kernels.threads import parallel_for, passes, rows


def excite(x: Tensor, weight0: Tensor, bias0: Tensor, weight1: Tensor, bias1: Tensor) -> Tensor:
    """Scales x by its excitation.

    Args:
        x: [batch, time, features], float32 or bfloat16.
        weight0, bias0: dense layer between the mean over time and the ReLU: [hidden, features], [hidden].
        weight1, bias1: dense layer between the ReLU and the sigmoid: [features, hidden], [features].

    Returns:
        [batch, time, features].
    """
    return _Excite.apply(x, weight0, bias0, weight1, bias1)  # type: ignore[no-untyped-call,no-any-return]


@dataclass
class Excited:
    """Factors, float32 [batch, features], with the intermediate values that backward needs."""

    squeezed: Tensor
    hidden: Tensor
    factors: Tensor


def excitation(squeezed: Tensor, weight0: Tensor, bias0: Tensor, weight1: Tensor, bias1: Tensor) -> Excited:
    """The factors computed from means over time, float32 [batch, features]."""
    hidden = torch.relu(torch.addmm(bias0, squeezed, weight0.t()))
    return Excited(squeezed, hidden, torch.sigmoid(torch.addmm(bias1, hidden, weight1.t())))


def excitation_back(
    excited: Excited, grad_factors: Tensor, weight0: Tensor, weight1: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The gradients of the means, float32 [batch, features], and of both weights and biases in their order."""
    before_sigmoid = grad_factors * excited.factors * (1 - excited.factors)
    before_relu = (before_sigmoid @ weight1) * (excited.hidden > 0)
    grad_weights = before_relu.t() @ excited.squeezed, before_relu.sum(0)
    return before_relu @ weight0, (*grad_weights, before_sigmoid.t() @ excited.hidden, before_sigmoid.sum(0))


def _scale(x: Tensor, factors: Tensor, shift: Tensor | None, out: Tensor) -> None:
    """out = factors x + shift, for x [batch, time, features] and float32 [batch, features]; `out` may be x."""
    batch, steps, features = x.shape
    shifts = np.zeros((batch, features), np.float32) if shift is None else shift.numpy()
    parallel_for(passes().scale_shift, batch * steps, features, steps, rows(x), factors.numpy(), shifts, rows(out))


class _Excite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight0, bias0, weight1, bias1):  # type: ignore[no-untyped-def]
        x = x.contiguous()
        batch, steps, features = x.shape
        sums = torch.zeros(batch, features)
        parallel_for(passes().time_sums, batch, steps * features, steps, rows(x), sums.numpy())
        ctx.excited = excitation(sums / steps, weight0, bias0, weight1, bias1)
        out = torch.empty_like(x)
        _scale(x, ctx.excited.factors, None, out)
        ctx.save_for_backward(x, weight0, weight1)
        return out

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        x, weight0, weight1 = ctx.saved_tensors
        batch, steps, features = x.shape
        gradient, grad_factors, grad_x = gradient.contiguous(), torch.zeros(batch, features), torch.empty_like(x)
        operands = rows(x), rows(gradient), grad_factors.numpy()
        parallel_for(passes().time_products, batch, steps * features, steps, *operands)
        grad_means, grad_weights = excitation_back(ctx.excited, grad_factors, weight0, weight1)
        _scale(gradient, ctx.excited.factors, grad_means / steps, grad_x)  # every step contributes to the mean
        return grad_x, *grad_weights
