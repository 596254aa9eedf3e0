"""The sound of a stretch of an indexed recording as WAV, at the rate at which the model hears it."""

import io
import os

import numpy as np
import soundfile

from samplecnn import audio
from samplecnn.errors import SampleCNNError
from samplecnn.index.changes import stamp_of
from samplecnn.index.reader import Index
from samplecnn.index.review.session import Span
from samplecnn.system.log import one_line

MAX_SECONDS = 120.0  # that are sent


class GoneError(SampleCNNError):
    """A recording that is not there any more, or is not the one that was indexed."""


def wav_of(index: Index, span: Span) -> bytes:
    """A stretch of a recording as WAV, mono, 16 bits.

    Raises:
        GoneError: no file of the index has the recording any more.
        AudioError: it cannot be decoded.
    """
    row = _present(index, span.rows)
    wave = cut_out(index.paths[row], index.task.sample_rate, span.start, span.end, index.settings.accept_truncated)
    file = io.BytesIO()
    soundfile.write(file, audio.to_int16(wave), index.task.sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def cut_out(path: str, rate: int, start: float, end: float, accept_truncated: bool = False) -> np.ndarray:
    """From `start` to `end` (seconds) of a recording, float32 [samples], mono at `rate`. What lies before is skipped
    without decoding where the format can seek.

    Raises:
        AudioError: it cannot be decoded, or ends before `start`.
    """
    first, last = round(start * rate), round(min(end, start + MAX_SECONDS) * rate)
    length = (last - first + 0.5) / rate  # half a sample, as it is rounded down
    return np.concatenate(list(audio.stream(path, rate, length, accept_truncated, start=first / rate)))


def _present(index: Index, rows: list[int]) -> int:
    """The first of some files that is as it was when it was indexed."""
    changed = False
    for row in rows:
        facts = index.facts(row)
        stamp = stamp_of(index.paths[row])
        if stamp == (facts["size"], facts["mtime_ns"]):
            return row
        changed = changed or stamp is not None
    name = one_line(os.fspath(index.paths[rows[0]]))
    what = "has changed since it was indexed" if changed else "is not there any more"
    raise GoneError(f"{name} {what}; run `samplecnn index update`, or skip it")
