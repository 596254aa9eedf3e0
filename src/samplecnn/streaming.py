"""A recording of any length in pieces, so that an hour of sound takes no more memory than a minute."""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr

from samplecnn import audio
from samplecnn.errors import AudioError
from samplecnn.truncation import cut_short

Recording = str | Path | BinaryIO

WHOLE = 1 << 21  # frames up to which a recording is decoded at once: 48 s at 44.1 kHz
PIECE = 1 << 18  # frames of a piece


def stream(source: Recording, sample_rate: int) -> Iterator[np.ndarray]:
    """Decodes a recording piece by piece: joined, the pieces are what `audio.decode` gives.

    Args:
        source: path, or a binary file open for reading.
        sample_rate: Hz of the result.

    Yields:
        float32 [samples], mono.

    Raises:
        AudioError: as `audio.decode`. Damage late in a long recording is found when it is reached.
    """
    if not isinstance(source, str | Path) and not source.seekable():
        source = io.BytesIO(source.read())
    if _is_short(source):
        yield audio.decode(source, sample_rate)
    elif isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            yield from _pieces(file, str(source), sample_rate)
    else:
        yield from _pieces(source, str(getattr(source, "name", "the given audio")), sample_rate)


def _is_short(source: Any) -> bool:
    """Whether the recording can be decoded at once; so can one that cannot be opened: decoding tells what is wrong."""
    try:
        if isinstance(source, str | Path):
            with Path(source).open("rb") as file:
                return soundfile.info(file).frames <= WHOLE
        source.seek(0)
        return soundfile.info(source).frames <= WHOLE
    except (OSError, RuntimeError, ValueError, TypeError):
        return True
    finally:
        if not isinstance(source, str | Path):
            source.seek(0)


def _pieces(file: BinaryIO, name: str, sample_rate: int) -> Iterator[np.ndarray]:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    frames = given = 0
    try:
        with audio.StraightFile(file) as sound:
            rate, promised, kind = sound.samplerate, sound.frames, sound.format
            resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality=audio.QUALITY)
            while True:
                piece = sound.read(PIECE, dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32)
                _check(piece, name, frames / rate)
                frames += len(piece)
                last = len(piece) < PIECE
                wave = piece if rate == sample_rate else resampler.resample_chunk(piece, last=last)
                if last:
                    # the resampler may give a sample more or less than there is time for
                    length = math.ceil(frames * sample_rate / rate) - given
                    wave = np.pad(wave[:length], (0, max(length - len(wave), 0)))
                given += len(wave)
                yield wave
                if last:
                    break
    except (RuntimeError, ValueError, OSError) as error:
        after = f"after {frames / rate:.0f} s " if frames else ""
        raise AudioError(f"{name}: damaged {after}({error}); download or copy it again") from error
    reason = cut_short(file, kind, size, frames, promised)
    if reason:
        raise AudioError(f"{name}: {reason}; download or copy it again, or write it anew to keep what is there")


def _check(piece: np.ndarray, name: str, seconds: float) -> None:
    peak = float(np.abs(piece).max(initial=0))
    if not math.isfinite(peak):
        raise AudioError(f"{name}: has NaN or infinite samples after {seconds:.0f} s; repair it or write it again")
    if peak > audio.LOUDEST:
        raise AudioError(f"{name}: samples reach {peak:.3g} times full scale; scale it to the range -1 to 1")
