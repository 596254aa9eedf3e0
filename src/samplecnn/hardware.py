"""What the machine can do, and how PyTorch is set up to use it."""

import ctypes
import sys

import torch

from samplecnn.errors import UsageError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Lets the C allocator keep what is freed, for the life of this process.

    glibc returns every large block to the kernel and gets it back as pages to be cleared one by one. A training step
    allocates the same large blocks again and again; without this, clearing pages takes a third of its time. Elsewhere
    than on Linux with glibc, nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
    except (OSError, AttributeError):  # musl, or no C library under that name
        return


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there: matrix units for it, not only an emulation."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
        return any(check() for check in checks if check is not None)
    return False


def choose_precision(name: str, device: torch.device) -> str:
    """ "fp32" or "bf16"; "auto" takes bf16 where the hardware has it.

    Raises:
        UsageError: for any other name.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise UsageError(f"precision {name!r} is not known; use auto, fp32 or bf16")
    if name == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return name


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
