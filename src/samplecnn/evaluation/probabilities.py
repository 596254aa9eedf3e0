"""Reference outputs of a SampleCNN: evaluation mode, full 32-bit precision, independent of the batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.hardware import choose_device

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN


def load_on_device(model: "SampleCNN | str | Path", device: str | torch.device | None) -> "SampleCNN":
    """A model with its task, on a device.

    Args:
        model: a SampleCNN, which stays on its device unless one is given; or any argument of `samplecnn.load`.
        device: "cpu", "cuda"; None for a GPU if there is one.

    Raises:
        UsageError: no such model or device, or a model without a task.
    """
    from samplecnn.models import SampleCNN

    if isinstance(model, SampleCNN):
        loaded = model if device is None else model.to(choose_device(device))
    else:
        from samplecnn.model_files import load

        chosen = choose_device(device)  # before loading the weights, to fail early for a wrong name
        loaded = load(model).to(chosen)
    if loaded.task is None:
        raise UsageError("the model has no task; create it as SampleCNN(config, task)")
    return loaded


@contextmanager
def full_precision(model: "SampleCNN") -> Iterator[None]:
    """Evaluation mode in full 32-bit precision, without gradients; the model's settings are restored afterwards."""
    device = next(model.parameters()).device
    was_training, compute_dtype = model.training, model.compute_dtype
    model.eval()
    model.compute_dtype = torch.float32
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # TF32 has 10 bits of mantissa and is the default in cuDNN's convolutions
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
        model.compute_dtype = compute_dtype
        model.train(was_training)


def probabilities(model: "SampleCNN", segments: np.ndarray) -> np.ndarray:
    """Probabilities of a batch; call it inside `full_precision`.

    Args:
        segments: standardised waveforms, float32 [batch, window].

    Returns:
        float32 [batch, classes].

    Raises:
        SampleCNNError: the batch does not fit into the device's memory.
    """
    device = next(model.parameters()).device
    try:
        return model.probabilities(torch.from_numpy(segments).to(device)).float().cpu().numpy()
    except torch.OutOfMemoryError as error:
        raise SampleCNNError(
            f"the device's memory does not hold a batch of {len(segments)} segments; use a smaller --batch-size"
        ) from error
