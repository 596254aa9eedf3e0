"""PyTorch engine, on a CPU or a GPU, in float32 or bfloat16."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from samplecnn.errors import SampleCNNError
from samplecnn.hardware import dtype, tuned
from samplecnn.inference.base import Engine
from samplecnn.inference.torch_operations import Compiled, OnCpu, Plain
from samplecnn.kernels.threads import compiled_passes
from samplecnn.models.graph import Graph, Operations, run

CPU_BATCH = 32  # segments per batch on a CPU: larger batches exceed the caches


class TorchEngine(Engine):
    """PyTorch, on a CPU or a GPU."""

    name = "torch"

    def __init__(self, net: Graph, precision: str, device: torch.device, few: bool = False) -> None:
        super().__init__(net, precision)
        self.device = device
        self.operations = operations(net, dtype(precision), device, few)

    @classmethod
    def open(cls, net: Graph, precision: str, device: torch.device | None = None, few: bool = False) -> "TorchEngine":
        return cls(net, precision, torch.device("cpu") if device is None else device, few)

    def infer(self, segments: np.ndarray) -> np.ndarray:
        waves = torch.from_numpy(segments)
        kind = self.device.type
        batch = CPU_BATCH if kind == "cpu" else len(waves)
        try:
            with torch.inference_mode(), torch.autocast(kind, enabled=False), tuned(self.device, self.precision):
                parts = [self._probabilities(part.to(self.device)) for part in waves.split(batch)]
                return torch.cat(parts).cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise SampleCNNError(
                f"the device's memory does not hold a batch of {len(segments)} segments; use a smaller --batch-size"
            ) from error

    def _probabilities(self, waves: Tensor) -> Tensor:
        return run(self.net, self.operations, waves, waves.shape[1])


def operations(net: Graph, dtype: torch.dtype, device: torch.device, few: bool) -> Operations[Any]:
    """The fastest operations for this network, or for `few` segments those with the lowest start-up time."""
    if device.type != "cpu":
        return Plain(dtype, device)
    if few or compiled_passes() is None:
        return OnCpu(dtype, device)
    from samplecnn.inference import fused_engine

    kind = fused_engine.Fused if fused_engine.is_supported(net, dtype, device) else Compiled
    return kind(dtype, device)
