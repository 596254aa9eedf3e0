"""Which precision training takes on this machine: fp32 or bfloat16, whichever is faster."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from samplecnn.hardware import choose_precision, dtype
from samplecnn.models.layers import Conv
from samplecnn.system.timing import best_rates

# Convolutions of the measurement: channels, features and frames. The first blocks do most of a network's work.
CONVOLUTIONS = ((128, 128, 6561), (128, 256, 729), (256, 256, 729))


def training_precision(name: str, device: torch.device | None) -> str:
    """The precision to train in on a device (None: a CPU): `name`, or the faster one if it is "auto".

    Raises:
        UsageError: an unknown name, or tf32 on a device without it.
    """
    return choose_precision(name, device, "training", measure)


def measure() -> Mapping[str, float]:
    """Rounds per CPU second of the network's convolutions, forward and backward, on one thread, in fp32 and in bf16.

    Threads and the generator of random numbers are left as they were.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(0)
            layers = [Conv(channels, features).train() for channels, features, _ in CONVOLUTIONS]
            inputs = [torch.randn(1, frames, channels) for channels, _, frames in CONVOLUTIONS]
            work = {}
            for precision in ("fp32", "bf16"):
                typed = [x.to(dtype(precision)).requires_grad_() for x in inputs]
                work[precision] = partial(_forward_backward, layers, typed)
            return best_rates(work)
    finally:
        torch.set_num_threads(threads)


def _forward_backward(layers: Sequence[nn.Module], inputs: Sequence[Tensor]) -> int:
    for layer, x in zip(layers, inputs, strict=True):
        y = layer(x)
        y.backward(y.detach())
        x.grad = None
    return 1
