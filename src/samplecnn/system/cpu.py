"""The CPU: its name, its instruction sets and what limits them, and how many threads compute. PyTorch is not needed."""

import os
import platform
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

# Variables that keep libraries from using instructions that the CPU has. For those of oneDNN see its documentation
# ("CPU Dispatcher Control").
ONEDNN_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
LIMITS = (*ONEDNN_LIMITS, "ATEN_CPU_CAPABILITY", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "ONEDNN_DEFAULT_FPMATH_MODE")
WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")  # values of ONEDNN_LIMITS
GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/proc/driver/nvidia")  # files of Linux drivers
BF16_FLAGS = ("amx_bf16", "avx512_bf16", "avx10_2", "bf16", "svebf16")  # Linux's names for x86 and Arm
REPORTED_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_fp16", "avx_vnni", "amx_tile", "asimd", "sve", *BF16_FLAGS)


def cpu_name() -> str:
    """The CPU's model name given by the system."""
    for line in _cpuinfo().splitlines():
        label, _, value = line.partition(":")
        if label.strip().lower() in ("model name", "cpu model"):
            return value.strip()
    return platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str] | None:
    """Instruction sets of the CPU by Linux's names; None if the system does not list them."""
    for line in _cpuinfo().splitlines():
        label, _, value = line.partition(":")
        if label.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return None


@cache
def _cpuinfo() -> str:
    """The first processor's section of /proc/cpuinfo, or ""."""
    with suppress(OSError):
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    return ""


def num_threads() -> int:
    """Number of compute threads: PyTorch's setting if it is imported, else OMP_NUM_THREADS, else the available CPUs."""
    torch_threads = getattr(sys.modules.get("torch"), "get_num_threads", None)
    if torch_threads is not None:
        return int(torch_threads())
    with suppress(ValueError):
        threads = int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])
        if threads > 0:
            return threads
    return usable_cpus()


def usable_cpus() -> int:
    """Number of logical CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def may_use_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware and oneDNN may use that; true if unknown.

    True does not mean that it is faster: that is measured (`auto_precision`).
    """
    limit = next((os.environ[name] for name in ONEDNN_LIMITS if name in os.environ), "").upper()
    flags = cpu_flags()
    return limit not in WITHOUT_BF16 and (flags is None or any(flag in flags for flag in BF16_FLAGS))


def may_have_gpu() -> bool:
    """Whether there may be a GPU that PyTorch can use; false is certain. Imports nothing."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "" or sys.platform == "darwin":
        return False
    return sys.platform != "linux" or any(Path(path).exists() for path in GPU_FILES)
