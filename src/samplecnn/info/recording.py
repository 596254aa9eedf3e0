"""A recording: container, codec, rate, channels, length, level, and whether all of it is there."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.errors import AudioError
from samplecnn.mixing import CANCELLED_DB
from samplecnn.sound_file import audio_errors, open_recordings

BLOCK = 1 << 18  # frames read at a time


@dataclass(frozen=True)
class RecordingDescription:
    """A recording.

    Args:
        path: the file.
        container, codec: libsndfile's names, "FLAC" and "PCM_16".
        sample_rate: Hz.
        channels: number of channels.
        seconds: length of what can be decoded.
        peak, level: the largest sample and the root mean square over all channels, in dB below full scale (dBFS);
            None for digital silence.
        mono_level: the root mean square of the channels' mean, which is what models get.
        problem: why not all of it can be decoded, such as a missing end; "" if it can.
        parts: number of recordings joined in the file; rate, channels and codec are those of the first.
    """

    path: Path
    container: str
    codec: str
    sample_rate: int
    channels: int
    seconds: float
    peak: float | None
    level: float | None
    mono_level: float | None
    problem: str = ""
    parts: int = 1

    @classmethod
    def of(cls, path: Path) -> "RecordingDescription":
        """Reads the whole recording. Raises AudioError if nothing of it can be decoded."""
        count, seconds, peak, power, mono_power = 0, 0.0, 0.0, 0.0, 0.0
        parts = 0
        problem = ""
        with audio_errors(str(path)), open_recordings(path) as recordings:
            try:
                for sound in recordings:
                    parts += 1
                    if parts == 1:
                        first, container, codec = sound, sound.file.format, sound.file.subtype
                    while len(frames := sound.read(BLOCK)):
                        count += len(frames)
                        seconds += len(frames) / sound.rate
                        peak = max(peak, float(np.abs(frames).max()))
                        power += float(np.square(frames, dtype=np.float64).mean(1).sum())
                        mono_power += float(np.square(frames.mean(1), dtype=np.float64).sum())
                    sound.check_end()
            except (AudioError, OSError, RuntimeError) as error:
                if not count:
                    raise
                problem = " ".join(str(error).split())
            if not count:
                raise AudioError("holds no samples; record or download it again")
            return cls(
                path=path,
                container=container,
                codec=codec,
                sample_rate=first.rate,
                channels=first.channels,
                seconds=seconds,
                peak=_decibels(peak),
                level=_decibels(math.sqrt(power / count)),
                mono_level=_decibels(math.sqrt(mono_power / count)),
                problem=problem,
                parts=parts,
            )

    @property
    def cancels(self) -> bool:
        """Whether the channels cancel each other out in the mono mix, as phase-inverted stereo does."""
        if self.channels < 2 or self.level is None:
            return False
        return self.mono_level is None or self.level - self.mono_level > CANCELLED_DB

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "recording",
            **asdict(self),
            "path": str(self.path),
            "complete": not self.problem,
            "channels_cancel": self.cancels,
        }

    def lines(self) -> list[str]:
        channels = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        level = "digital silence"
        if self.peak is not None and self.level is not None:
            level = f"{self.level:.1f} dBFS (root mean square), peak {self.peak:.1f} dBFS"
        lines = [
            f"recording     {self.path}",
            f"format        {self.container}, {self.codec}, {self.sample_rate:,} Hz, {channels}",
            f"length        {self.seconds:,.3f} s",
            f"level         {level}",
            f"complete      {'no: ' + self.problem if self.problem else 'yes'}",
        ]
        if self.parts > 1:
            lines.append(f"parts         {self.parts:,} recordings joined into one file")
        if self.cancels:
            lines.append(
                "warning       the channels cancel each other out: their mean, which models get, is almost silent"
            )
        return lines


def _decibels(amplitude: float) -> float | None:
    return 20 * math.log10(amplitude) if amplitude > 0 else None
