"""One recording of an index, as an update gets it from the model."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from samplecnn import parsing
from samplecnn.errors import AudioError
from samplecnn.index.file_list import Stamp
from samplecnn.index.packing import packed, rounded
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.writers import reason

OVERHEAD = 4000  # bytes of an entry besides the content of its arrays


VALUES = {
    "path": parsing.file_name(),
    "size": parsing.whole(0, 1 << 62),
    "mtime_ns": parsing.whole(-(1 << 62), 1 << 62),
    "sha256": parsing.text(64),
    "engine": parsing.text(200),
    "error": parsing.or_null(parsing.file_name()),
    "samples": parsing.whole(0, 1 << 62),
    "windows": parsing.whole(0, 1 << 40),
    "silent": parsing.flag(),
    "missing": parsing.file_name(),
    "cancels": parsing.flag(),
}
ENTRY_RULE = parsing.fields(VALUES)


@dataclass(frozen=True, eq=False)
class Entry:
    """A recording and what the model has answered, rounded as it is stored.

    Args:
        path: absolute.
        size, mtime_ns, sha256: of the file when it was read; the hash is "" where it could not be read.
        engine: and precision that were used ("openvino fp32").
        error: why it cannot be used; None: it can, and the rest is given.
        samples: length at the task's rate.
        windows: their number.
        silent, missing, cancels: as in `Tags` and `Remarks`.
        scores: of the whole recording, exact, float32 [classes].
        starts: first sample of each window, int64 [windows].
        over_time: rounded scores, float32 [windows, classes].
        embeddings: records [windows] (`packing.record_type`).
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str
    engine: str
    error: str | None = None
    samples: int = 0
    windows: int = 0
    silent: bool = False
    missing: str = ""
    cancels: bool = False
    scores: np.ndarray | None = None
    starts: np.ndarray | None = None
    over_time: np.ndarray | None = None
    embeddings: np.ndarray | None = None

    @classmethod
    def of(cls, path: str, stamp: Stamp, sha256: str, engine: str, outcome: Tags | AudioError) -> "Entry":
        known = {"path": path, "size": stamp.size, "mtime_ns": stamp.mtime_ns, "sha256": sha256, "engine": engine}
        if isinstance(outcome, AudioError):
            return cls(**known, error=reason(path, outcome))  # type: ignore[arg-type]
        return cls(
            **known,  # type: ignore[arg-type]
            samples=outcome.samples,
            windows=len(outcome.starts),
            silent=outcome.silent,
            missing=outcome.remarks.missing,
            cancels=outcome.remarks.cancels,
            scores=outcome.scores,
            starts=np.asarray(outcome.starts, np.int64),
            over_time=rounded(outcome.over_time),
            embeddings=packed(outcome.embedding_over_time),
        )

    @property
    def bytes(self) -> int:
        """Memory that it takes, about: of short recordings, most of it is not the arrays' content."""
        arrays = (self.scores, self.starts, self.over_time, self.embeddings)
        return OVERHEAD + sum(array.nbytes for array in arrays if array is not None)

    def to_values(self) -> dict[str, Any]:
        """All but the arrays, for JSON."""
        return {name: getattr(self, name) for name in VALUES}
