"""What tagging a recording gives, as values for JSON and raw bytes: in a run's journal, and from worker processes."""

from typing import Any

import numpy as np

from samplecnn import parsing
from samplecnn.audio import Remarks
from samplecnn.errors import AudioError
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.writers import Outcome
from samplecnn.task import Task

_COUNT = parsing.whole(0, 1 << 40)
FIELDS = {
    "error": parsing.or_null(parsing.file_name()),
    "windows": _COUNT,
    "embedding": _COUNT,
    "samples": parsing.whole(0, 1 << 62),
    "silent": parsing.flag(),
    "missing": parsing.file_name(),
    "seconds": parsing.number(0),
    "cancels": parsing.flag(),
}


def to_data(outcome: Outcome) -> tuple[dict[str, Any], bytes]:
    """Tags, or the error of a recording, as values with the keys of FIELDS, and arrays as the model gave them."""
    if not isinstance(outcome, Tags):
        nothing = {"windows": 0, "embedding": 0, "samples": 0, "silent": False}
        return {"error": str(outcome), **nothing, "missing": "", "seconds": 0.0, "cancels": False}, b""
    arrays: list[np.ndarray] = [outcome.starts.astype(np.int64), outcome.over_time.astype(np.float32)]
    if outcome.embeddings is not None:
        arrays.append(outcome.embeddings.astype(np.float32))
    remarks = outcome.remarks
    values = {
        "error": None,
        "windows": len(outcome.starts),
        "embedding": 0 if outcome.embeddings is None else outcome.embeddings.shape[1],
        "samples": outcome.samples,
        "silent": outcome.silent,
        "missing": remarks.missing,
        "seconds": remarks.seconds,
        "cancels": remarks.cancels,
    }
    return values, b"".join(array.tobytes() for array in arrays)


def from_data(values: dict[str, Any], raw: bytes, task: Task) -> Outcome:
    """The inverse of `to_data`.

    Raises:
        ValueError: not as many bytes as the values say.
    """
    if values["error"] is not None:
        return AudioError(values["error"])
    windows, size, classes = values["windows"], values["embedding"], task.num_classes
    if len(raw) != windows * (8 + 4 * (classes + size)):
        raise ValueError(f"{len(raw)} bytes for {windows} windows")
    starts = np.frombuffer(raw, np.int64, windows)
    scores = np.frombuffer(raw, np.float32, windows * classes, 8 * windows).reshape(windows, classes)
    vectors = np.frombuffer(raw, np.float32, windows * size, (8 + 4 * classes) * windows).reshape(windows, size)
    remarks = Remarks(values["missing"], values["seconds"], values["cancels"])
    return Tags(task, scores, starts, values["samples"], values["silent"], remarks, vectors if size else None)
