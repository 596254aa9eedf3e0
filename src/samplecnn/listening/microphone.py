"""A microphone as a source, by miniaudio (the extra `mic`), or by sounddevice where only that is installed."""

import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from samplecnn.errors import AudioError, UsageError
from samplecnn.extras import is_installed, require
from samplecnn.system.native_messages import caught

RATE = 48_000  # Hz: what nearly all devices record at; soxr resamples it better than a sound system does
MAX_WAITING = 5.0  # seconds of sound that wait for the model at most; more is lost, and counted
SILENT_SECONDS = 10.0  # without a block after which the device counts as gone

Push = Callable[[np.ndarray], None]


class MicrophoneSource:
    """A microphone.

    Args:
        device: part of its name, or its number in `microphones()`; None: the system's default.

    Raises:
        MissingExtra: neither library is installed.
        UsageError: there is no such microphone.
    """

    channels, live, rate = 1, True, RATE

    def __init__(self, device: str | None = None) -> None:
        self._open = _library()
        self.name = "microphone" if device is None else f"microphone {device}"
        self.device = device
        self.lost = 0.0
        self._waiting: queue.Queue[np.ndarray] = queue.Queue()

    def push(self, block: np.ndarray) -> None:
        """Takes a block, float32 [frames], from the sound system's thread; never waits."""
        waiting = self._waiting.qsize() * len(block) / self.rate
        if waiting > MAX_WAITING:
            self.lost += len(block) / self.rate
        else:
            self._waiting.put(block)

    def blocks(self) -> Iterator[np.ndarray]:
        with self._open(self.device, self.push):
            while True:
                try:
                    yield self._waiting.get(timeout=SILENT_SECONDS)[:, None]
                except queue.Empty:
                    raise AudioError(f"{self.name}: no sound for {SILENT_SECONDS:g} s; is it still there?") from None


def microphones() -> list[str]:
    """The names of the microphones, in the order of their numbers.

    Raises:
        MissingExtra: neither library is installed.
    """
    if _library() is _miniaudio:
        import miniaudio

        try:
            with caught():
                return [str(device["name"]) for device in miniaudio.Devices().get_captures()]
        except miniaudio.MiniaudioError:  # no sound system at all
            return []
    import sounddevice

    return [str(device["name"]) for device in sounddevice.query_devices() if device["max_input_channels"] > 0]


def _library() -> Callable[[str | None, Push], AbstractContextManager[None]]:
    if is_installed("miniaudio"):
        return _miniaudio
    if is_installed("sounddevice"):
        return _sounddevice
    require("samplecnn listen to a microphone", "mic")
    raise AssertionError("require raises")


def chosen(device: str, names: list[str]) -> int:
    """The number of a microphone, by its number or part of its name.

    Example:
        >>> chosen("usb", ["Built-in", "USB Audio"])
        1
    """
    if device.isdigit() and int(device) < len(names):
        return int(device)
    found = [number for number, name in enumerate(names) if device.casefold() in name.casefold()]
    if len(found) != 1:
        known = "; ".join(f"{number}: {name}" for number, name in enumerate(names)) or "there is none"
        problem = "is not clear" if found else "is not known"
        raise UsageError(f"microphone {device!r} {problem}; microphones: {known}")
    return found[0]


@contextmanager
def _miniaudio(device: str | None, push: Push) -> Iterator[None]:
    import miniaudio

    def receive() -> Any:
        while True:
            data = yield
            push(np.frombuffer(bytes(data), np.float32))

    identity = None
    if device is not None:
        with caught():
            captures = miniaudio.Devices().get_captures()
        identity = captures[chosen(device, [str(each["name"]) for each in captures])]["id"]
    try:
        with caught():  # ALSA complains at length where there is no microphone
            capture = miniaudio.CaptureDevice(
                miniaudio.SampleFormat.FLOAT32, 1, RATE, buffersize_msec=50, device_id=identity, app_name="samplecnn"
            )
    except miniaudio.MiniaudioError as error:
        raise UsageError(f"no microphone can be opened ({error.args[0]}); give a recording, - or --url") from error
    if capture.backend == "Null":  # miniaudio's own, which records silence
        capture.close()
        raise UsageError("there is no microphone; give a recording, - for the standard input, or --url")
    receiver = receive()
    next(receiver)
    with capture:
        capture.start(receiver)
        yield


@contextmanager
def _sounddevice(device: str | None, push: Push) -> Iterator[None]:
    import sounddevice

    identity = None
    if device is not None:
        inputs = [each for each in sounddevice.query_devices() if each["max_input_channels"] > 0]
        identity = inputs[chosen(device, [str(each["name"]) for each in inputs])]["index"]
    try:
        stream = sounddevice.InputStream(
            RATE, device=identity, channels=1, dtype="float32", callback=lambda data, *_: push(data[:, 0].copy())
        )
    except sounddevice.PortAudioError as error:
        raise UsageError(f"no microphone can be opened ({error}); give a recording, - or --url") from error
    with stream:
        yield
