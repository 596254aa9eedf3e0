"""Contenders of the training benchmark: samplecnn and plain PyTorch networks with the same training steps on one batch.

A step is that of `samplecnn train` (`training.step`): standardise, forward, loss, backward, fused Nesterov SGD.
Contenders differ in the network, its arithmetic and how its kernels are launched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samplecnn.bench.plain import PlainSampleCNN
from samplecnn.datasets import REGISTRY
from samplecnn.hardware import dtype, has_tf32, tuned
from samplecnn.models import ModelConfig, SampleCNN, blocks_for_window
from samplecnn.task import Task
from samplecnn.training.step import WARMUP_STEPS, Step

LEARNING_RATE = 1e-3
MODE_NAMES = {"graph": "CUDA graph", "compile": "compiled", "compile+graph": "compiled, CUDA graph"}


@dataclass(frozen=True)
class Kind:
    """A kind of contender.

    Args:
        precision: "fp32", "tf32" or "bf16"; plain PyTorch's bf16 is autocast.
        mode: how steps are launched, one of `training.step.MODES`.
        ours: samplecnn's network, or the same in plain PyTorch.
    """

    precision: str
    mode: str = "eager"
    ours: bool = True

    @property
    def name(self) -> str:
        words = ["samplecnn" if self.ours else "plain PyTorch", self.precision]
        if not self.ours and self.precision == "bf16":
            words[1] += " autocast"
        if self.mode != "eager":
            words.append(MODE_NAMES[self.mode])
        return ", ".join(words)


def kinds(device: torch.device, precision: str) -> list[Kind]:
    """The contenders on a device whose best precision is `precision`."""
    if device.type != "cuda":
        best = ["bf16"] if precision == "bf16" else []
        return [Kind(name, ours=ours) for ours in (True, False) for name in ("fp32", *best)]
    rounded = ["tf32"] if has_tf32(device) else []
    return [
        *(Kind(precision, mode) for mode in ("eager", "graph", "compile+graph")),
        *(Kind(name, "graph") for name in (*rounded, "fp32") if name != precision),
        *(Kind(name, ours=False) for name in ("fp32", *rounded)),
        *(Kind("bf16", mode, ours=False) for mode in ("eager", "compile+graph") if precision == "bf16"),
    ]


class Steps:
    """A network and one batch on a device; a call runs `steps` steps and returns the number of processed segments."""

    def __init__(
        self, kind: Kind, config: ModelConfig, window: int, batch_size: int, steps: int, device: torch.device
    ) -> None:
        self.kind, self.device, self.steps = kind, device, steps
        self.failure: str | None = None  # why its mode is unavailable
        torch.manual_seed(0)
        network = _ours(kind, config) if kind.ours else _Plain(config, kind.precision)
        self.model = network.to(device).train()
        self.task = noise_task(window, config.num_classes)
        self.step = Step(self.model, self.task, kind.mode, self._fail)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True, fused=True
        )
        values = np.random.default_rng(0).integers(-8000, 8000, (batch_size, window), np.int16)
        self.audio = torch.from_numpy(values).to(device)
        self.labels = torch.zeros(batch_size, config.num_classes, device=device)

    def _fail(self, line: str) -> None:
        self.failure = line

    def ready(self) -> None:
        """Runs the first steps, in which kernels are compiled, graphs recorded and algorithms selected."""
        self._take(WARMUP_STEPS + 2 if self.device.type == "cuda" else 1)

    def __call__(self) -> int:
        self._take(self.steps)
        return self.steps * len(self.audio)

    def _take(self, steps: int) -> None:
        with tuned(self.device, self.kind.precision):
            for _ in range(steps):
                self.step(self.optimizer, self.audio, self.labels, LEARNING_RATE)
            wait(self.device)


def architecture(block: str, multi: bool, window: int, num_classes: int, features: int) -> ModelConfig:
    """The network of a benchmark, with the number of blocks for the window."""
    blocks = blocks_for_window(window, block)
    return ModelConfig(block=block, multi=multi, num_blocks=blocks, num_classes=num_classes, features=features)


def noise_task(window: int, num_classes: int) -> Task:
    """MagnaTagATune's task with another window and numbered classes."""
    names = tuple(f"class {i}" for i in range(num_classes))
    return replace(REGISTRY["mtt"].task(), window=window, clip_seconds=None, classes=names)


def gpu_of(device: torch.device) -> dict[str, Any]:
    """A GPU and the libraries for it, for a benchmark's `machine`."""
    found = torch.cuda.get_device_properties(device)
    return {
        "gpu": found.name,
        "gpu memory, GB": round(found.total_memory / 1e9),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def wait(device: torch.device) -> None:
    """Waits until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def many_compiled() -> Iterator[None]:
    """Lets torch.compile keep all networks of a benchmark; by default it silently stops compiling after 8."""
    import torch._dynamo

    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=256):
        yield
    torch._dynamo.reset()


def _ours(kind: Kind, config: ModelConfig) -> SampleCNN:
    model = SampleCNN(config)
    model.compute_dtype = dtype(kind.precision)
    return model


class _Plain(nn.Module):
    """The plain PyTorch network in a precision: with autocast for bf16, as usual."""

    def __init__(self, config: ModelConfig, precision: str) -> None:
        super().__init__()
        self.network, self.autocast = PlainSampleCNN(config), precision == "bf16"

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            logits: Tensor = self.network(x)
        return logits.float()
