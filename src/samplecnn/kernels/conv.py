"""A convolution over time whose gradients are matrix products.

In memory a batch is [batch, time, channels]. The weight gradient of tap j is one matrix product over all steps of all
samples: of the input, shifted by j - 1 rows, with the output's gradient. oneDNN's own kernel for it takes 3 times as
long. Shifted rows cross sample boundaries; these products are subtracted.

In bfloat16 `conv_norm` replaces this convolution if a micro-kernel is faster; in float32 `winograd` needs fewer
multiplications for many channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from samplecnn.kernels import winograd
from samplecnn.processes import current_share

SUM_PARTS = 16  # matrix products into which a long sum is divided: enough for every core, and less rounding error


def conv(x: Tensor, weight: Tensor, bias: Tensor | None, normed: bool = False) -> Tensor:
    """x [batch, time, channels], weight [features, channels, 1 or 3], bias [features] -> [batch, time, features].

    `normed`: only a batch norm uses the result. It subtracts the mean and with it the bias, whose gradient is then 0
    and is not computed.
    """
    if torch.is_grad_enabled() and x.device.type == "cpu":
        return _Conv.apply(x, weight, bias, normed)  # type: ignore[no-untyped-call,no-any-return]
    return _forward(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def as_image(x: Tensor) -> Tensor:
    """[batch, time, channels] as an image, [batch, channels, time, 1] in channels-last memory."""
    return x.unsqueeze(2).permute(0, 3, 1, 2)


def from_image(y: Tensor) -> Tensor:
    """The inverse of `as_image`."""
    return y.permute(0, 2, 3, 1).squeeze(2)


def as_wide_image(x: Tensor) -> Tensor:
    """[batch, time, channels] as an image whose width is time, [batch, channels, 1, time] in channels-last memory."""
    return x.unsqueeze(1).permute(0, 3, 1, 2)


def from_wide_image(y: Tensor) -> Tensor:
    """The inverse of `as_wide_image`."""
    return y.permute(0, 2, 3, 1).squeeze(1)


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """By PyTorch, as an image whose width is time.

    In bfloat16 on a CPU its height is time: that is how oneDNN is faster there. With the other layout it takes a third
    of the time in float32 (AVX2), and cuDNN two thirds of it for the input's gradient (H100).
    """
    half = weight.shape[2] // 2
    if x.dtype == torch.bfloat16 and x.device.type == "cpu":
        return from_image(F.conv2d(as_image(x), weight.unsqueeze(3), bias, padding=(half, 0)))
    return from_wide_image(F.conv2d(as_wide_image(x), weight.unsqueeze(2), bias, padding=(0, half)))


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, normed):  # type: ignore[no-untyped-def]
        ctx.by_winograd = winograd.is_faster(x, weight)
        cast = weight.to(x.dtype)
        ctx.save_for_backward(x, cast)
        ctx.kinds = weight.dtype, None if bias is None else bias.dtype
        share = current_share()
        ctx.normed = normed and (x.shape[0] if share is None else share.total) * x.shape[1] > 1
        return (winograd.conv if ctx.by_winograd else _forward)(x, cast, None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        grad_x = grad_weight = grad_bias = None
        if ctx.by_winograd:
            grad_x, grad_weight = winograd.gradients(x, weight, gradient, ctx.needs_input_grad)
        else:
            if ctx.needs_input_grad[0]:
                grad_x = _forward(gradient, weight.flip(2).transpose(0, 1).contiguous(), None)
            if ctx.needs_input_grad[1]:
                grad_weight = weight_gradient(x.contiguous(), gradient, weight.shape[2])
        if grad_weight is not None:
            grad_weight = grad_weight.to(ctx.kinds[0])
        if ctx.needs_input_grad[2]:
            summed = gradient.new_zeros(gradient.shape[2]) if ctx.normed else gradient.float().sum((0, 1))
            grad_bias = summed.to(ctx.kinds[1])
        return grad_x, grad_weight, grad_bias, None


def weight_gradient(x: Tensor, gradient: Tensor, width: int) -> Tensor:
    """float32 [features, channels, width] from x [batch, time, channels] and the gradient [batch, time, features]."""
    inputs, out = x.flatten(0, 1), gradient.flatten(0, 1)
    if width == 1:
        return _product(out, inputs).unsqueeze(2)
    before, after = _product(out[1:], inputs[:-1]), _product(out[:-1], inputs[1:])
    taps = torch.stack((before, _product(out, inputs), after), dim=2)  # the first tap multiplies the previous step
    taps[:, :, 0] -= gradient[1:, 0].float().t() @ x[:-1, -1].float()  # remove products across sample boundaries
    taps[:, :, 2] -= gradient[:-1, -1].float().t() @ x[1:, 0].float()
    return taps


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a.T @ b in float32 for tall a [rows, n] and b [rows, m]."""
    long = len(a) // SUM_PARTS
    if long == 0:
        return (a.t() @ b).float()
    whole = torch.bmm(
        a[: long * SUM_PARTS].view(SUM_PARTS, long, -1).transpose(1, 2), b[: long * SUM_PARTS].view(SUM_PARTS, long, -1)
    )
    total = whole.sum(0, dtype=torch.float32)
    if long * SUM_PARTS < len(a):
        total += (a[long * SUM_PARTS :].t() @ b[long * SUM_PARTS :]).float()
    return total
