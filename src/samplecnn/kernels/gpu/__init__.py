"""Fused passes of training on an NVIDIA GPU, by Triton, which PyTorch's CUDA builds bring along.

A step is limited by memory: every array of activations that is read or written once less counts. PyTorch's kernels
process each layer in about 25 such passes, these in 7 beside the convolutions, which are cuDNN's:

- batch norm's moments; then batch norm, ReLU, max-pooling and the sums for the excitation; the excitation's scale,
- backward: all sums that gradients need; then the gradient of the convolution's output.
- The first convolution is recomputed from the waveform, as on a CPU: one pass forward, one backward.
"""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from samplecnn.kernels.gpu.first import first_conv
from samplecnn.kernels.gpu.norm import conv_norm
from samplecnn.processes import current_share

__all__ = ["conv_norm", "first_conv", "is_usable"]

INTERPRETED = False  # tests: whether these passes are also used on a CPU, by Triton's interpreter


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def is_usable(x: Tensor) -> bool:
    """Whether these passes compute a training step with x: on a CUDA device, by one process, not for torch.compile."""
    on_gpu = x.device.type == "cuda" and torch.version.hip is None
    if not (on_gpu or (INTERPRETED and x.device.type == "cpu")) or torch.compiler.is_compiling():
        return False
    return x.dtype in (torch.float32, torch.bfloat16) and current_share() is None and _has_triton()
