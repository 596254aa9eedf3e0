"""A convolution in bfloat16 with its batch norm and the following operations, in training: a whole basic or se block.

Two passes over memory forward, two backward: the batch norm's moments are computed with the convolution, an
excitation's means with the pooling, and the gradient of the convolution's output is never written (`conv_backward`).
"""

import numpy as np
import torch
from torch import Tensor

from samplecnn.kernels import selection
from samplecnn.kernels.batch_norm import Following, Normed, Sums, from_sums, gradients, mean_and_variance, normalised
from samplecnn.kernels.excite import Excited, excitation, excitation_back
from samplecnn.kernels.micro_kernel import GROUP
from samplecnn.kernels.operands import Batch, InputFactors
from samplecnn.kernels.threads import bounds, floats, parallel_for, passes, rows, run

Excitation = tuple[Tensor, Tensor, Tensor, Tensor]  # weight and bias of the dense layers before ReLU and sigmoid


def conv_norm(
    x: Tensor,
    conv: tuple[Tensor, Tensor],
    norm: tuple[Tensor, Tensor],
    following: Following,
    excitation: Excitation | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Convolution, batch norm with the statistics of the batch; optionally ReLU, max-pooling over 3 steps, excitation.

    Args:
        x: bfloat16 [batch, time, channels], for which `is_supported` holds.
        conv: weight [features, channels, 1 or 3] and bias [features]; the norm subtracts the bias: its gradient is 0.
        norm: gamma and beta, [features].
        following: the norm's epsilon, and the operations after it.
        excitation: see `excite`; only with pooling.

    Returns:
        The result [batch, time or time // 3, features], and mean and (uncorrected) variance of the convolution, float32
        [features].
    """
    return _ConvNorm.apply(following, x, *conv, *norm, *(excitation or ()))  # type: ignore[no-untyped-call,no-any-return]


def conv_stored_norm(
    x: Tensor,
    conv: tuple[Tensor, Tensor],
    norm: tuple[Tensor, Tensor],
    statistics: tuple[Tensor, Tensor],
    following: Following,
    excitation: Excitation | None = None,
) -> Tensor:
    """The same with given mean and variance of the convolution, float32 [features]; without gradients."""
    y, _ = _forward(selection.selected(), x.contiguous(), conv[0])
    mean, variance = (value.double().numpy() for value in statistics)
    return _followed(y, mean - conv[1].detach().numpy(), variance, norm, following, excitation)[0]


class _ConvNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, following, x, weight, bias, gamma, beta, *dense):  # type: ignore[no-untyped-def]
        x = x.contiguous()
        ctx.unit = selection.selected()
        y, moments = _forward(ctx.unit, x, weight)
        out, normed, ctx.excited = _followed(y, *mean_and_variance(y, moments), (gamma, beta), following, dense)
        ctx.normed, large = normed.split()
        ctx.save_for_backward(x, weight, gamma, *dense[::2], *large)
        statistics = floats(normed.mean + bias.detach().numpy(), normed.variance)
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    def backward(ctx, gradient, *_):  # type: ignore[no-untyped-def]
        x, weight, gamma, *dense_weights, y, kept, chosen = ctx.saved_tensors
        gradient, normed = gradient.contiguous(), ctx.normed.joined(y, kept, chosen)
        batch, features = len(x), len(weight)
        grad_excitation: tuple[Tensor, ...] = ()
        if ctx.excited is None:
            grad_gamma, grad_beta, factors = gradients(normed, gamma, gradient)
            share, shift = np.ones((batch, features), np.float32), np.zeros((batch, features), np.float32)
        else:
            # The pooled u was scaled by f: du = f g + shift, where the shift comes through the means.
            affine = normed.affine
            g, g_y, number, y_sum = _sample_sums(normed, gradient)
            grad_factors = torch.from_numpy(affine.k * (g_y + np.float32(normed.mean) * g) + affine.d * g)
            grad_means, grad_excitation = excitation_back(ctx.excited, grad_factors, *dense_weights)
            share, shift = ctx.excited.factors.numpy(), (grad_means / gradient.shape[1]).numpy()
            total, product = ((share * a + shift * b).sum(0, dtype=np.float64) for a, b in ((g, number), (g_y, y_sum)))
            grad_gamma, grad_beta, factors = from_sums(normed, gamma, total, product)
        grad_y = InputFactors(factors.a * share, factors.b, factors.e), factors.a * shift
        grad_x, grad_weight = _backward(ctx.unit, x, weight, normed, gradient, grad_y, ctx.needs_input_grad[1])
        return None, grad_x, grad_weight, torch.zeros(features), *floats(grad_gamma, grad_beta), *grad_excitation


def _followed(
    y: Tensor,
    mean: np.ndarray,
    variance: np.ndarray,
    norm: tuple[Tensor, Tensor],
    following: Following,
    dense: Excitation | tuple[()] | None,
) -> tuple[Tensor, Normed, Excited | None]:
    """Batch norm of y [batch, time, features], the operations after it, and an excitation."""
    batch, _, features = y.shape
    over_time = torch.zeros(batch, features) if dense else None
    out, normed = normalised(y, mean, variance, *norm, following, over_time)
    if over_time is None or not dense:
        return out, normed, None
    excited = excitation(over_time / out.shape[1], *dense)
    factors = excited.factors.numpy()
    parallel_for(passes().scale, batch * out.shape[1], features, out.shape[1], rows(out), factors)
    return out, normed, excited


def _forward(unit: tuple, x: Tensor, weight: Tensor) -> tuple[Tensor, Sums]:
    """The convolution without its bias, and the moments' sums."""
    from samplecnn.kernels import conv_forward
    from samplecnn.kernels.staging import padded_length

    (batch, steps, _), features, pivot = x.shape, len(weight), _first_step(x, weight)
    out = x.new_empty(batch, steps, features)
    packed = conv_forward.packed(unit, weight.detach().numpy(), False)
    operands = unit, Batch(rows(x), steps), packed, Batch(rows(out), steps)
    parts = bounds(batch * padded_length(steps), features)
    sums = np.zeros((len(parts), 2, features))
    calls = [(lo, hi, *operands, conv_forward.Moments(pivot, own)) for (lo, hi), own in zip(parts, sums, strict=True)]
    run(conv_forward.convolve, calls)
    return out, Sums(sums.sum(0), pivot)


def _first_step(x: Tensor, weight: Tensor) -> np.ndarray:
    """The convolution's first value of every feature, about which the moments are taken; float32."""
    taps = weight.detach().numpy()[:, :, weight.shape[2] // 2 :]  # taps that do not reach before the start
    first = x.detach()[0, : taps.shape[2]].float().numpy()
    values = [taps[:, :, tap] @ step for tap, step in enumerate(first)]
    return np.asarray(sum(values), np.float32)


def _sample_sums(normed: Normed, gradient: Tensor) -> np.ndarray:
    """`norm_passes.sample_sums`: float32 [4, batch, features]."""
    from samplecnn.kernels import norm_passes

    assert normed.kept is not None and normed.chosen is not None
    batch, pooled, features = normed.kept.shape
    sums = np.zeros((4, batch, features), np.float32)
    operands = Batch(rows(normed.kept), pooled), np.float32(normed.mean), rows(gradient), rows(normed.chosen), sums
    parallel_for(norm_passes.sample_sums, batch, pooled * features, *operands)
    return sums


def _backward(
    unit: tuple,
    x: Tensor,
    weight: Tensor,
    normed: Normed,
    gradient: Tensor,
    factors: tuple[InputFactors, np.ndarray],
    input_needed: bool,
) -> tuple[Tensor | None, Tensor]:
    """The gradients of x, if it is needed, and of the weight from that of the result.

    `factors`: see `conv_backward.OutputGradient`.
    """
    from samplecnn.kernels import conv_backward, conv_forward
    from samplecnn.kernels.staging import padded_length

    (batch, steps, channels), (features, _, taps) = x.shape, weight.shape
    out = torch.empty_like(x) if input_needed else None
    chosen = None if normed.chosen is None else rows(normed.chosen)
    source = conv_backward.OutputGradient(Batch(rows(normed.y), steps), rows(gradient), normed.affine, *factors)
    packed = conv_forward.packed(unit, weight.detach().numpy(), True)
    destination = None if out is None else Batch(rows(out), steps)
    operands = unit, Batch(rows(x), steps), source, chosen, packed, destination
    parts = bounds(batch * padded_length(steps), features)
    # PyTorch aligns its memory to cache lines.
    sums = torch.zeros(len(parts), taps, channels // GROUP, features // GROUP, GROUP * GROUP).numpy()
    run(conv_backward.backward, [(lo, hi, *operands, own) for (lo, hi), own in zip(parts, sums, strict=True)])
    grad_weight = torch.empty_like(weight)
    columns = sums.size * GROUP // features
    parallel_for(conv_backward.gather, features // GROUP, columns, unit, sums, grad_weight.numpy())
    return out, grad_weight
