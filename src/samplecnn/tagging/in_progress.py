"""Recordings in progress: what has been read, and the model's outputs so far."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from samplecnn.audio import Remarks
from samplecnn.errors import AudioError, SampleCNNError
from samplecnn.tagging.tags import Tags
from samplecnn.task import Task


@dataclass
class InProgress:
    """A recording in progress: what has been read, the probabilities so far, and whether its end was reached."""

    source: Any
    starts: list[np.ndarray] = field(default_factory=list)
    outputs: dict[int, np.ndarray] = field(default_factory=dict)  # by the number of their first window
    windows: int = 0
    windows_done: int = 0
    samples: int = 0
    silent: bool = True
    ended: bool = False
    error: AudioError | None = None
    remarks: Remarks = field(default_factory=Remarks)

    def add_outputs(self, first: int, outputs: np.ndarray) -> None:
        """Adds the probabilities (and embeddings) of the windows from number `first` on."""
        if not np.isfinite(outputs).all():
            raise SampleCNNError("the model's outputs are NaN or infinite; its weights are damaged")
        self.outputs[first] = outputs
        self.windows_done += len(outputs)

    @property
    def complete(self) -> bool:
        return self.error is not None or (self.ended and self.windows_done == self.windows)

    def outcome(self, task: Task) -> Tags | AudioError:
        """The tags or the error of a complete recording."""
        if self.error is not None:
            return self.error
        columns = np.concatenate([outputs for _, outputs in sorted(self.outputs.items())])
        return Tags(
            task=task,
            over_time=columns[:, : task.num_classes],
            starts=np.concatenate(self.starts),
            samples=self.samples,
            silent=self.silent,
            remarks=self.remarks,
            embeddings=columns[:, task.num_classes :] if columns.shape[1] > task.num_classes else None,
        )


class Pending(NamedTuple):
    """Windows [n, window] of a recording, from number `first` on, that have not been through the model."""

    recording: InProgress
    first: int
    segments: np.ndarray
