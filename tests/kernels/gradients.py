"""What tests of kernels share: tolerances, leaves of a computation, and the error of its gradients."""

import pytest
import torch

from samplecnn.kernels.threads import compiled_passes

DTYPES = [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
needs_numba = pytest.mark.skipif(compiled_passes() is None, reason="numba is not installed (the extra `fast`)")


def worst(found, expected) -> float:
    """The largest error as a share of the largest value, over pairs of tensors."""
    return max(
        ((a.detach().double() - b.detach().double()).abs().max() / b.detach().abs().max().clamp_min(1e-6)).item()
        for a, b in zip(found, expected, strict=True)
    )


def leaves(*tensors):
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]
