"""Selects the kernels of this machine: the micro-kernel for bfloat16, and those of inference."""

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from samplecnn.hardware import dtype
from samplecnn.kernels.micro_kernel import GROUP
from samplecnn.kernels.threads import compiled_passes
from samplecnn.system.timing import best_rates

# By Winograd's filtering `winograd_inference` needs half of the direct sum's products, `winograd_dots` two thirds.
FLOAT32_GAIN, DOTS_GAIN = 2.0, 1.5
PRODUCT = (1024, 384, 128)  # rows, channels of three taps and features of the measured product


@cache
def selected() -> Any:
    """The micro-kernel for bfloat16 that is faster here than PyTorch's convolutions; None if there is none."""
    if compiled_passes() is None:
        return None
    from samplecnn.kernels import amx_products, amx_tiles, dot_products

    if amx_tiles.available():
        return amx_products.AMX
    return dot_products.AVX512_BF16 if dot_products.available() else None


def for_inference(dtype: torch.dtype) -> Any:
    """What `conv_inference` takes as `unit` for this dtype; None if it does not support it here."""
    if dtype == torch.bfloat16:
        unit = selected()
        if unit is None:
            return None
        from samplecnn.kernels import winograd_dots

        return winograd_dots.for_inference(unit)
    if dtype != torch.float32 or compiled_passes() is None:
        return None
    from samplecnn.kernels.winograd_inference import FLOAT_VECTORS

    return FLOAT_VECTORS


def is_supported(x: Tensor, features: int) -> bool:
    """Whether a micro-kernel supports the input x [batch, time, channels] and this number of features."""
    whole = x.shape[-1] % GROUP == 0 and features % GROUP == 0
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and whole and x.numel() > 0 and selected() is not None


def inference_rates() -> Mapping[str, float]:
    """Speeds of the kernels of inference in "fp32" and "bf16": convolutions per CPU second.

    Estimated by PyTorch's matrix products, which use the same instructions, and by what Winograd's filtering saves: the
    kernels themselves would have to be compiled first, which takes 20 s.
    """
    from samplecnn.kernels.winograd_dots import WinogradDots

    count, channels, features = PRODUCT
    by_dots = isinstance(for_inference(torch.bfloat16), WinogradDots)
    gains = {"fp32": FLOAT32_GAIN, "bf16": DOTS_GAIN if by_dots else 1.0}
    work = {}
    for name in gains:
        x, weight = (torch.zeros(shape, dtype=dtype(name)) for shape in ((count, channels), (channels, features)))
        work[name] = partial(_multiply, x, weight, x.new_empty(count, features))
    return {name: rate * gains[name] for name, rate in best_rates(work).items()}


def _multiply(x: Tensor, weight: Tensor, out: Tensor) -> int:
    for _ in range(8):
        torch.mm(x, weight, out=out)
    return 8
