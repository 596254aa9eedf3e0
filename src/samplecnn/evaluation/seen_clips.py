"""Records which clips a model was trained on, for a warning if it is scored on them.

A clip is identified by a hash of its first segment in the shards: the hash of a recording is the same in another data
set, under another file name and in another split. Other parts of a recording, and other padding, are not recognised.
"""

import hashlib
import io
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.audio import to_int16
from samplecnn.errors import SampleCNNError
from samplecnn.model_files import CONFIG
from samplecnn.parsing import anything, read_bytes, read_object
from samplecnn.system.files import written_aside
from samplecnn.system.progress import Progress
from samplecnn.system.read_ahead import map_ahead
from samplecnn.zoo.packaged import resolved

if TYPE_CHECKING:
    from samplecnn.shards import Segments

SEEN = "training_clips.npy"
BATCH_SEGMENTS = 64  # read at a time
MIN_BAR_BYTES = 1 << 30  # amount to read from which a progress bar is shown; less takes about a second


@dataclass(frozen=True, eq=False)
class SeenClips:
    """The clips used in a training.

    Args:
        hashes: hashes of the clips that the weights or the choice of the best epoch depend on, uint64, ascending.
        fingerprint: fingerprint of the built data set.
    """

    hashes: np.ndarray
    fingerprint: str

    def overlap(self, clips: np.ndarray) -> int:
        """How many of these clips, hashes from `clip_hashes`, were used in the training."""
        return int(np.isin(clips, self.hashes).sum())

    def save(self, run: Path) -> dict[str, Any]:
        """Writes the hashes next to the model; returns the entries for its config.json."""
        memory = io.BytesIO()
        np.save(memory, self.hashes)
        with written_aside(run / SEEN) as aside:
            aside.write_bytes(memory.getbuffer())
        return {
            "fingerprint": self.fingerprint,
            "clips": len(self.hashes),
            "clips_sha256": hashlib.sha256(memory.getbuffer()).hexdigest(),
        }


def clip_hashes(segments: "Segments", num_readers: int = 8) -> np.ndarray:
    """A hash of each clip's first segment, in the order of the clips: uint64 [clips].

    Constant segments, such as silence, are skipped: different recordings would have the same hash.
    """
    starts = segments.clip_starts

    def read(start: int) -> list[int]:
        found = segments.gather(starts[start : start + BATCH_SEGMENTS])
        audio = found if found.dtype == np.int16 else to_int16(found)
        return [_hash(segment) for segment in audio if segment.min() != segment.max()]

    size = len(starts) * segments.task.window * np.dtype(segments.dtype).itemsize
    bar = Progress(len(starts), f"fingerprint {segments.split}", "clips") if size > MIN_BAR_BYTES else nullcontext()
    hashes: list[int] = []
    with bar as shown:
        for part in map_ahead(read, range(0, len(starts), BATCH_SEGMENTS), num_readers):
            hashes += part
            if shown:
                shown.advance(min(BATCH_SEGMENTS, len(starts)))
    return np.array(hashes, np.uint64)


def read_seen(model: str | Path) -> SeenClips | None:
    """The clips that a model was trained on; None if they are not recorded, or belong to another model.

    Args:
        model: a run directory, or a model file in one.
    """
    path = resolved(model)
    folder = path if path.is_dir() else path.parent
    try:
        recorded = read_object(folder / CONFIG, "", anything())["training"]["data"]
        data = read_bytes(folder / SEEN, "")
        if hashlib.sha256(data).hexdigest() != recorded["clips_sha256"]:
            return None
        hashes = np.load(io.BytesIO(data), allow_pickle=False)
        if hashes.dtype != np.uint64 or hashes.ndim != 1:
            return None
        return SeenClips(hashes, str(recorded["fingerprint"]))
    except (SampleCNNError, OSError, ValueError, KeyError, TypeError, MemoryError):
        return None


def merged(*parts: np.ndarray) -> np.ndarray:
    """The union of several sets of hashes, ascending."""
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *parts]))


def _hash(segment: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(segment).data, digest_size=8).digest(), "little")
