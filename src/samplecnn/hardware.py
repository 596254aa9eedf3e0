"""What the machine can do, and how PyTorch is set up to use it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from samplecnn.errors import UsageError

# How oneDNN can be kept from using what the CPU has (its documentation, "CPU Dispatcher Control").
ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
NO_LIMIT = ("", "ALL", "DEFAULT")


def has_bf16(device: torch.device) -> bool:
    """Whether training in bfloat16 is faster than in float32 there, by matrix units that this process may use.

    Of CPUs, those with AMX: AVX-512's bfloat16 products alone do not outweigh the conversions (`se` kept to them: 18
    segments/s, and 28 in float32).
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        limit = next((os.environ[name] for name in ISA_LIMITS if name in os.environ), "").upper()
        allowed = limit in NO_LIMIT or "AMX" in limit
        supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
        return allowed and supported is not None and torch.backends.mkldnn.is_available() and supported()
    return False


def has_tf32(device: torch.device) -> bool:
    """Whether it multiplies float32 with 10 bits of mantissa in matrix units: NVIDIA's GPUs from Ampere on."""
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def choose_precision(name: str, device: torch.device) -> str:
    """ "fp32", "tf32" or "bf16"; "auto" takes bf16 where the hardware has it.

    fp32 is exact everywhere. tf32 keeps 32-bit floats and multiplies them with 10 bits of mantissa.

    Raises:
        UsageError: for any other name, and for tf32 where there is none.
    """
    if name not in ("auto", *DTYPES):
        raise UsageError(f"precision {name!r} is not known; use auto, {', '.join(DTYPES)}")
    if name == "tf32" and not has_tf32(device):
        raise UsageError(f"precision tf32 is for NVIDIA GPUs from Ampere on, not for this {device.type}; use auto")
    if name == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return name


DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


@contextmanager
def tuned(device: torch.device, precision: str) -> Iterator[None]:
    """PyTorch's settings for training on a GPU, for as long as it lasts; on a CPU nothing changes.

    float32 is multiplied as `precision` says: exactly, unless it is tf32 (PyTorch's own default rounds in convolutions
    and not in matrix products). cuDNN tries its algorithms on every new shape, of which training has two.
    """
    if device.type != "cuda":
        yield
        return
    rounded = precision == "tf32"
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = rounded, rounded, True
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = before
