"""Decoding of uploaded files in worker processes with limits of memory and time.

An uploaded file may crash a decoder, or make it allocate gigabytes or run for days. A worker sends the sound in blocks
while it decodes, and stops at the limit of length; the server stops reading blocks while it has enough of them.
"""

import io
import os
import queue
import threading
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import soundfile

from samplecnn.audio import Remarks, is_silent, stream, to_int16
from samplecnn.errors import AudioError
from samplecnn.sound import OPEN_FRAMES, CallbackFile, SequentialFile
from samplecnn.system.limits import Limits
from samplecnn.system.workers import Worker, WorkerDied

MEMORY = 1 << 30  # bytes of address space for decoding one file
CPU_SECONDS = 3600  # of a worker, for all its files
LOOK_SECONDS = 0.5  # after which a waiting request checks whether its client is still there
NAMELESS = "the given audio: "  # prefix of messages about a file without a name
FILES = 500  # that a worker decodes before it is replaced


class Block(NamedTuple):
    """Consecutive samples.

    Args:
        samples: int16 [samples], mono at the rate that was asked for.
        silent: whether every sample is zero, before it was rounded.
    """

    samples: np.ndarray
    silent: bool


class TooLongError(AudioError):
    """A recording longer than the limit."""


def _for_clients(error: AudioError) -> str:
    """The message without the name that the file does not have, and with the API's parameter for the option."""
    return str(error).removeprefix(NAMELESS).replace("--accept-truncated", "accept_truncated=true")


class Decoders:
    """Worker processes, started when they are needed.

    Args:
        count: of processes at most.
        seconds: that a file may take.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._limits = Limits(memory=MEMORY, cpu_seconds=CPU_SECONDS, seconds=seconds, waiting=seconds)
        self._free: queue.LifoQueue[tuple[int, Worker | None]] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._workers: set[Worker] = set()
        self._closed = False
        for _ in range(count):
            self._free.put((0, None))

    def warm_up(self) -> None:
        """Starts the first process, so that the first request need not wait for it."""
        files, worker = self._free.get()
        self._free.put((files, worker or self._start()))

    def decode(
        self,
        upload: tuple[bytes, str],
        rate: int,
        max_seconds: float,
        remarks: Remarks,
        keep: bool,
        left: Callable[[], float],
    ) -> Generator[Block]:
        """Decodes a file.

        Args:
            upload: its bytes, or b"" and its path.
            rate: Hz of the result.
            max_seconds: of sound; a longer recording raises TooLongError.
            remarks: completed after the last block.
            keep: see `accept_truncated` of `audio.stream`.
            left: seconds that the request has left; raises an exception if it was cancelled.

        Raises:
            AudioError: as `audio.stream`; the decoder crashed or needed too much memory or time.
        """
        files, worker = self._take(left)
        data, path = upload
        order = {"path": path, "rate": rate, "max_seconds": max_seconds, "keep": keep}
        reusable = False
        try:
            if worker is None or worker.process.poll() is not None:
                self._forget(worker)
                files, worker = 0, self._start()
            try:
                with closing(worker.ask(order, data)) as answers:
                    for answer in answers:
                        if "remarks" in answer.value:
                            remarks.__dict__.update(answer.value["remarks"])
                        elif "too_long" in answer.value:
                            raise TooLongError(f"longer than {max_seconds:g} s, the limit of this server; send a part")
                        else:
                            yield Block(np.frombuffer(answer.data, np.int16), answer.value["silent"])
                reusable = True
            except TooLongError:
                raise
            except AudioError as error:
                raise AudioError(_for_clients(error)) from error
            except WorkerDied as death:
                raise AudioError(f"damaged, its decoder {death.how}; leave it out") from death
            except MemoryError as error:
                raise AudioError("damaged, it needs more memory than sound can; leave it out") from error
            finally:
                with suppress(WorkerDied):
                    if worker.busy:  # the rest of its answers is not wanted
                        worker.skip_rest()
                    reusable = worker.process.poll() is None
        finally:
            if not reusable or files + 1 >= FILES:
                self._forget(worker)
                worker = None
            self._free.put((files + 1, worker))

    def _take(self, left: Callable[[], float]) -> tuple[int, Worker | None]:
        """A process that is free, and the number of files that it has decoded."""
        while True:
            with suppress(queue.Empty):
                return self._free.get(timeout=min(left(), LOOK_SECONDS))

    def close(self) -> None:
        """Ends all processes; what they are decoding fails."""
        with self._lock:
            self._closed = True
            workers = list(self._workers)
        for worker in workers:
            worker.kill()  # the thread that waits for it removes it
        while True:
            try:
                self._forget(self._free.get_nowait()[1])
            except queue.Empty:
                return

    def _start(self) -> Worker:
        worker = Worker(f"{__name__}:decode", preload=("samplecnn.audio",), limits=self._limits)
        with self._lock:
            self._workers.add(worker)
            if self._closed:
                worker.kill()
        return worker

    def _forget(self, worker: Worker | None) -> None:
        if worker is None:
            return
        with self._lock:
            self._workers.discard(worker)
        worker.kill()
        with suppress(OSError, ValueError):
            worker.close()


def decode(order: dict[str, Any], data: bytes, answer: Callable[..., None]) -> None:
    """The worker's task: sends blocks of int16 samples, then the remarks; or that the recording is too long."""
    remarks = Remarks()
    left = order["max_seconds"] * order["rate"]
    with _opened(order["path"]) if order["path"] else io.BytesIO(data) as file:
        if _declared_seconds(file) > order["max_seconds"]:
            answer({"too_long": True})
            return
        for wave in stream(file, order["rate"], None, order["keep"], remarks):  # type: ignore[arg-type]
            left -= len(wave)
            if left < 0:
                answer({"too_long": True})
                return
            answer({"silent": is_silent(wave)}, to_int16(wave).data)
    answer({"remarks": asdict(remarks)})


def _opened(path: str) -> io.FileIO:
    """A file without a name, so that messages to the client do not contain a temporary path."""
    return io.FileIO(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)))


def _declared_seconds(file: Any) -> float:
    """The length in the header; 0 where it says none. Lengths of mp3 are guesses."""
    seconds = 0.0
    with suppress(soundfile.LibsndfileError), SequentialFile(CallbackFile(file)) as sound:
        if sound.format != "MP3" and sound.frames < OPEN_FRAMES:
            seconds = sound.frames / sound.samplerate
    file.seek(0)
    return seconds
