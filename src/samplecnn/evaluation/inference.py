"""Running a model for its answers: full precision, evaluation mode, and an answer that does not depend on the batch."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from samplecnn.errors import SampleCNNError, UsageError

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

In = TypeVar("In")
Out = TypeVar("Out")


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


def resolve(model: "SampleCNN | str | Path", device: str | torch.device | None) -> "SampleCNN":
    """A model on its device: one at hand stays where it is unless a device is named; a path or a name is loaded.

    Raises:
        UsageError: where there is no such model or device, and where the model does not carry its task.
    """
    from samplecnn.models import SampleCNN

    if isinstance(model, SampleCNN):
        loaded = model if device is None else model.to(choose_device(device))
    else:
        from samplecnn.model_files import load

        chosen = choose_device(device)  # first: a wrong name should not wait for the weights
        loaded = load(model).to(chosen)
    if loaded.task is None:
        raise UsageError("the model does not know its classes; give it a task: SampleCNN(config, task)")
    return loaded


@contextmanager
def exact(model: "SampleCNN") -> Iterator[None]:
    """Evaluation mode in full 32-bit precision; the model's own settings come back afterwards."""
    device = next(model.parameters()).device
    was_training, compute_dtype = model.training, model.compute_dtype
    model.eval()
    model.compute_dtype = torch.float32
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # 10 bits of mantissa, and on by default in cuDNN's convolutions
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
        model.compute_dtype = compute_dtype
        model.train(was_training)


def probabilities(model: "SampleCNN", standardised: np.ndarray) -> np.ndarray:
    """Probabilities float32 [batch, classes] of float32 [batch, window]; to be called inside `exact`."""
    device = next(model.parameters()).device
    try:
        return model.probabilities(torch.from_numpy(standardised).to(device)).float().cpu().numpy()
    except torch.OutOfMemoryError as error:
        raise SampleCNNError(
            f"the device's memory does not hold a batch of {len(standardised)} segments; use a smaller --batch-size"
        ) from error


def ahead(work: Callable[[In], Out], items: Iterable[In], threads: int) -> Iterator[Out]:
    """`map(work, items)` in order, with up to `threads` + 1 results made ahead of their use.

    An iterator that is closed early stops the work that has not begun.
    """
    source = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="reader") as pool:
        waiting: list[Future[Any]] = [pool.submit(work, item) for item in islice(source, threads + 1)]
        try:
            while waiting:
                done = waiting.pop(0).result()
                waiting.extend(pool.submit(work, item) for item in islice(source, 1))
                yield done
        finally:
            for future in waiting:
                future.cancel()
