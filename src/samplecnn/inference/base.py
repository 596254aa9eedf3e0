"""What every engine is: standardised segments in, probabilities out."""

from abc import ABC, abstractmethod

import numpy as np

from samplecnn.errors import SampleCNNError
from samplecnn.models.embedding import embedding_size
from samplecnn.models.graph import Graph


class Engine(ABC):
    """Something that runs one trained network; it keeps the values that the network had when it was opened.

    Called with float32 [batch, samples], standardised as (wave - mean) / std, it gives float32 [batch, classes],
    sigmoid or softmax by the model's task. Any batch and any number of samples that the model takes will do; the first
    call with a number of samples may take longer. One thread at a time may call it. `columns` also gives the embedding.

    Args:
        net: the network.
        precision: "fp32" or "bf16", what it computes in.

    Raises:
        SampleCNNError: for anything but numbers [batch, samples] with as many samples as the network needs, and where
            memory does not hold the batch.
    """

    name: str
    survives_fork = False  # whether it works in a process that was forked after it was opened: it has no threads

    def __init__(self, net: Graph, precision: str) -> None:
        self.net = net
        self.precision = precision

    def __call__(self, segments: np.ndarray) -> np.ndarray:
        return self.columns(segments)[:, : self.net.classes]

    @property
    def width(self) -> int:
        """Columns of what it computes: classes, then the embedding's (`models.embedding`), if the network has one."""
        return self.net.classes + embedding_size(self.net)

    def columns(self, segments: np.ndarray) -> np.ndarray:
        """Probabilities and, behind them, the embedding, float32 [batch, width]."""
        if segments.ndim != 2:
            raise SampleCNNError(f"the model takes [batch, samples], not a shape of {list(segments.shape)}")
        least = self.net.spec.min_samples
        if segments.shape[1] < least:
            raise SampleCNNError(f"{segments.shape[1]} samples are too few: this model needs {least} or more")
        if len(segments) == 0:
            return np.empty((0, self.width), np.float32)
        left_out = min(self.net.spec.padding(segments.shape[1])[1], 0)
        return self.infer(np.ascontiguousarray(segments[:, : segments.shape[1] + left_out], np.float32))

    @abstractmethod
    def infer(self, segments: np.ndarray) -> np.ndarray:
        """`columns` for an input that is right: float32, contiguous, at least one segment, all of its samples used."""

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Gives back what the engine holds; it cannot be called again."""

    def __repr__(self) -> str:
        return f"<engine {self.name} {self.precision}>"
