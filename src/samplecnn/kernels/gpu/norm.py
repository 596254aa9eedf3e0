"""A convolution by cuDNN, and its batch norm, ReLU, max-pooling and excitation in fused passes, in training."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from samplecnn.kernels.conv import as_wide_image, from_wide_image
from samplecnn.kernels.gpu.launch import Tiles, parts, power_of_2

BLOCKS = 32  # blocks whose moments are added up at once
STATISTICS_CHANNELS = 16
HIDDEN_VALUES = 8192  # weights of an excitation that are processed at once

Pair = tuple[Tensor, Tensor]


def conv_norm(
    x: Tensor,
    conv: Pair,
    norm: Pair,
    epsilon: float,
    relu: bool = False,
    pool: int = 1,
    excitation: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The convolution of x [batch, time, channels] and what follows it, with the statistics of the batch.

    Args:
        x: float32 or bfloat16, contiguous.
        conv: weight [features, channels, 1 or 3] and bias; float32.
        norm: the batch norm's gamma and beta.
        epsilon: added to the variance.
        relu, pool: whether a ReLU follows, and then max-pooling over how many frames.
        excitation: weight and bias of both layers of an excitation behind the pooling, if there is one.

    Returns:
        The result [batch, time // pool, features], and mean and (uncorrected) variance of the convolution,
        float32 [features].
    """
    values = excitation or (None, None, None, None)
    return _ConvNorm.apply(x, *conv, *norm, *values, epsilon, relu, pool)  # type: ignore[no-untyped-call,no-any-return]


def _weight_image(weight: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.unsqueeze(2).to(dtype, memory_format=torch.channels_last)


class _ConvNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, gamma, beta, w0, b0, w1, b1, epsilon, relu, pool):  # type: ignore[no-untyped-def]
        from samplecnn.kernels.gpu import passes

        x = x.contiguous()
        padding = weight.shape[2] // 2
        image = torch.conv2d(as_wide_image(x), _weight_image(weight, x.dtype), padding=(0, padding))
        y = from_wide_image(image).contiguous()
        batch, time, features = y.shape
        frames = time // pool
        values = _statistics(y, gamma, beta, epsilon)
        tiles = Tiles.of(batch, frames, features)
        out = y.new_empty(batch, frames, features)
        sums = values.new_empty(batch, tiles.blocks, features) if w0 is not None else values
        passes.norm_pool[(tiles.blocks, batch, tiles.columns)](
            y, values, out, sums, time, frames, features, tiles.blocks, tiles.loops,
            RELU=relu, POOL=pool, SUMS=w0 is not None, FRAMES=tiles.rows, CHANNELS=tiles.channels,
        )  # fmt: skip
        squeezed = scales = None
        if w0 is not None:
            out, squeezed, scales = _excited(out, sums, (w0, b0, w1, b1), tiles)
        ctx.save_for_backward(x, y, weight, gamma, beta, values, squeezed, scales, w0, b0, w1)
        ctx.following = relu, pool
        mean, variance = values[0] + bias, values[1].clone()
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx, gradient, *_):  # type: ignore[no-untyped-def]
        from samplecnn.kernels.gpu import passes

        x, y, weight, gamma, beta, values, squeezed, scales, w0, b0, w1 = ctx.saved_tensors
        relu, pool = ctx.following
        gradient = gradient.contiguous()
        batch, time, features = y.shape
        frames, excited = time // pool, w0 is not None
        tiles = Tiles.of(batch, frames, features)
        options = {"RELU": relu, "POOL": pool, "EXCITED": excited}
        sums = values.new_empty(4 if excited else 2, batch, tiles.blocks, features)
        passes.gradient_sums[(tiles.blocks, batch, tiles.columns)](
            y, gradient, values, sums, time, frames, features, tiles.blocks, tiles.loops, sums[0].numel(),
            **options, FRAMES=tiles.rows, CHANNELS=tiles.channels,
        )  # fmt: skip
        added: Tensor = values
        of_excitation: Sequence[Tensor | None] = [None] * 4
        if excited:
            weights = (w0, b0, w1)
            totals, added, *of_excitation = _excitation_backward(sums, frames, weights, squeezed, scales, gamma, beta)
        else:
            totals = sums.sum((1, 2))
        out = torch.empty_like(y)
        whole = Tiles.of(batch, parts(time, pool), features)
        passes.norm_pool_backward[(whole.blocks, batch, whole.columns)](
            y, gradient, out, values, totals, scales if excited else values, added, time, frames, features,
            whole.loops, float(batch * time), **options, FRAMES=whole.rows, CHANNELS=whole.channels,
        )  # fmt: skip
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            as_wide_image(out), as_wide_image(x), _weight_image(weight, x.dtype), None, [1, 1],
            [0, weight.shape[2] // 2], [1, 1], False, [0, 0], 1, [*ctx.needs_input_grad[:2], False],
        )  # fmt: skip
        if of_x is not None:
            of_x = from_wide_image(of_x)
        if of_weight is not None:
            of_weight = of_weight.squeeze(2).to(weight.dtype)
        # The batch norm subtracts the mean, and with it the convolution's bias: its gradient is 0.
        return of_x, of_weight, torch.zeros_like(gamma), totals[1], totals[0], *of_excitation, None, None, None


def _statistics(y: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """float32 [5, features]: mean, variance, 1 / deviation, and the batch norm as factor and offset."""
    from samplecnn.kernels.gpu import passes

    features = y.shape[2]
    rows = y.shape[0] * y.shape[1]
    tiles = Tiles.of(1, rows, features)
    moments = torch.empty(2, tiles.blocks, features, device=y.device)
    passes.moments[(tiles.blocks, tiles.columns)](
        y, moments[0], moments[1], rows, features, tiles.loops, ROWS=tiles.rows, CHANNELS=tiles.channels
    )
    values = torch.empty(5, features, device=y.device)
    passes.statistics[(parts(features, STATISTICS_CHANNELS),)](
        moments[0], moments[1], gamma, beta, values, rows, tiles.blocks, tiles.loops * tiles.rows, features, epsilon,
        BLOCKS=BLOCKS, CHANNELS=STATISTICS_CHANNELS,
    )  # fmt: skip
    return values


def _sizes(features: int) -> dict[str, int]:
    """Weights of an excitation in one step of its passes: all channels by some hidden units."""
    channels = power_of_2(max(features, 16))
    return {"CHANNELS": channels, "HIDDEN": max(HIDDEN_VALUES // channels, 1)}


def _excited(out: Tensor, sums: Tensor, weights: tuple[Any, ...], tiles: Tiles) -> tuple[Tensor, Tensor, Tensor]:
    """The result scaled, the means over time, and the factors [batch, features]."""
    from samplecnn.kernels.gpu import passes

    batch, frames, features = out.shape
    squeezed, scales = sums.new_empty(batch, features), sums.new_empty(batch, features)
    passes.factors[(batch,)](
        sums, *weights, squeezed, scales, tiles.blocks, frames, features, len(weights[0]), **_sizes(features)
    )
    scaled = torch.empty_like(out)
    passes.scale[(tiles.blocks, batch, tiles.columns)](
        out, scales, scaled, frames, features, tiles.loops, FRAMES=tiles.rows, CHANNELS=tiles.channels
    )
    return scaled, squeezed, scales


def _excitation_backward(
    sums: Tensor, frames: int, weights: tuple[Any, ...], squeezed: Tensor, scales: Tensor, gamma: Tensor, beta: Tensor
) -> tuple[Tensor, ...]:
    """Sums of the batch norm's gradients, what the excitation adds to them, and gradients of its four parameters."""
    from samplecnn.kernels.gpu import passes

    _, batch, blocks, features = sums.shape
    w0, b0, w1 = weights
    hidden = len(w0)
    totals = sums.new_empty(2, batch, features)
    added, before1 = sums.new_empty(batch, features), sums.new_empty(batch, features)
    before0, activations = sums.new_empty(batch, hidden), sums.new_empty(batch, hidden)
    passes.factor_gradients[(batch,)](
        sums, w0, b0, w1, squeezed, scales, gamma, beta, totals, added, before1, before0, activations,
        blocks, frames, features, hidden, batch, sums[0].numel(), **_sizes(features),
    )  # fmt: skip
    first = before0.t() @ squeezed, before0.sum(0)
    second = before1.t() @ activations, before1.sum(0)
    return totals.sum(1), added, *first, *second
