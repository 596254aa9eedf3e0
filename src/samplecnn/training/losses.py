"""The loss that training minimises."""

import torch.nn.functional as F
from torch import Tensor

from samplecnn.task import Task


def cross_entropy(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Mean over the batch of logits and labels, both [batch, classes].

    Multi-label tasks use the binary cross-entropy, averaged over classes too, as Keras's binary_crossentropy does;
    tasks with one class per clip the categorical one.
    """
    if task.kind == "multilabel":
        return F.binary_cross_entropy_with_logits(logits, labels)
    return F.cross_entropy(logits, labels.argmax(1))
