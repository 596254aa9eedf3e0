"""Sounds in files, and how the decoder refuses them."""

import io

import numpy as np
import pytest
import soundfile

from samplecnn.audio import decode
from samplecnn.errors import AudioError
from samplecnn.task import Task

TASK = Task("t", ("a", "b"))


class CountingFile(io.FileIO):
    """A file that counts the bytes that are read from it."""

    taken = 0

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self.taken += count
        return count

    def read(self, count=-1):
        data = super().read(count)
        self.taken += len(data)
        return data


def wav_bytes(samples: np.ndarray, rate: int = 16000, subtype: str = "PCM_16", format: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def refusal(source, seconds=None) -> str:
    with pytest.raises(AudioError) as caught:
        decode(source, 22050, seconds)
    text = str(caught.value)
    assert "\n" not in text and ("; " in text), text
    return text
