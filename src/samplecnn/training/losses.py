"""The loss that training minimises."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samplecnn.task import Task
from samplecnn.training.options import TrainOptions

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Mean over the batch of logits and labels, both [batch, classes].

    Multi-label tasks use the binary cross-entropy, averaged over classes too, as Keras's binary_crossentropy does;
    tasks with one class per clip the categorical one.
    """
    if task.kind == "multilabel":
        return F.binary_cross_entropy_with_logits(logits, labels)
    return F.cross_entropy(logits, labels.argmax(1))


def soft_cross_entropy(
    logits: Tensor, labels: Tensor, task: Task, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """`cross_entropy` with fractional labels, label smoothing and class weights.

    Args:
        logits, labels: [batch, classes].
        task: of the labels.
        smoothing: share of the labels that is spread evenly: over all classes, or, with several labels, over 0 and 1.
        weights: float32 [classes].
    """
    if task.kind == "multilabel":
        if smoothing:
            labels = labels * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights)
    return F.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)


def loss_of(options: TrainOptions, task: Task, labels: np.ndarray, device: torch.device) -> Loss:
    """The loss of a run: (logits, labels) -> mean over the batch.

    Args:
        options: of the run.
        task: of the data.
        labels: uint8 [segments, classes] of the training split, from which class weights follow.
        device: of the training.
    """
    if not options.label_smoothing and not options.class_weights and options.mixing == "none":
        return partial(cross_entropy, task=task)
    weights = torch.from_numpy(class_weights(labels)).to(device) if options.class_weights else None
    return partial(soft_cross_entropy, task=task, smoothing=options.label_smoothing, weights=weights)


def class_weights(labels: np.ndarray) -> np.ndarray:
    """One over the square root of each class's frequency, scaled to a mean of 1 over segments: float32 [classes].

    Example:
        >>> class_weights(np.array([[1, 0], [1, 0], [1, 0], [1, 0], [0, 1]])).astype(float).round(2).tolist()
        [0.83, 1.67]
    """
    counts = np.maximum(labels.sum(0, dtype=np.float64), 1)
    weights = counts**-0.5
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)
