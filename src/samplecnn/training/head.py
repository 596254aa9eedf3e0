"""A new output layer on a trained network: logistic regression on the activations of its last hidden layer.

The network is not changed, so its activations are computed once, stored next to the shards and reused for later heads
on the same data and network. The penalty is chosen by the loss on the validation split.
"""

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samplecnn.errors import UsageError
from samplecnn.hardware import tuned
from samplecnn.models import SampleCNN
from samplecnn.models.stored import StoredModel, values_of
from samplecnn.shards import Segments
from samplecnn.system.files import write_bytes
from samplecnn.system.progress import Progress
from samplecnn.task import Task
from samplecnn.training.batches import batches, standardised
from samplecnn.training.losses import cross_entropy

PENALTIES = tuple(10.0**power for power in range(-6, 1))  # weights of the L2 penalty that are tried
STEPS = 200  # of L-BFGS, at most
FOLDER = "activations"  # in the data set's folder


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted output layer.

    Args:
        weight: float32 [classes, hidden].
        bias: float32 [classes].
        penalty: the chosen one.
        losses: mean loss on the validation split for each of PENALTIES.
    """

    weight: np.ndarray
    bias: np.ndarray
    penalty: float
    losses: tuple[float, ...]


def hidden(model: SampleCNN, x: Tensor) -> Tensor:
    """x [batch, samples], standardised -> activations of the last hidden layer [batch, hidden]."""
    levels = model.features(x)[-model.spec.levels :]
    pooled = torch.cat([level.amax(1) for level in levels], dim=1).float()
    return F.relu(model.final_norm(model.final_fc(pooled)))


def activations(model: SampleCNN, segments: Segments, batch_size: int, num_readers: int) -> np.ndarray:
    """Activations of a split's segments, float32 [segments, hidden], read from their file if it exists.

    Args:
        model: on its device, with the task whose mean and deviation standardise.
        segments: of a built data set.
        batch_size: segments in a batch.
        num_readers: threads that read batches ahead.
    """
    path = _file(model, segments)
    found = _read(path, len(segments), model.spec.hidden.outputs)
    if found is not None:
        return found
    assert model.task is not None
    device = next(model.parameters()).device
    model.eval()
    parts: list[np.ndarray] = []
    bar = Progress(len(segments), f"activations {segments.split}", "segments")
    with bar, torch.no_grad(), tuned(device, "fp32"):
        for audio, _ in batches(segments, np.arange(len(segments)), batch_size, num_readers, device=device):
            parts.append(hidden(model, standardised(audio, model.task)).cpu().numpy())
            bar.advance(len(audio))
    values = np.concatenate(parts)
    memory = io.BytesIO()
    np.save(memory, values)
    write_bytes(path, memory.getbuffer())
    return values


def _file(model: SampleCNN, segments: Segments) -> Path:
    """The file of the activations, named by a hash of the network's values and of the segments."""
    digest = hashlib.sha256(repr(model.config).encode())
    assert model.task is not None
    digest.update(repr((model.task.mean, model.task.std, segments.task.window, len(segments))).encode())
    for name, value in sorted(values_of(model).items()):
        if not name.startswith("logit."):
            digest.update(np.ascontiguousarray(value).data)
    digest.update("\0".join(segments.ids).encode("utf-8", "surrogatepass"))
    digest.update((segments.record.fingerprint if segments.record else "").encode())
    return segments.folder.parent / FOLDER / f"{segments.split}-{digest.hexdigest()[:16]}.npy"


def _read(path: Path, rows: int, columns: int) -> np.ndarray | None:
    try:
        values = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return values if values.shape == (rows, columns) and values.dtype == np.float32 else None


def fit_head(train: np.ndarray, labels: np.ndarray, val: np.ndarray, val_labels: np.ndarray, task: Task) -> Head:
    """Fits the output layer with each of PENALTIES, and returns the one with the lowest loss on the validation split.

    Args:
        train, val: activations [segments, hidden].
        labels, val_labels: 0 or 1, [segments, classes].
        task: its kind decides the loss.
    """
    mean, std = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-6)
    x, other = (torch.from_numpy((part - mean) / std) for part in (train, val))
    y, other_y = (torch.from_numpy(np.asarray(part, np.float32)) for part in (labels, val_labels))
    weight, bias = torch.zeros(y.shape[1], x.shape[1]), torch.zeros(y.shape[1])
    best: tuple[float, Tensor, Tensor, float] | None = None
    losses = []
    for penalty in reversed(PENALTIES):  # each starts from the solution with the stronger penalty
        weight, bias = _fit(x, y, task, penalty, weight, bias)
        with torch.no_grad():
            losses.append(float(cross_entropy(F.linear(other, weight, bias), other_y, task)))
        if best is None or losses[-1] < best[0]:
            best = losses[-1], weight, bias, penalty
    assert best is not None
    _, weight, bias, penalty = best
    folded = weight.numpy() / std  # standardisation becomes a part of the layer
    return Head(
        folded.astype(np.float32), (bias.numpy() - folded @ mean).astype(np.float32), penalty, tuple(losses[::-1])
    )


def _fit(x: Tensor, y: Tensor, task: Task, penalty: float, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(F.linear(x, weight, bias), y, task) + penalty * (weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return weight.detach(), bias.detach()


def with_head(model: SampleCNN, head: Head, task: Task) -> SampleCNN:
    """The network with another output layer.

    Args:
        model: the trained network.
        head: for the classes of `task`.
        task: of the new model.
    """
    values = values_of(model) | {"logit.weight": head.weight, "logit.bias": head.bias}
    return StoredModel(values, replace(model.config, num_classes=task.num_classes), task).module()


def task_on(model: SampleCNN, data: Task, source: str) -> Task:
    """The task of a data set with the mean and standard deviation of a network that is not changed.

    Raises:
        UsageError: the data set has another sample rate, or windows that are too short.
    """
    assert model.task is not None
    if data.sample_rate != model.task.sample_rate:
        raise UsageError(
            f"--head-only: {source} takes audio at {model.task.sample_rate:,} Hz, and {data.name} is built at "
            f"{data.sample_rate:,} Hz; build it with --sample-rate {model.task.sample_rate}"
        )
    if data.window < model.min_samples:
        raise UsageError(
            f"--head-only: {source} needs {model.min_samples:,} samples or more, and {data.name} has windows of "
            f"{data.window:,}; build it with --window {model.task.window}"
        )
    return replace(data, mean=model.task.mean, std=model.task.std)
