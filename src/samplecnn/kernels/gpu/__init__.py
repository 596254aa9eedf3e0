"""Fused passes of training on an NVIDIA GPU, by Triton, which PyTorch's CUDA builds bring along.

A step is limited by memory: every array of activations that is read or written once less counts. PyTorch's kernels
process each layer in about 25 such passes, these in 7 beside the convolutions, which are cuDNN's:

- batch norm's moments; then batch norm, ReLU, max-pooling and the sums for the excitation; the excitation's scale,
- backward: all sums that gradients need; then the gradient of the convolution's output.
- The first convolution is recomputed from the waveform, as on a CPU: one pass forward, one backward.
"""

from functools import cache

import torch
from torch import Tensor

from samplecnn.kernels.gpu.first import first_conv
from samplecnn.kernels.gpu.norm import conv_norm
from samplecnn.processes import current_share
from samplecnn.system.log import note

__all__ = ["conv_norm", "first_conv", "is_usable"]


def is_usable(x: Tensor) -> bool:
    """Whether these passes compute a training step with x: on a CUDA device, by one process, not for torch.compile."""
    if x.device.type != "cuda" or torch.version.hip is not None or torch.compiler.is_compiling():
        return False
    return x.dtype in (torch.float32, torch.bfloat16) and current_share() is None and _works(x.device)


@cache
def _works(device: torch.device) -> bool:
    """Whether Triton is there and runs; it needs a C compiler and a GPU that it knows. If not, a line says so, once."""
    try:
        from samplecnn.kernels.gpu import passes

        one = torch.ones(1, 1, 16, device=device)
        passes.scale[(1, 1, 1)](one, one[0], torch.empty_like(one), 1, 16, 1, FRAMES=16, CHANNELS=16)
    except Exception as error:  # whatever a compiler or a driver raises
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        note(f"training without the fused passes for GPUs, which failed here: {reason}")
        return False
    return True
