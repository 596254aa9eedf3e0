"""What is minimised."""

import torch.nn.functional as F
from torch import Tensor

from samplecnn.task import Task


def cross_entropy(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Mean over the batch of logits and labels, both [batch, classes].

    Binary, and the mean over classes too, where a clip can have several (Keras's binary_crossentropy); categorical
    where it has one.
    """
    if task.kind == "multilabel":
        return F.binary_cross_entropy_with_logits(logits, labels)
    return F.cross_entropy(logits, labels.argmax(1))
