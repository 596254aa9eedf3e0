"""Runs a model on recordings, in batches across files."""

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
from samplecnn.inference.overlap_plan import align_hop, is_faster
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

MAX_SHARED_WINDOWS = 8  # window lengths of sound per buffer of overlapping windows; memory is proportional to it
READERS = min(4, os.cpu_count() or 1)  # a few are enough: decoding takes a hundredth of the model's time


class Tagger:
    """Tags recordings with a model.

    Args:
        model: an argument of `samplecnn.load`, or a SampleCNN with its task. A path starts faster and needs no PyTorch.
        batch_size: segments per step, across files; the tags do not depend on it.
        device: "cpu", "cuda"; None uses a GPU if available (for a SampleCNN, its device).
        readers: threads that decode ahead.
        engine: "torch", "numpy", "openvino" or "onnx"; "auto" selects the fastest that is installed, and for few
            segments the one with the lowest start-up time.
        precision: "fp32" is exact up to rounding; "auto" uses "bf16" if it is faster.
        hop: seconds from the start of one window to that of the next; None: the window (no overlap). Rounded
            by at most 1 % so that the windows can share layers (`overlap_plan.align_hop`).
        segments: expected number of segments, for "auto"; None: few.
        accept_truncated: tags the decodable part of truncated or damaged recordings, with a note in `Tags.notes`.
        embedding: the layer of `Tags.embedding`: "hidden", the last hidden layer, or the number of a block (averaged
            over time); None: no embedding.

    Attributes:
        engine: the engine in use, with its name and precision.
        hop: samples from one window to the next.
        task: the model's classes, sample rate, window and thresholds.

    Raises:
        UsageError: no such model, device, engine or precision, or a model without a task.

    Example:
        >>> tags = Tagger("log/20261122_101500-sounds-se_multi")("hum.wav")
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
        self.messages = Messages(-1)  # decoder messages, if they are captured
        self.hop, share_layers = hop_samples(hop, self.task), False
        if self.hop != self.task.window:
            self.hop = align_hop(net, self.task.window, self.hop)
            share_layers = is_installed("torch") and (engine != "auto" or is_faster(net, self.task.window, self.hop))
            engine = "torch" if engine == "auto" and share_layers else engine
        self.engine: Engine = open_engine(net, engine, precision, segments=segments, device=device)
        self._process = os.getpid()
        self._opened_with = (net, batch_size, device, readers, self.engine.name, self.engine.precision, hop)
        self.sharing: Sharing | None = None
        if share_layers and self.engine.name == "torch":
            from samplecnn.inference.overlap import share

            self.sharing = share(self.engine, self.task.window, self.hop)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the network and the settings; unpickling opens the same engine in the same precision."""
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
        """Tags one whole recording, or a list of recordings.

        Args:
            source: a path, a record of a TFRecord (PATH#NUMBER), a binary file open for reading, the bytes of a file,
                {"array": waveform, "sampling_rate": Hz}, or a waveform: floats in [-1, 1] or integers over their full
                range, [samples], or [channels, samples] or [samples, channels] with fewer channels than samples. Or a
                list of any of these except plain waveforms.
            sample_rate: sample rate of a waveform in Hz.

        Returns:
            The tags; for a list, a list of tags in the same order.

        Raises:
            AudioError: a recording cannot be used; for a list, the first such one (`tag_files` continues with the
                others).
            UsageError: a waveform without a sample rate, or a sample rate for a file.
        """
        if is_list(source):
            if sample_rate is not None:
                raise UsageError(
                    "sample_rate applies to a single waveform; in a list use {'array': ..., 'sampling_rate': ...}"
                )
            return [_tags_or_raise(outcome) for _, outcome in self._tag([as_file(each, None) for each in source])]
        [(_, outcome)] = self._tag([as_file(source, sample_rate)])
        return _tags_or_raise(outcome)

    def tag_files(self, paths: Iterable[str | Path]) -> Iterator[tuple[str | Path, Tags | AudioError]]:
        """Tags files in the given order; a file that cannot be used yields its error, and the others are tagged.

        Files are decoded ahead in threads, and batches span files. `paths` may be an iterator of any length, and
        recordings may have any length: only a few batches are in memory.
        """
        return self._tag(paths)

    def _tag(self, sources: Iterable[Any]) -> Iterator[tuple[Any, Tags | AudioError]]:
        if os.getpid() != self._process and not self.engine.survives_fork:
            raise UsageError(
                f"this Tagger was opened before a fork, which the threads of engine {self.engine.name} do not survive; "
                "open a Tagger in each process, or start processes with multiprocessing's method spawn"
            )
        queue: deque[InProgress] = deque()  # started and not yet yielded, in order
        batch: deque[Pending] = deque()
        pending = 0
        parts = read_ahead(sources, self._read, self.readers)
        try:
            for source, part in parts:
                if not queue or queue[-1].ended:
                    queue.append(InProgress(source))
                recording = queue[-1]
                if isinstance(part, Windows):
                    first = recording.windows
                    recording.starts.append(part.starts)
                    recording.windows += len(part.starts)
                    recording.samples = part.end
                    recording.silent &= part.silent
                    recording.remarks = part.remarks or recording.remarks
                    if self.sharing is not None and part.buffer is not None and len(part.segments) > 1:
                        recording.add_outputs(first, self.sharing(part.buffer))
                    elif len(part.segments):
                        batch.append(Pending(recording, first, part.segments))
                        pending += len(part.segments)
                else:
                    recording.ended = True
                    recording.error = None if isinstance(part, End) else part
                while pending >= self.batch_size:
                    pending -= self._run_batch(batch)
                while queue and queue[0].complete:
                    yield self._outcome(queue.popleft())
        finally:
            parts.close()  # type: ignore[attr-defined]
        if pending:
            self._run_batch(batch)
        while queue:
            yield self._outcome(queue.popleft())

    def _read(self, source: Any) -> Iterator[Windows]:
        if is_record(source):
            if self.hop != self.task.window:
                raise AudioError(f"{source}: the windows of a TFRecord are fixed; omit the hop")
            return precut_windows(record_segments(source, self.task), self.task, self.batch_size)
        max_windows = self.batch_size
        if self.sharing is not None:
            max_windows = max(max_windows, MAX_SHARED_WINDOWS * self.task.window // self.hop)
        return self._windows(source, max_windows)

    def _windows(self, source: Any, max_windows: int) -> Iterator[Windows]:
        remarks = Remarks()
        pieces = stream(source, self.task.sample_rate, None, self.accept_truncated, remarks)
        with self.messages.reading(name_of(source)):
            for part in windows(pieces, self.task, max_windows, self.hop):
                self.messages.look()
                yield part._replace(remarks=remarks)

    def _run_batch(self, batch: "deque[Pending]") -> int:
        """Runs the model on the first pending windows, at most one batch, and returns their number."""
        taken: list[Pending] = []
        free = self.batch_size
        while batch and free:
            part = batch.popleft()
            if len(part.segments) > free:
                batch.appendleft(Pending(part.recording, part.first + free, part.segments[free:]))
                part = part._replace(segments=part.segments[:free])
            taken.append(part)
            free -= len(part.segments)
        segments = [part.segments for part in taken]
        outputs = self.engine.columns(segments[0] if len(segments) == 1 else np.concatenate(segments))
        done = 0
        for part in taken:
            part.recording.add_outputs(part.first, outputs[done : done + len(part.segments)])
            done += len(part.segments)
        return done

    def _outcome(self, recording: InProgress) -> tuple[Any, Tags | AudioError]:
        return recording.source, recording.outcome(self.task)


def _tags_or_raise(outcome: Tags | AudioError) -> Tags:
    if isinstance(outcome, AudioError):
        raise outcome
    return outcome


def network(model: "SampleCNN | Graph | str | Path") -> Graph:
    """The graph of a model, for the engines; a path is loaded.

    Raises:
        UsageError: no such model, or a model without a task.
    """
    if isinstance(model, Graph):
        return model
    return load_graph(model) if isinstance(model, str | Path) else fold(model)


def _reopened(opened_with: tuple[Any, ...], share_layers: bool, accept_truncated: bool = False) -> Tagger:
    """Opens the Tagger of a pickle."""
    net, batch_size, device, readers, engine, precision, hop = opened_with
    tagger = Tagger(net, batch_size, device, readers, engine=engine, precision=precision, hop=hop)
    tagger.accept_truncated = accept_truncated
    if not share_layers:
        tagger.sharing = None
    return tagger
