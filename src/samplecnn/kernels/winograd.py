"""A 3-wide convolution over time in float32 by Winograd's minimal filtering: half the multiplications.

Each tile of 4 output steps is computed from 6 input steps: F(4, 3) of Lavin and Gray 2016, section 4.3, in one
dimension. With the matrices there, y = A' (G w * B' d), where the elementwise products are 6 matrix products over
channels for all tiles at once. Rounding errors are twice those of the direct sum. This helps CPUs that are limited by
float32 multiplications, those without a faster bfloat16.

The convolution, forward and backward to its input, is computed block by block in one pass (`winograd_inference`) if
the sizes fit its vectors; otherwise, and for the gradient of the weight, all values are transformed and PyTorch
multiplies them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from samplecnn.kernels import threads
from samplecnn.kernels.micro_kernel import GROUP
from samplecnn.kernels.operands import Batch
from samplecnn.kernels.threads import parallel_for, rows

TILE_STEPS = 4  # output steps of a tile
POINTS = 6  # products per tile, instead of the 12 of the direct sum
MIN_WEIGHTS = 1 << 14  # channels times features from which the products cost more than the transforms
MAX_TRANSFORMED_VALUES = 1 << 24  # per block, 64 MB: more are not faster, fewer leave threads idle

G = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)


def is_faster(x: Tensor, weight: Tensor) -> bool:
    """Whether this is faster for x [batch, time, channels]; not under autocast, which changes its dtype."""
    features, channels, taps = weight.shape
    exact = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return exact and taps == 3 and channels * features >= MIN_WEIGHTS and threads.is_faster(x)


def conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`conv.conv` for 3 taps and float32 only, without autograd."""
    from samplecnn.kernels import winograd_transforms

    (batch, steps, channels), features = x.shape, len(weight)
    if _fits_vectors(weight):
        return _in_one_pass(x.contiguous(), weight, bias)
    x, out = x.contiguous(), x.new_empty(batch, steps, features)
    taps = _transformed(weight)
    workspace = _Workspace(x, max(channels, features))
    for part in workspace.parts:
        inputs = workspace.into(winograd_transforms.from_input, x[part], 0)
        products = torch.bmm(inputs, taps, out=workspace.array(1, len(x[part]), features))
        workspace.out_of(winograd_transforms.to_output, products, out[part])
    return out if bias is None else out.add_(bias)


def gradients(
    x: Tensor, weight: Tensor, gradient: Tensor, needed: Sequence[bool] = (True, True)
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of x and of the weight, None if not needed, given the gradient of the output."""
    from samplecnn.kernels import winograd_transforms

    channels, features = x.shape[2], len(weight)
    x, gradient = x.contiguous(), gradient.contiguous()
    taps, grad_taps = _transformed(weight).transpose(1, 2), torch.zeros(POINTS, channels, features)
    transposed, grad_x = needed[0] and not _fits_vectors(weight), None
    if transposed:
        grad_x = torch.empty_like(x)
    elif needed[0]:
        grad_x = _in_one_pass(gradient, weight.flip(2).transpose(0, 1), None)
    if not (transposed or needed[1]):
        return grad_x, None
    workspace = _Workspace(x, max(channels, features))
    for part in workspace.parts:
        back = workspace.into(winograd_transforms.to_output_back, gradient[part], 1)
        if needed[1]:
            grad_taps.baddbmm_(workspace.into(winograd_transforms.from_input, x[part], 0).transpose(1, 2), back)
        if transposed and grad_x is not None:
            products = torch.bmm(back, taps, out=workspace.array(0, len(x[part]), channels))
            workspace.out_of(winograd_transforms.from_input_back, products, grad_x[part])
    return grad_x, torch.einsum("kt,kcf->fct", G, grad_taps) if needed[1] else None


def _fits_vectors(weight: Tensor) -> bool:
    return all(size % GROUP == 0 for size in weight.shape[:2])


def _in_one_pass(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of x [batch, time, channels], by `winograd_inference.convolve`."""
    from samplecnn.kernels import conv_forward, winograd_inference
    from samplecnn.kernels.staging import padded_length

    (batch, steps, _), features = x.shape, len(weight)
    out = x.new_empty(batch, steps, features)
    packed = conv_forward.packed(winograd_inference.FLOAT_VECTORS, weight.detach().contiguous().numpy(), False)
    shift = np.zeros(features, np.float32) if bias is None else bias.detach().numpy()
    epilogue = conv_forward.BiasFloor(shift, np.float32(-np.inf))
    operands = Batch(rows(x), steps), packed, Batch(rows(out), steps), epilogue
    parallel_for(winograd_inference.convolve, batch * padded_length(steps), features, *operands)
    return out


def _transformed(weight: Tensor) -> Tensor:
    """G w, [features, channels, 3] -> [6, channels, features]."""
    return torch.einsum("kt,fct->kcf", G, weight).contiguous()


class _Workspace:
    """Two arrays for transformed values, reused for each part of the samples."""

    def __init__(self, x: Tensor, width: int) -> None:
        batch, self.steps, _ = x.shape
        self.tiles = -(-self.steps // TILE_STEPS)  # per sample
        samples = min(batch, max(1, MAX_TRANSFORMED_VALUES // (POINTS * self.tiles * width)))
        self.parts = [slice(first, min(first + samples, batch)) for first in range(0, batch, samples)]
        self.arrays = [torch.empty(POINTS * samples * self.tiles * width) for _ in range(2)]

    def array(self, which: int, samples: int, width: int) -> Tensor:
        """An array as [6, tiles, width]."""
        shape = POINTS, samples * self.tiles, width
        return self.arrays[which][: int(np.prod(shape))].view(shape)

    def into(self, kernel, x: Tensor, which: int) -> Tensor:  # type: ignore[no-untyped-def]
        transformed = self.array(which, len(x), x.shape[2])
        parallel_for(kernel, transformed.shape[1], POINTS * x.shape[2], self.steps, rows(x), transformed.numpy())
        return transformed

    def out_of(self, kernel, products: Tensor, out: Tensor) -> None:  # type: ignore[no-untyped-def]
        parallel_for(kernel, products.shape[1], POINTS * out.shape[2], self.steps, products.numpy(), rows(out))
