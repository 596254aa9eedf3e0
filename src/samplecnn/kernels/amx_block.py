"""A convolution by matrix tiles in training, with its batch norm and what follows: a whole block, basic or se.

Two passes over memory forward, and two back: the batch norm's moments come with the convolution; what was pooled is
squeezed on the way; and the gradient of the convolution's output is never written (`tiled_back`).
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from samplecnn.kernels.excite import excitation, excitation_back
from samplecnn.kernels.norm import Factors, Normed, from_sums, gradients, normalised
from samplecnn.kernels.threads import bounds, floats, kernels, parallel_for, parallel_sum, passes, rows, run

Excitation = tuple[Tensor, Tensor, Tensor, Tensor]  # weight and bias of the dense layers before ReLU and sigmoid
SIDE = 32  # channels and features of a tile's square


@cache
def has_tiles() -> bool:
    """Whether this machine has matrix tiles, and numba is there to use them."""
    if kernels() is None:
        return False
    from samplecnn.kernels import amx_tiles

    return amx_tiles.available()


def fits_tiles(x: Tensor, features: int) -> bool:
    """Whether x [batch, time, channels] and as many features are something for matrix tiles."""
    whole = x.shape[-1] % SIDE == 0 and features % SIDE == 0
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and whole and x.numel() > 0 and has_tiles()


def conv_norm(
    x: Tensor,
    conv: tuple[Tensor, Tensor],
    norm: tuple[Tensor, Tensor],
    epsilon: float,
    relu: bool,
    pool: bool,
    excitation: Excitation | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Convolution, batch norm by the batch's own statistics; if asked for ReLU, max-pooling by threes, excitation.

    Args:
        x: bfloat16 [batch, time, channels], for which `fits_tiles` holds.
        conv: weight [features, channels, 1 or 3] and bias [features]; the norm takes it off: its gradient is 0.
        norm: gamma and beta, [features].
        relu, pool: what follows; a pool without a ReLU is not there.
        excitation: see `excite`; behind pooling alone.

    Returns:
        The result [batch, time or time // 3, features], and mean and (uncorrected) variance of the convolution, float32
        [features].
    """
    values = x, *conv, *norm, *(excitation or (None,) * 4)
    return _ConvNorm.apply(*values, epsilon, relu, pool)  # type: ignore[no-untyped-call,no-any-return]


class _ConvNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, gamma, beta, weight0, bias0, weight1, bias1, epsilon, relu, pool):  # type: ignore[no-untyped-def]
        x, batch = x.contiguous(), len(x)
        pivot = _first_step(x, weight)
        y, sums = _forward(x, weight, pivot)
        over_time = None if weight0 is None else torch.zeros(batch, len(weight))
        out, normed = normalised(y, sums, pivot, gamma, beta, epsilon, relu, pool, over_time)
        ctx.excited = None
        if over_time is not None:
            ctx.excited = excitation(over_time / out.shape[1], weight0, bias0, weight1, bias1)
            parallel_for(passes().scale, batch, out[0].numel(), out.shape[1], rows(out), ctx.excited.factors.numpy())
        ctx.normed, large = normed.parted()
        ctx.save_for_backward(x, weight, gamma, weight0, weight1, *large)
        statistics = floats(normed.mean + bias.detach().numpy(), normed.variance)
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    def backward(ctx, gradient, *_):  # type: ignore[no-untyped-def]
        x, weight, gamma, weight0, weight1, *large = ctx.saved_tensors
        gradient, normed = gradient.contiguous(), ctx.normed.whole(*large)
        batch, features = len(x), len(weight)
        of_excitation: tuple[Tensor | None, ...] = (None,) * 4
        if ctx.excited is None:
            of_gamma, of_beta, factors = gradients(normed, gamma, gradient)
            share, shift = np.ones((batch, features), np.float32), np.zeros((batch, features), np.float32)
        else:
            # What was pooled, u, was scaled by f: du = f g + shift, of which the shift came through the means.
            g, g_y, number, y = _sample_sums(normed, gradient)
            of_factors = torch.from_numpy(normed.k * (g_y + np.float32(normed.mean) * g) + normed.d * g)
            of_means, of_excitation = excitation_back(ctx.excited, of_factors, weight0, weight1)
            share, shift = ctx.excited.factors.numpy(), (of_means / gradient.shape[1]).numpy()
            total, product = ((share * a + shift * b).sum(0, dtype=np.float64) for a, b in ((g, number), (g_y, y)))
            of_gamma, of_beta, factors = from_sums(normed, gamma, total, product)
        of_x, of_weight = _back(x, weight, normed, gradient, factors, share, shift)
        none = None, None, None
        return of_x, of_weight, torch.zeros(features), *floats(of_gamma, of_beta), *of_excitation, *none


def _forward(x: Tensor, weight: Tensor, pivot: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """The convolution without its bias, and the sums of it less the pivot and of its square, float64 [2, features]."""
    from samplecnn.kernels import amx_forward, amx_tiles

    (batch, steps, _), features = x.shape, len(weight)
    out = x.new_empty(batch, steps, features)
    given = rows(x), steps, amx_forward.packed(weight.detach().numpy(), False), rows(out), amx_tiles.CONFIG, pivot
    return out, parallel_sum(amx_forward.convolve, batch * amx_forward.padded_length(steps), features, 2, *given)


def _first_step(x: Tensor, weight: Tensor) -> np.ndarray:
    """The convolution's first value of every feature, about which the moments are taken; float32."""
    taps = weight.detach().numpy()[:, :, weight.shape[2] // 2 :]  # those that do not look before the beginning
    seen = x.detach()[0, : taps.shape[2]].float().numpy()
    values = [taps[:, :, step] @ at for step, at in enumerate(seen)]
    return np.asarray(sum(values), np.float32)


def _sample_sums(normed: Normed, gradient: Tensor) -> np.ndarray:
    """See the kernel; float32 [4, batch, features]."""
    assert normed.kept is not None and normed.chosen is not None
    batch, pooled, features = normed.kept.shape
    sums = np.zeros((4, batch, features), np.float32)
    seen = pooled, rows(normed.kept), np.float32(normed.mean), rows(gradient), rows(normed.chosen), sums
    parallel_for(passes().sample_sums, batch, pooled * features, *seen)
    return sums


def _back(
    x: Tensor,
    weight: Tensor,
    normed: Normed,
    gradient: Tensor,
    factors: Factors,
    share: np.ndarray,
    shift: np.ndarray,
) -> tuple[Tensor, Tensor]:
    """The gradients of x and of the weight from that of the result, of which `share` and `shift` [batch, features]."""
    from samplecnn.kernels import amx_backward, amx_forward, amx_tiles

    (batch, steps, channels), (features, _, taps), (a, b, e) = x.shape, weight.shape, factors
    chosen = None if normed.chosen is None else rows(normed.chosen)
    out = torch.empty_like(x)
    parts = bounds(batch * amx_forward.padded_length(steps), features)
    shape = len(parts), taps, channels // SIDE, features // SIDE, 2, 2, 16, 16
    sums = torch.zeros(shape).numpy()  # begins, as PyTorch's memory does, with a line of the caches
    of_y = rows(gradient), chosen, normed.k, normed.d, normed.relu, a * share, a * shift, b, e
    turned = amx_forward.packed(weight.detach().numpy(), True)
    given = rows(x), steps, rows(normed.y), *of_y, turned, rows(out)
    run(
        amx_backward.back,
        [(lo, hi, *given, own, amx_tiles.CONFIG) for (lo, hi), own in zip(parts, sums, strict=True)],
    )
    squares, of_weight = sums.reshape(*sums.shape[:4], -1), torch.empty_like(weight)
    parallel_for(amx_backward.gather, features // SIDE, sums.size * SIDE // features, squares, of_weight.numpy())
    return out, of_weight
