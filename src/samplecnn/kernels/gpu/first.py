"""The first convolution with its batch norm and ReLU in training: one pass over memory forward, one backward.

As in `kernels.first_conv`: mean and variance follow from the moments of the frames, and what gradients need of the
output is recomputed from the samples.
"""

import torch
from torch import Tensor

from samplecnn.kernels.gpu.launch import Tiles

ROWS = 1024  # frames whose moments a program adds up at once
MOMENT_PROGRAMS = 512


def first_conv(
    frames: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, epsilon: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """`kernels.first_conv` on a GPU: the same arguments and results."""
    return _FirstConv.apply(frames, weight, bias, gamma, beta, epsilon, dtype)  # type: ignore[no-untyped-call,no-any-return]


def _frame_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [3] and covariance [3, 3] of frames [rows, 3], float32, added up in float64."""
    from samplecnn.kernels.gpu import first_passes

    rows = len(x)
    tiles = -(-rows // ROWS)
    loops = -(-tiles // MOMENT_PROGRAMS)
    blocks = -(-tiles // loops)
    sums = torch.empty(blocks, 9, device=x.device)
    first_passes.frame_moments[(blocks,)](x, sums, rows, loops, ROWS=ROWS)
    total = sums.sum(0, dtype=torch.float64) / rows
    mean = total[:3]
    a, b, c, d, e, f = total[3:].unbind()
    products = torch.stack((a, b, c, b, d, e, c, e, f)).view(3, 3)
    return mean.float(), (products - mean[:, None] * mean).float()


class _FirstConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, frames, weight, bias, gamma, beta, epsilon, dtype):  # type: ignore[no-untyped-def]
        from samplecnn.kernels.gpu import first_passes

        batch, time = frames.shape[:2]
        x, w = frames.contiguous().view(-1, 3), weight.squeeze(1)
        features = len(w)
        mean, covariance = _frame_moments(x)
        centre, spread = w @ mean, w @ covariance  # of the convolution without its bias; [features, 3]
        variance = (spread * w).sum(1).clamp_(min=0)
        inverse = (variance + epsilon).rsqrt()
        factor = gamma * inverse
        taps = torch.cat(((w * factor[:, None]).t(), (beta - centre * factor)[None]))
        tiles = Tiles.of(1, len(x), features)
        out = torch.empty(batch, time, features, dtype=dtype, device=x.device)
        first_passes.first_forward[(tiles.blocks, tiles.columns)](
            x, taps, out, len(x), features, tiles.loops, ROWS=tiles.rows, CHANNELS=tiles.channels
        )
        ctx.save_for_backward(x, w, mean, centre, spread, inverse, factor, taps)
        centre = centre + bias
        ctx.mark_non_differentiable(centre, variance)
        return out, centre, variance

    @staticmethod
    def backward(ctx, gradient, *_):  # type: ignore[no-untyped-def]
        from samplecnn.kernels.gpu import first_passes

        x, w, mean, centre, spread, inverse, factor, taps = ctx.saved_tensors
        features = len(w)
        tiles = Tiles.of(1, len(x), features)
        sums = torch.empty(tiles.blocks, 4, features, device=x.device)
        first_passes.first_backward[(tiles.blocks, tiles.columns)](
            x, gradient.contiguous(), taps, sums, len(x), features, tiles.loops,
            ROWS=tiles.rows, CHANNELS=tiles.channels,
        )  # fmt: skip
        total = sums.sum(0)
        g, gx = total[0], total[1:].t()  # sums of the gradient, and of its products with the samples [features, 3]
        of_gamma = inverse * ((w * gx).sum(1) - centre * g)
        of_weight = factor[:, None] * (gx - g[:, None] * mean - (inverse * of_gamma)[:, None] * spread)
        return None, of_weight.unsqueeze(1), torch.zeros_like(g), of_gamma, g, None, None
