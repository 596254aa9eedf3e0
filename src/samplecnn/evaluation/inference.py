"""Choosing a device."""

import torch

from samplecnn.errors import UsageError


def choose_device(name: str | torch.device | None) -> torch.device:
    """The device of that name ("cpu", "cuda", "cuda:1"); None takes a GPU where there is one.

    Raises:
        UsageError: for a name that means nothing, and for a device that this machine does not have.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device {name!r} cannot be used here; use cpu, or cuda on a machine with a GPU") from error
    if device.type == "meta":
        raise UsageError("device 'meta' holds no values; use cpu, or cuda on a machine with a GPU")
    return device
