"""Runs a model over sound as it arrives: resampled, cut into windows, scored, decided."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.inference import ENGINES, Engine, open_engine
from samplecnn.inference.numpy_engine import NumpyEngine
from samplecnn.inference.overlap_plan import align_hop
from samplecnn.inference.streaming import Streaming, can_stream
from samplecnn.inference.windows import hop_samples, windows
from samplecnn.listening.detector import Detector, DetectorRules, Heard
from samplecnn.listening.sources import Source
from samplecnn.mixing import Mixer, Resampler, check_level
from samplecnn.models.graph import Graph
from samplecnn.recordings import counted
from samplecnn.sound_file import audio_errors
from samplecnn.tagging.tagger import network

HOPS_PER_WINDOW = 10  # by default
BATCH = 16  # windows at most, where sound comes faster than it is heard
STARTS_FAST = ("onnx", "openvino", "numpy")  # for "auto": none imports PyTorch, which takes seconds and 300 MB
SILENCE_DB = -120.0  # level that stands for digital silence
FINAL_SILENCE = 0.5  # windows of silence after the end, so that the last word is seen in the middle of a window


class Moment(NamedTuple):
    """One window.

    Args:
        time: its end, in seconds of the stream.
        scores: of all classes, float32 [classes], before they are averaged.
        level: of its newest part, in dB of full scale (a full-scale sine has -3).
        heard: what the detector says after it.
    """

    time: float
    scores: np.ndarray
    level: float
    heard: list[Heard]


@dataclass
class Counts:
    """What a listener has done so far.

    Attributes:
        seconds: of sound.
        computing: seconds of processor time of this process.
        lost: seconds of sound that came too fast.
        heard: how often each kind of `Heard` was given.
    """

    seconds: float = 0.0
    computing: float = 0.0
    lost: float = 0.0
    heard: dict[str, int] = field(default_factory=lambda: {"event": 0, "near": 0, "end": 0})

    def summary(self) -> str:
        """One line for people.

        Example:
            >>> Counts(60.0, 1.5, heard={"event": 2, "near": 1, "end": 2}).summary()
            'heard 60.0 s: 2 events, 1 near miss; 25 ms of computing for a second of sound'
        """
        load = 1e3 * self.computing / max(self.seconds, 1)
        lost = f"; {self.lost:.1f} s were lost, this machine is too slow: use a longer --hop" if self.lost else ""
        events, near = self.heard["event"], self.heard["near"]
        counts = f"{counted(events, 'event', 'events')}, {counted(near, 'near miss', 'near misses')}"
        return f"heard {self.seconds:,.1f} s: {counts}; {load:.0f} ms of computing for a second of sound{lost}"


class Listener:
    """A model that listens.

    Args:
        model: whatever `samplecnn.Tagger` takes.
        hop: seconds from one window to the next; None: a tenth of a window. The NumPy engine rounds it by at most 1 %
            (`align_hop`), so that successive windows share the first block.
        rules: how scores become events.
        thresholds: of each class, float [classes]; None: the model's.
        engine: what runs the model; "auto": the installed one that starts fastest, never PyTorch. Or an open engine.
        precision: as for `samplecnn.Tagger`; short windows gain nothing from "bf16".

    Attributes:
        detector: decides; its `thresholds` may be changed while it listens.
        counts: what has been done.

    Raises:
        UsageError: as `samplecnn.Tagger`.

    Example:
        >>> from samplecnn.listening.sources import RecordingSource
        >>> listener = Listener("log/20261122_101500-sounds-se_multi")
        >>> for moment in listener.listen(RecordingSource("hum.wav", listener.task.sample_rate)):
        ...     for heard in moment.heard:
        ...         print(heard.kind, heard.label)
        event hum
        end hum
    """

    def __init__(
        self,
        model: "Graph | str | Path",
        hop: float | None = None,
        rules: DetectorRules | None = None,
        thresholds: np.ndarray | None = None,
        engine: str | Engine = "auto",
        precision: str = "fp32",
    ) -> None:
        net = network(model)
        self.task = net.task
        window = self.task.window
        self.hop = max(window // HOPS_PER_WINDOW, 1) if hop is None else hop_samples(hop, self.task)
        if engine == "auto":
            engine = next(name for name in STARTS_FAST if ENGINES[name].installed)
        if isinstance(engine, str):
            engine = open_engine(net, engine, precision, segments=1, device=None if engine == "torch" else "cpu")
        self.engine = engine
        if isinstance(engine, NumpyEngine):
            self.hop = align_hop(net, window, self.hop)
        limits = np.asarray(self.task.class_thresholds if thresholds is None else thresholds)
        self.detector = Detector(self.task, limits, rules or DetectorRules(), self.hop / self.task.sample_rate)
        self.counts = Counts()
        self._lock: AbstractContextManager[Any] = nullcontext()
        self.engine(np.zeros((1, window), np.float32))  # what an engine prepares at its first call is done now

    def another(self, lock: AbstractContextManager[Any]) -> "Listener":
        """A listener for another stream at the same time, with this one's engine, thresholds and rules.

        Args:
            lock: held while the engine runs.
        """
        other = copy(self)
        other._lock = lock
        other.detector = Detector(self.task, self.detector.thresholds, self.detector.rules, self.detector.hop)
        other.counts = Counts()
        return other

    def listen(self, source: Source) -> Iterator[Moment]:
        """Hears a source to its end.

        Yields:
            One moment for every window.

        Raises:
            AudioError: the source cannot be read, or breaks off.
        """
        begun, rate, infer = time.process_time(), self.task.sample_rate, self._inference()
        end, scores = 0.0, np.zeros(self.task.num_classes, np.float32)
        for part in windows(self._mono(source), self.task, BATCH, self.hop):
            if not len(part.segments):
                continue
            with self._lock:
                answers = infer(part.segments, part.starts)
            for scores, start, segment in zip(answers, part.starts, part.segments, strict=True):
                end = (int(start) + self.task.window) / rate
                heard = self.detector(scores, end)
                self._count(source, begun, heard)
                yield Moment(end, scores, self._level(segment), heard)
        last = self.detector.finish(end)
        self._count(source, begun, last)
        if last:
            yield Moment(end, scores, SILENCE_DB, last)

    def _inference(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Scores of the windows of one stream, and their starts in samples."""
        if isinstance(self.engine, NumpyEngine) and can_stream(self.engine, self.task.window, self.hop):
            return Streaming(self.engine, self.task.window, self.hop)
        return lambda segments, starts: self.engine(segments)

    def _mono(self, source: Source) -> Iterator[np.ndarray]:
        """The source's sound at the model's rate, float32 [samples], then some silence."""
        mix, resample = Mixer(source.channels), Resampler(source.rate, self.task.sample_rate)
        frames = 0
        for block in source.blocks():
            mono = mix(block)
            with audio_errors(source.name):
                check_level(mono, frames / source.rate, source.rate)
            frames += len(mono)
            self.counts.seconds = frames / source.rate
            wave = resample(mono, False)
            if len(wave):
                yield wave
        if frames == 0:
            raise UsageError(f"{source.name}: no sound came; check what sends it")
        silence = np.zeros(round(FINAL_SILENCE * self.task.window), np.float32)
        yield np.concatenate((resample(np.zeros(0, np.float32), True), silence))

    def _level(self, segment: np.ndarray) -> float:
        newest = segment[-self.hop :] * self.task.std + self.task.mean
        power = float(np.mean(np.square(newest, dtype=np.float64)))
        return max(10 * float(np.log10(power)), SILENCE_DB) if power > 0 else SILENCE_DB

    def _count(self, source: Source, begun: float, heard: list[Heard]) -> None:
        self.counts.computing, self.counts.lost = time.process_time() - begun, source.lost
        for each in heard:
            self.counts.heard[each.kind] += 1
