"""Selects the kernels of this machine: the micro-kernel for bfloat16, and those of inference."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from samplecnn.kernels.micro_kernel import GROUP
from samplecnn.kernels.threads import compiled_passes


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
