"""Initial values as the original draws them (its lib/initialization.py).

Its convolutions of several frames count the input channels twice in their fan-in. The batch norm behind each
convolution takes the scale out again, so this narrow range changes the first steps and not what can be learnt; it is
kept because the published numbers were reached with it.
"""

import math

from torch import Tensor, nn


def audio_uniform_(weight: Tensor, scale: float) -> None:
    """Uniform in ±sqrt(3·scale/f), f = in · (width · in), for a convolution kernel [out, in, width]."""
    _, channels, width = weight.shape
    limit = math.sqrt(3.0 * scale / (channels * width * channels))
    nn.init.uniform_(weight, -limit, limit)


def initialize(model: nn.Module) -> None:
    """Draws fresh values for a whole model from torch's random state; biases are 0, batch norms the identity."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv1d) and module.kernel_size[0] > 1:
            audio_uniform_(module.weight, scale=1.0 if name == "conv0" else 2.0)
        elif isinstance(module, nn.Conv1d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        if isinstance(module, nn.Conv1d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
