"""The operations of a folded network in PyTorch: time-major layout, weights packed once, few passes over memory.

On a CPU the convolutions are those of oneDNN with fused ReLU; pooling and excitation are compiled passes if numba is
installed (the extra `fast`), else PyTorch's kernels.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samplecnn.kernels import as_image, from_image
from samplecnn.kernels.threads import compiled_passes, parallel_for, rows
from samplecnn.models.config import FIRST_SIZE
from samplecnn.models.graph import Layer, Operations, Spectrogram, Squeeze
from samplecnn.models.layers import FUSED_POOL, log_mel
from samplecnn.models.logmel import filters, hann


class Plain(Operations[Tensor]):
    """Operations for any device, on tensors [batch, time, features] in the dtype of the precision."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.device = device
        self._weights: dict[Layer, tuple[Tensor, Tensor]] = {}
        self._constants: dict[Spectrogram, tuple[Tensor, ...]] = {}

    def values(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution in the layout of its kernel, cached."""
        if layer not in self._weights:
            self._weights[layer] = self.prepare(layer)
        return self._weights[layer]

    def prepare(self, layer: Layer) -> tuple[Tensor, Tensor]:
        weight, bias = (torch.from_numpy(value).to(self.device, self.dtype) for value in (layer.weight, layer.bias))
        return weight.unsqueeze(3).contiguous(memory_format=torch.channels_last), bias

    def exact(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """Weight and bias in float32, for layers too small to benefit from lower precision."""
        if layer not in self._weights:
            weight, bias = (torch.from_numpy(value).to(self.device) for value in (layer.weight, layer.bias))
            self._weights[layer] = weight, bias
        return self._weights[layer]

    def first(self, wave: Tensor, layer: Layer, pads: tuple[int, int], relu: bool) -> Tensor:
        weight, bias = self.exact(layer)
        x = F.linear(frames(wave, pads, layer.width), weight.squeeze(1), bias).to(self.dtype)
        return x.relu_() if relu else x

    def spectrogram(self, wave: Tensor, first: Spectrogram, pads: tuple[int, int]) -> Tensor:
        if first not in self._constants:
            arrays = hann(first.logmel.frame), filters(first.logmel), first.scale, first.shift
            self._constants[first] = tuple(torch.from_numpy(array.copy()).to(self.device) for array in arrays)
        window, bands, scale, shift = self._constants[first]
        return (log_mel(F.pad(wave, pads), first.logmel, window, bands) * scale + shift).to(self.dtype)

    def conv(self, x: Tensor, layer: Layer, relu: bool) -> Tensor:
        weight, bias = self.values(layer)
        before, after = layer.padding
        if before != after:  # PyTorch's convolutions only support symmetric padding
            x, before = F.pad(x, (0, 0, before, after)), 0
        x = from_image(F.conv2d(as_image(x), weight, bias, (layer.stride, 1), (before, 0)))
        return x.relu_() if relu else x

    def pool(self, x: Tensor, size: int) -> Tensor:
        return from_image(F.max_pool2d(as_image(x), (size, 1), (size, 1)))

    def factors(self, means: Tensor, squeeze: Squeeze) -> Tensor:
        """Excitation factors, float32 [batch, features], of the means over time."""
        hidden = F.relu(F.linear(means, *self.exact(squeeze.ex0)))
        return torch.sigmoid(F.linear(hidden, *self.exact(squeeze.ex1)))

    def excite(self, x: Tensor, squeeze: Squeeze) -> Tensor:
        return x * self.factors(self.means(x), squeeze).to(x.dtype)[:, None]

    def means(self, x: Tensor) -> Tensor:
        """Means over time, float32 [batch, features]."""
        return x.mean(1, dtype=torch.float32)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + y).relu_()

    def hidden(self, levels: Sequence[Tensor], head: Layer) -> Tensor:
        pooled = torch.cat([level.amax(1) for level in levels], dim=1).float()
        return F.relu(F.linear(pooled, *self.exact(head)))

    def classify(self, hidden: Tensor, logit: Layer, softmax: bool) -> Tensor:
        logits = F.linear(hidden, *self.exact(logit))
        return torch.softmax(logits, 1) if softmax else torch.sigmoid(logits)

    def average(self, x: Tensor) -> Tensor:
        return x.mean(1, dtype=torch.float32)

    def columns(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat((x, y), dim=1)


class OnCpu(Plain):
    """`Plain` with oneDNN's packed weights and fused ReLU."""

    def is_fused(self, layer: Layer) -> bool:
        before, after = layer.padding
        return before == after and has_fused_convolution(self.dtype)

    def prepare(self, layer: Layer) -> tuple[Tensor, Tensor]:
        weight, bias = super().prepare(layer)
        if not self.is_fused(layer):
            return weight, bias
        pads, strides = _image_shape(layer)
        return torch.ops.mkldnn._reorder_convolution_weight(weight, pads, strides, [1, 1], 1), bias

    def conv(self, x: Tensor, layer: Layer, relu: bool) -> Tensor:
        if not self.is_fused(layer):
            return super().conv(x, layer, relu)
        weight, bias = self.values(layer)
        (pads, strides), kind = _image_shape(layer), "relu" if relu else "none"
        y = torch.ops.mkldnn._convolution_pointwise(as_image(x), weight, bias, pads, strides, [1, 1], 1, kind, [], "")
        return from_image(y)


class Compiled(OnCpu):
    """`OnCpu` with compiled passes between the convolutions, which take about a second to load."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(dtype, device)
        passes = compiled_passes()
        assert passes is not None
        self.passes = passes

    def first(self, wave: Tensor, layer: Layer, pads: tuple[int, int], relu: bool) -> Tensor:
        if not relu or layer.width != FIRST_SIZE:
            return super().first(wave, layer, pads, relu)
        x = frames(wave, pads, layer.width)
        taps, bias = first_values(layer)
        out = x.new_empty(*x.shape[:2], len(bias), dtype=self.dtype)
        source = rows(x.contiguous())
        parallel_for(self.passes.first_conv, len(source), len(bias), source, taps, bias, rows(out))
        return out

    def means(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        batch, steps, features = x.shape
        sums = torch.zeros(batch, features)
        parallel_for(self.passes.time_sums, batch, steps * features, steps, rows(x), sums.numpy())
        return sums / steps

    def excite(self, x: Tensor, squeeze: Squeeze) -> Tensor:
        x, factors = x.contiguous(), self.factors(self.means(x), squeeze)
        out, flat = torch.empty_like(x), rows(x)
        arguments = x.shape[1], flat, factors.numpy(), torch.zeros_like(factors).numpy(), rows(out)
        parallel_for(self.passes.scale_shift, *flat.shape, *arguments)
        return out

    def pool_excite(self, x: Tensor, squeeze: Squeeze | None, pool: int) -> Tensor:
        if squeeze is None or pool != FUSED_POOL:
            return super().pool_excite(x, squeeze, pool)
        x = x.contiguous()
        batch, steps, features = x.shape
        out = x.new_empty(batch, steps // pool, features)
        sums = torch.zeros(batch, features)
        parallel_for(self.passes.pool_sums, batch, steps * features, steps, rows(x), rows(out), sums.numpy())
        factors = self.factors(sums / (steps // pool), squeeze)
        parallel_for(self.passes.scale, batch * (steps // pool), features, steps // pool, rows(out), factors.numpy())
        return out

    def join(self, x: Tensor, shortcut: Tensor, squeeze: Squeeze | None, pool: int) -> Tensor:
        if pool != FUSED_POOL:
            return super().join(x, shortcut, squeeze, pool)
        x, shortcut = x.contiguous(), shortcut.contiguous()
        batch, steps, features = x.shape
        factors = torch.ones(batch, features) if squeeze is None else self.factors(self.means(x), squeeze)
        out = x.new_empty(batch, steps // pool, features)
        arguments = rows(x), rows(shortcut), factors.numpy(), rows(out)
        parallel_for(self.passes.join_pool, batch, steps * features, steps, *arguments)
        return out


def first_values(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Weight, float32 [3, features], and bias of the first convolution."""
    return np.ascontiguousarray(layer.weight.squeeze(1).T), layer.bias


def _image_shape(layer: Layer) -> tuple[list[int], list[int]]:
    """Padding and stride of a symmetrically padded convolution over an image of width 1."""
    return [layer.padding[0], 0], [layer.stride, 1]


def frames(wave: Tensor, pads: tuple[int, int], size: int = FIRST_SIZE) -> Tensor:
    """[batch, samples] -> [batch, time, size], the samples of each time step."""
    return (F.pad(wave, pads) if any(pads) else wave).reshape(wave.shape[0], -1, size)


@cache
def has_fused_convolution(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has oneDNN's convolution with a fused epilogue, for this dtype on this CPU."""
    names = "_convolution_pointwise", "_reorder_convolution_weight"
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return dtype != torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported()  # not on CPUs with AVX2 only
