"""The engine interface: standardised segments in, probabilities out."""

from abc import ABC, abstractmethod

import numpy as np

from samplecnn.errors import SampleCNNError
from samplecnn.models.embedding import embedding_size
from samplecnn.models.graph import Graph


class Engine(ABC):
    """Runs one trained network, with the weights that it had when the engine was opened.

    A call with float32 [batch, samples], standardised as (wave - mean) / std, returns float32 [batch, classes], after
    sigmoid or softmax depending on the model's task. Batches of any size and all lengths that the model supports are
    allowed; the first call with a new length may take longer. An engine may be called by one thread at a time.
    `columns` also returns the embedding.

    Args:
        net: the network.
        precision: precision of the computation, "fp32" or "bf16".

    Raises:
        SampleCNNError: input that is not [batch, samples] or too short for the network, or a batch that exceeds the
            memory.
    """

    name: str
    survives_fork = False  # whether it works in a process forked after it was opened, because it has no threads

    def __init__(self, net: Graph, precision: str) -> None:
        self.net = net
        self.precision = precision

    def __call__(self, segments: np.ndarray) -> np.ndarray:
        return self.columns(segments)[:, : self.net.classes]

    @property
    def width(self) -> int:
        """Number of output columns: classes, then the embedding (`models.embedding`), if the network has one."""
        return self.net.classes + embedding_size(self.net)

    def columns(self, segments: np.ndarray) -> np.ndarray:
        """Probabilities followed by the embedding, float32 [batch, width]."""
        if segments.ndim != 2:
            raise SampleCNNError(f"the model takes [batch, samples], not a shape of {list(segments.shape)}")
        min_samples = self.net.spec.min_samples
        if segments.shape[1] < min_samples:
            raise SampleCNNError(f"{segments.shape[1]} samples are too few: this model needs {min_samples} or more")
        if len(segments) == 0:
            return np.empty((0, self.width), np.float32)
        unused = min(self.net.spec.padding(segments.shape[1])[1], 0)
        return self.infer(np.ascontiguousarray(segments[:, : segments.shape[1] + unused], np.float32))

    @abstractmethod
    def infer(self, segments: np.ndarray) -> np.ndarray:
        """`columns` for validated input: float32, contiguous, at least one segment, without unused samples at the
        end.
        """

    def close(self) -> None:  # noqa: B027 - most hold no resources
        """Releases resources; the engine cannot be called again."""

    def __repr__(self) -> str:
        return f"<engine {self.name} {self.precision}>"
