"""PyTorch's matrix product as the reference for arithmetic speed."""

import time
from statistics import median
from typing import Any

import torch

from samplecnn.bench.steps import wait
from samplecnn.models import ModelConfig, network_spec


def forward_flops(config: ModelConfig, window: int) -> int:
    """FLOP of the network for one segment, a multiply-add counted as two."""
    return 2 * network_spec(config).macs(window)


def matrix_rate(dtype: torch.dtype, device: torch.device | None = None, size: int = 0, times: int = 7) -> float:
    """FLOP per second of PyTorch's product of two square matrices: the median of `times`.

    A size of 0 selects one near the device's peak speed.
    """
    device = device or torch.device("cpu")
    size = size or (4096 if device.type == "cpu" else 8192)
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    seconds = []
    repeats = 1 if device.type == "cpu" else 20  # enough to make the launch of a GPU kernel negligible
    a @ b
    for _ in range(times):
        wait(device)
        began = time.perf_counter()
        for _ in range(repeats):
            a @ b
        wait(device)
        seconds.append((time.perf_counter() - began) / repeats)
    return 2 * size**3 / median(seconds)


def matrix_limit(precision: str, rate: float, flops: float) -> dict[str, Any]:
    """The reference of a result: segments per second at `rate` FLOP per second."""
    what = f"a {precision} matrix product does {rate / 1e12:.2f} TFLOP/s, a segment takes {flops / 1e9:.2f} GFLOP"
    return {"what": what, "rate": rate / flops}
