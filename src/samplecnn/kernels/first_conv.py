"""The first convolution with its batch norm and ReLU in training: one pass over memory forward, one backward.

A step of its output depends on a frame of 3 samples only. So the batch norm's mean and variance follow from the mean
and the covariance of the frames, and what the gradients need of the output is recomputed from the samples: the output
is written once, its gradient read once, and no other array of that size is touched.
"""

import numpy as np
import torch
from torch import Tensor

from samplecnn.kernels.threads import floats, parallel_for, parallel_sum, passes, rows
from samplecnn.processes import current_share


def first_conv(
    frames: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, epsilon: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """ReLU of the batch norm, with the statistics of the batch, of the convolution.

    Args:
        frames: float32 [batch, time, 3]; gets no gradient.
        weight, bias: the convolution's, [features, 1, 3] and [features].
        gamma, beta: the batch norm's, [features].
        dtype: type of the result, float32 or bfloat16.

    Returns:
        The result [batch, time, features], and mean and (uncorrected) variance of the convolution, float32 [features].
    """
    return _FirstConv.apply(frames, weight, bias, gamma, beta, epsilon, dtype)  # type: ignore[no-untyped-call,no-any-return]


def stored_first_conv(
    frames: Tensor,
    conv: tuple[Tensor, Tensor],
    norm: tuple[Tensor, Tensor],
    statistics: tuple[Tensor, Tensor],
    epsilon: float,
    dtype: torch.dtype,
) -> Tensor:
    """The same with given mean and variance of the convolution, float32 [features]; without gradients."""
    w, b, g, shift, mean, variance = _doubles(conv[0].squeeze(1), conv[1], *norm, *statistics)
    return _followed(frames, w, b - mean, g / np.sqrt(variance + epsilon), shift, dtype)[0]


def _doubles(*values: Tensor) -> list[np.ndarray]:
    return [value.detach().double().numpy() for value in values]


def _followed(
    frames: Tensor, w: np.ndarray, offset: np.ndarray, k: np.ndarray, shift: np.ndarray, dtype: torch.dtype
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """ReLU of k (w x + offset) + shift for every frame x, and what it was computed with: k w and k offset + shift."""
    x = rows(frames.contiguous())
    taps, d = np.ascontiguousarray((w * k[:, None]).T, np.float32), np.asarray(offset * k + shift, np.float32)
    out = torch.empty(*frames.shape[:2], len(w), dtype=dtype)
    parallel_for(passes().first_conv, len(x), len(w), x, taps, d, rows(out))
    return out, taps, d


class _FirstConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, frames, weight, bias, gamma, beta, epsilon, dtype):  # type: ignore[no-untyped-def]
        x = rows(frames.contiguous())
        w, b, g, shift = _doubles(weight.squeeze(1), bias, gamma, beta)
        moments = own = parallel_sum(passes().frame_moments, len(x), 3, 4, x) / len(x)
        share = current_share()
        if share is not None:
            moments = share.sum(own * share.weight)  # samples are equally long
        means, seconds = moments[0], moments[1:]  # [3], and [3, 3]: the means of x_i and of x_i x_j
        mean = w @ means + b
        covariance = seconds - np.outer(means, means)
        variance = np.maximum(np.einsum("ci,ij,cj->c", w, covariance, w), 0)
        scale = 1 / np.sqrt(variance + epsilon)
        out, taps, d = _followed(frames, w, b - mean, g * scale, shift, dtype)
        ctx.saved, ctx.share = (x, w, b, g, own[0], own[1:], mean, scale, taps, d), share
        statistics = floats(mean, variance)
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    def backward(ctx, gradient, *_):  # type: ignore[no-untyped-def]
        x, w, b, gamma, means, seconds, mean, scale, taps, d = ctx.saved
        count = len(x)
        sums = parallel_sum(passes().first_conv_sums, count, len(w), 4, x, taps, d, rows(gradient.contiguous()))
        total, with_x = sums[0], sums[1:].T  # sum g, and sum g x [features, 3]
        # As in the batch norm: dy = a g + c y + e, and the weight's gradient is the sum of dy x; y = w x + b.
        grad_gamma = scale * ((w * with_x).sum(1) + (b - mean) * total)
        whole, whole_total, whole_grad_gamma = count, total, grad_gamma
        if ctx.share is not None:
            whole, (whole_total, whole_grad_gamma) = (
                ctx.share.whole(count),
                ctx.share.sum(np.stack((total, grad_gamma))),
            )
        a = gamma * scale
        c = -a * scale * whole_grad_gamma / whole
        e = -a * whole_total / whole - c * mean
        y_with_x = w @ seconds + np.outer(b, means)  # the mean of y x
        grad_weight = a[:, None] * with_x + count * (c[:, None] * y_with_x + np.outer(e, means))
        grad_weight, grad_gamma, grad_beta = floats(grad_weight[:, None], grad_gamma, total)
        return None, grad_weight, torch.zeros(len(w)), grad_gamma, grad_beta, None, None
