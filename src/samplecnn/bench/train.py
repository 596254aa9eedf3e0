"""How fast a network learns: training steps, ours beside plain PyTorch's, on one batch that stays in memory."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from samplecnn.bench.plain import PlainSampleCNN
from samplecnn.bench.rounds import Contender, machine, measure
from samplecnn.hardware import DTYPES, choose_precision, keep_freed_memory
from samplecnn.models import ModelConfig, SampleCNN, blocks_for_window


def bench_train(
    block: str = "se",
    multi: bool = False,
    window: int = 59049,
    num_classes: int = 50,
    features: int = 128,
    batch_size: int = 23,
    steps: int = 2,
    rounds: int = 5,
) -> dict[str, Any]:
    """Measures training steps (forward, backward, Nesterov SGD) on the CPU.

    Args:
        block, multi, num_classes, features: the architecture; `window` samples decide the number of blocks.
        batch_size: segments a step.
        steps: in one turn of a contender.
        rounds: of which medians are taken.

    Returns:
        A dict for JSON: `unit`, `contenders` with their rates, `limit`, `machine`, `settings`.
    """
    keep_freed_memory()  # as training does; plain PyTorch gains by it too
    config = ModelConfig(
        block=block, multi=multi, num_blocks=blocks_for_window(window), num_classes=num_classes, features=features
    )
    precision = choose_precision("auto", torch.device("cpu"))
    contenders = [Contender("samplecnn, fp32", _ours(config, "fp32", window, batch_size, steps), ours=True)]
    if precision == "bf16":
        contenders.append(Contender("samplecnn, bf16", _ours(config, "bf16", window, batch_size, steps), ours=True))
    contenders.append(Contender("plain PyTorch, fp32", _plain(config, False, window, batch_size, steps)))
    if precision == "bf16":
        contenders.append(Contender("plain PyTorch, bf16 autocast", _plain(config, True, window, batch_size, steps)))
    measure(contenders, rounds, "bench train")
    rate = matrix_rate(DTYPES[precision])
    return {
        "bench": "train",
        "unit": "segments/s",
        "contenders": [contender.to_dict() for contender in contenders],
        "limit": {
            "what": f"a {precision} matrix product does {rate / 1e12:.2f} TFLOP/s, a segment takes "
            f"{3 * forward_flops(config, window) / 1e9:.1f} GFLOP",
            "rate": rate / (3 * forward_flops(config, window)),
        },
        "machine": machine(),
        "settings": {"window": window, "batch_size": batch_size, "rounds": rounds, **config.to_dict()},
    }


def forward_flops(config: ModelConfig, window: int) -> int:
    """Of the convolutions on one segment, two for a multiplication with its addition; the rest is below a percent."""
    steps, channels = -(-window // 3), config.features
    flops = 2 * 3 * channels * steps
    for features in config.widths:
        kernels = 3 * channels * features
        if config.block[-1] == "2":
            kernels += 3 * features * features
        if config.block.startswith("res") and channels != features:
            kernels += channels * features
        flops += 2 * kernels * steps
        steps, channels = steps // 3, features
    return flops


def matrix_rate(dtype: torch.dtype, size: int = 4096, times: int = 7) -> float:
    """FLOP a second of a large matrix product: the median of `times`."""
    a = torch.randn(size, size).to(dtype)
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / median(seconds)


def _ours(config: ModelConfig, precision: str, window: int, batch_size: int, steps: int) -> Callable[[], int]:
    model = SampleCNN(config)
    model.compute_dtype = DTYPES[precision]
    return _steps(model, False, window, batch_size, steps)


def _plain(config: ModelConfig, autocast: bool, window: int, batch_size: int, steps: int) -> Callable[[], int]:
    return _steps(PlainSampleCNN(config), autocast, window, batch_size, steps)


def _steps(model: nn.Module, autocast: bool, window: int, batch_size: int, steps: int) -> Callable[[], int]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch_size, window, generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=True)
    model.train()

    def run() -> int:
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
                logits = model(x)
            loss = F.binary_cross_entropy_with_logits(logits.float(), torch.zeros_like(logits, dtype=torch.float32))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return steps * batch_size

    return run
