"""Runs a model on recordings: files in, tags out, in batches that run across files."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from samplecnn.audio import Remarks, stream
from samplecnn.errors import AudioError, UsageError
from samplecnn.extras import is_installed
from samplecnn.inference.overlap_plan import aligned, pays
from samplecnn.inference.windows import Windows, hop_samples, precut_windows, windows
from samplecnn.model_files import load_graph
from samplecnn.models.embedding import with_embedding
from samplecnn.models.folding import fold
from samplecnn.models.graph import Graph
from samplecnn.shards.tfrecord.clips import is_record, record_segments
from samplecnn.sound_file import name_of
from samplecnn.system.native_messages import Messages
from samplecnn.system.read_ahead import End, read_ahead
from samplecnn.tagging.in_progress import InProgress, Pending
from samplecnn.tagging.sources import Source, as_file, is_list
from samplecnn.tagging.tags import Tags

if TYPE_CHECKING:
    from samplecnn.inference import Engine
    from samplecnn.inference.overlap import Sharing
    from samplecnn.models import SampleCNN

SHARED_WINDOWS = 8  # window lengths of sound, at most, whose overlapping windows share layers: memory grows with it
READERS = min(4, os.cpu_count() or 1)  # decoding takes a hundredth of the model's time


class Tagger:
    """Tags recordings with a model.

    Args:
        model: whatever `samplecnn.load` takes, or a SampleCNN with its task. A path starts sooner and needs no PyTorch.
        batch_size: segments per step, across files; the tags do not depend on it.
        device: "cpu", "cuda"; None uses a GPU where there is one (a SampleCNN stays where it is).
        readers: threads that decode ahead.
        engine: what runs the model: "torch", "numpy", "openvino", "onnx"; "auto" is the fastest that is installed, and
            for few segments the one with the lowest start-up time.
        precision: "fp32" is exact up to rounding; "auto" takes "bf16" where it is faster.
        hop: seconds from the start of one window to that of the next; None: the window, so that none overlap. Rounded
            by at most 1 % so that the windows can share layers (`overlap.aligned`).
        segments: about how many there will be, for "auto"; None: few.
        accept_truncated: tags what can be decoded of recordings that are cut short or damaged; `Tags.notes` says so.
        embedding: a layer whose values `Tags.embedding` holds: "hidden", the last hidden one, or a block's number (its
            mean over time); None: no embedding.

    Attributes:
        engine: in use, with its name and precision.
        hop: samples from one window to the next.
        task: of the model: its classes, sample rate, window and threshold.

    Raises:
        UsageError: no such model, device, engine or precision, or a model without a task.

    Example:
        >>> tags = Tagger("log/20261122_101500-sounds-se")("hum.wav")
        >>> "hum" in dict(tags.top(1))
        True
    """

    def __init__(
        self,
        model: "SampleCNN | Graph | str | Path",
        batch_size: int = 32,
        device: str | None = None,
        readers: int = READERS,
        *,
        engine: str = "auto",
        precision: str = "auto",
        hop: float | None = None,
        segments: int | None = None,
        accept_truncated: bool = False,
        embedding: int | str | None = None,
    ) -> None:
        from samplecnn.inference import open_engine

        if batch_size < 1 or readers < 1:
            raise UsageError("batch size and number of readers must be 1 or more")
        if device is None and not isinstance(model, str | Path | Graph):
            device = str(next(model.parameters()).device)
        net = network(model) if embedding is None else with_embedding(network(model), embedding)
        self.task = net.task
        self.batch_size = batch_size
        self.readers = readers
        self.accept_truncated = accept_truncated
        self.messages = Messages(-1)  # of decoders, where they are caught
        self.hop, shares = hop_samples(hop, self.task), False
        if self.hop != self.task.window:
            self.hop = aligned(net, self.task.window, self.hop)
            shares = is_installed("torch") and (engine != "auto" or pays(net, self.task.window, self.hop))
            engine = "torch" if engine == "auto" and shares else engine
        self.engine: Engine = open_engine(net, engine, precision, segments=segments, device=device)
        self._process = os.getpid()
        self._opened_with = (net, batch_size, device, readers, self.engine.name, self.engine.precision, hop)
        self.sharing: Sharing | None = None
        if shares and self.engine.name == "torch":
            from samplecnn.inference.overlap import share

            self.sharing = share(self.engine, self.task.window, self.hop)

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle holds the network and opens its engine again, with the same engine and precision."""
        return _reopened, (self._opened_with, self.sharing is not None, self.accept_truncated)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.task.classes

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a list of numbers is a waveform
        self, source: list[Source] | tuple[Source, ...], sample_rate: None = None
    ) -> list[Tags]: ...

    @overload
    def __call__(self, source: Source | npt.ArrayLike, sample_rate: int | None = None) -> Tags: ...

    def __call__(self, source: Any, sample_rate: int | None = None) -> Tags | list[Tags]:
        """Tags one recording, all of it, or a list of recordings.

        Args:
            source: a path, a record of a TFRecord (PATH#NUMBER), a binary file open for reading, the bytes of a file,
                {"array": waveform, "sampling_rate": Hz}, or a waveform: floats in [-1, 1] or integers over their whole
                range, [samples], or [channels, samples] or [samples, channels] with fewer channels than samples. Or a
                list of all these but plain waveforms.
            sample_rate: of a waveform, in Hz.

        Returns:
            The tags; of a list, a list of them in its order.

        Raises:
            AudioError: a recording cannot be used; of a list, the first one (`tag_files` goes on with the others).
            UsageError: a waveform without a sample rate, or a rate for a file, which knows its own.
        """
        if is_list(source):
            if sample_rate is not None:
                raise UsageError("sample_rate is for one waveform; a list takes {'array': ..., 'sampling_rate': ...}")
            return [_raised(outcome) for _, outcome in self._tag([as_file(each, None) for each in source])]
        [(_, outcome)] = self._tag([as_file(source, sample_rate)])
        return _raised(outcome)

    def tag_files(self, paths: Iterable[str | Path]) -> Iterator[tuple[str | Path, Tags | AudioError]]:
        """Tags files in the order given; one that cannot be used yields its error, and the others are tagged.

        Files are decoded ahead in threads, and batches run across files; `paths` may be an iterator of any length, and
        recordings may have any length: memory holds a few batches.
        """
        return self._tag(paths)

    def _tag(self, sources: Iterable[Any]) -> Iterator[tuple[Any, Tags | AudioError]]:
        if os.getpid() != self._process and not self.engine.survives_fork:
            raise UsageError(
                f"this Tagger was opened before a fork, which the threads of engine {self.engine.name} do not survive; "
                "open a Tagger in each process, and start processes by multiprocessing's method spawn"
            )
        line: deque[InProgress] = deque()  # in order: begun and not yet yielded
        batch: deque[Pending] = deque()
        waiting = 0
        parts = read_ahead(sources, self._read, self.readers)
        try:
            for source, part in parts:
                if not line or line[-1].ended:
                    line.append(InProgress(source))
                recording = line[-1]
                if isinstance(part, Windows):
                    first = recording.windows
                    recording.starts.append(part.starts)
                    recording.windows += len(part.starts)
                    recording.samples = part.end
                    recording.silent &= part.silent
                    recording.remarks = part.remarks or recording.remarks
                    if self.sharing is not None and part.stretch is not None and len(part.segments) > 1:
                        recording.add_answer(first, self.sharing(part.stretch))
                    elif len(part.segments):
                        batch.append(Pending(recording, first, part.segments))
                        waiting += len(part.segments)
                else:
                    recording.ended = True
                    recording.error = None if isinstance(part, End) else part
                while waiting >= self.batch_size:
                    waiting -= self._answer(batch)
                while line and line[0].complete:
                    yield self._outcome(line.popleft())
        finally:
            parts.close()  # type: ignore[attr-defined]
        if waiting:
            self._answer(batch)
        while line:
            yield self._outcome(line.popleft())

    def _read(self, source: Any) -> Iterator[Windows]:
        if is_record(source):
            if self.hop != self.task.window:
                raise AudioError(f"{source}: a TFRecord holds windows that are cut already; leave the hop out")
            return precut_windows(record_segments(source, self.task), self.task, self.batch_size)
        most = self.batch_size
        if self.sharing is not None:
            most = max(most, SHARED_WINDOWS * self.task.window // self.hop)
        return self._windows(source, most)

    def _windows(self, source: Any, most: int) -> Iterator[Windows]:
        remarks = Remarks()
        pieces = stream(source, self.task.sample_rate, None, self.accept_truncated, remarks)
        with self.messages.reading(name_of(source)):
            for part in windows(pieces, self.task, most, self.hop):
                self.messages.look()
                yield part._replace(remarks=remarks)

    def _answer(self, batch: "deque[Pending]") -> int:
        """Runs the model on the first windows that wait, a batch at most, and returns how many those were."""
        taken: list[Pending] = []
        room = self.batch_size
        while batch and room:
            part = batch.popleft()
            if len(part.segments) > room:
                batch.appendleft(Pending(part.recording, part.first + room, part.segments[room:]))
                part = part._replace(segments=part.segments[:room])
            taken.append(part)
            room -= len(part.segments)
        segments = [part.segments for part in taken]
        answer = self.engine.columns(segments[0] if len(segments) == 1 else np.concatenate(segments))
        done = 0
        for part in taken:
            part.recording.add_answer(part.first, answer[done : done + len(part.segments)])
            done += len(part.segments)
        return done

    def _outcome(self, recording: InProgress) -> tuple[Any, Tags | AudioError]:
        return recording.source, recording.outcome(self.task)


def _raised(outcome: Tags | AudioError) -> Tags:
    if isinstance(outcome, AudioError):
        raise outcome
    return outcome


def network(model: "SampleCNN | Graph | str | Path") -> Graph:
    """The graph of a model, which engines run; a path is loaded.

    Raises:
        UsageError: where there is no such model, or it does not carry its task.
    """
    if isinstance(model, Graph):
        return model
    return load_graph(model) if isinstance(model, str | Path) else fold(model)


def _reopened(opened_with: tuple[Any, ...], shares: bool, accept_truncated: bool = False) -> Tagger:
    """The Tagger of a pickle."""
    net, batch_size, device, readers, engine, precision, hop = opened_with
    tagger = Tagger(net, batch_size, device, readers, engine=engine, precision=precision, hop=hop)
    tagger.accept_truncated = accept_truncated
    if not shares:
        tagger.sharing = None
    return tagger
