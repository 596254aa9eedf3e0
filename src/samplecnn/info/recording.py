"""A recording: container, codec, rate, channels, length, level, and whether all of it is there."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.errors import AudioError
from samplecnn.sound_file import explained, opened

BLOCK = 1 << 18  # frames read at a time
CANCELLED = 20.0  # dB between the channels' level and that of their mean above which the mix has lost most of the sound


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
        problem: why not all of it can be used, such as a missing end; "" where it can.
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

    @classmethod
    def of(cls, path: Path) -> "RecordingDescription":
        """Reads all of a recording. Raises AudioError where nothing of it can be decoded."""
        count, peak, power, mono_power = 0, 0.0, 0.0, 0.0
        problem = ""
        with explained(str(path)), opened(path) as sound:
            file = sound.file
            try:
                while len(frames := file.read(BLOCK, dtype="float32", always_2d=True)):
                    count += len(frames)
                    peak = max(peak, float(np.abs(frames).max()))
                    power += float(np.square(frames, dtype=np.float64).mean(1).sum())
                    mono_power += float(np.square(frames.mean(1), dtype=np.float64).sum())
                sound.check_end(count)
            except (AudioError, OSError, RuntimeError) as error:
                if not count:
                    raise
                problem = " ".join(str(error).split())
            if not count:
                raise AudioError("holds no samples; record or download it again")
            return cls(
                path=path,
                container=file.format,
                codec=file.subtype,
                sample_rate=file.samplerate,
                channels=file.channels,
                seconds=count / file.samplerate,
                peak=_decibels(peak),
                level=_decibels(math.sqrt(power / count)),
                mono_level=_decibels(math.sqrt(mono_power / count)),
                problem=problem,
            )

    @property
    def cancels(self) -> bool:
        """Whether the channels cancel each other out in the mono mix, as phase-inverted stereo does."""
        if self.channels < 2 or self.level is None:
            return False
        return self.mono_level is None or self.level - self.mono_level > CANCELLED

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
        if self.cancels:
            lines.append(
                "warning       the channels cancel each other out: their mean, which models get, is almost silent"
            )
        return lines


def _decibels(amplitude: float) -> float | None:
    return 20 * math.log10(amplitude) if amplitude > 0 else None
