"""Another program's batch norm expressed as ours."""

import torch
from torch import Tensor

from samplecnn.models.layers import BatchNorm


def fold_epsilon(weight: Tensor, running_var: Tensor, epsilon: float) -> Tensor:
    """The batch-norm weight that gives with our epsilon what `weight` gives with another one.

    A batch norm divides by sqrt(running_var + epsilon); where `epsilon` is not ours (1e-3), the quotient of the two
    roots goes into the weight and the outputs stay the same.

    Args:
        weight: [features], gamma of the other program.
        running_var: [features], the variance that both use.
        epsilon: the one that `weight` was trained with.

    Returns:
        [features], in `weight`'s type.
    """
    if epsilon == BatchNorm.EPSILON:
        return weight
    variance = running_var.double()
    return (weight.double() * torch.sqrt((variance + BatchNorm.EPSILON) / (variance + epsilon))).to(weight.dtype)
