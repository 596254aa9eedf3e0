"""The models of a server, and one request to one of them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn import __version__, parsing
from samplecnn.audio import from_int16
from samplecnn.errors import UsageError
from samplecnn.inference import open_engine
from samplecnn.inference.overlap_plan import align_hop
from samplecnn.inference.windows import hop_samples, windows
from samplecnn.listening.operating_point import operating_point_of
from samplecnn.model_files import CONFIG
from samplecnn.models.embedding import HIDDEN, embedding_size, with_embedding
from samplecnn.models.graph import Graph
from samplecnn.serving.batcher import Batcher, Outputs, SharedEngine
from samplecnn.serving.decoding import LOOK_SECONDS, Decoders, TooLongError
from samplecnn.serving.settings import ServeLimits
from samplecnn.serving.uploads import Upload
from samplecnn.tagging.in_progress import InProgress
from samplecnn.tagging.provenance import decoder, model_digest
from samplecnn.tagging.tagger import network
from samplecnn.tagging.tags import Tags
from samplecnn.zoo.packaged import resolved

AHEAD = 2  # batches of one request that wait for the model
EXPECTED_SEGMENTS = 100_000  # for the choice of the engine: a server tags many
MAX_WINDOWS = 20_000  # per recording
SHORTEST_HOP = 20  # the shortest hop is this fraction of a window, since the model's work grows in proportion


class CancelledRequest(Exception):
    """The client has disconnected, or the request took too long."""


@dataclass
class Work:
    """A request as its thread sees it.

    Args:
        upload: the recording.
        hop: samples from one window to the next.
        accept_truncated: see `Tagger`.
        deadline: `time.monotonic()` at which it is given up.
    """

    upload: Upload
    hop: int
    accept_truncated: bool
    deadline: float

    def __post_init__(self) -> None:
        self.cancelled = threading.Event()

    @property
    def left(self) -> float:
        """Seconds until the deadline.

        Raises:
            CancelledRequest: there are none, or the client has disconnected.
        """
        left = self.deadline - time.monotonic()
        if left <= 0 or self.cancelled.is_set():
            raise CancelledRequest
        return left


class HostedModel:
    """A model that is open for requests.

    Args:
        name: that requests give.
        model: an argument of `samplecnn.load`.
        limits: of the server.
        engine, precision: see `Tagger`.
        observe: see `Batcher`.

    Raises:
        UsageError: as `Tagger`.
    """

    def __init__(
        self,
        name: str,
        model: str | Path | Graph,
        limits: ServeLimits,
        engine: str = "auto",
        precision: str = "auto",
        observe: Callable[[int], None] = lambda windows: None,
    ) -> None:
        self.name, self.limits = name, limits
        self.net = with_embedding(network(model), HIDDEN)
        self.task = self.net.task
        opened = open_engine(self.net, engine, precision, segments=EXPECTED_SEGMENTS)
        opened.columns(
            np.zeros((1, self.task.window), np.float32)
        )  # initialisation that engines defer to their first call
        self.batcher = Batcher(opened, limits.batch_size, observe)
        self.point = None if isinstance(model, Graph) else operating_point_of(model)
        self.card = {} if isinstance(model, Graph) else _card(resolved(model))
        self.provenance = {
            "samplecnn": __version__,
            "model_sha256": "" if isinstance(model, Graph) else model_digest(model),
            "engine": opened.name,
            "precision": opened.precision,
            "sample_rate": self.task.sample_rate,
            "decoder": decoder(),
        }

    def hop(self, seconds: float | None) -> int:
        """The samples of a hop, see `Tagger`.

        Raises:
            UsageError: longer than a window, or too short.
        """
        hop = hop_samples(seconds, self.task)
        if hop * SHORTEST_HOP < self.task.window:
            least = self.task.window / SHORTEST_HOP / self.task.sample_rate
            raise UsageError(f"hop: at least {least:.3g} s, not {seconds:g} s")
        return hop if hop == self.task.window else align_hop(self.net, self.task.window, hop)

    def tag(self, work: Work, decoders: Decoders) -> Tags:
        """Decodes a recording and runs the model on it, together with those of other requests; in a thread.

        Raises:
            AudioError: the recording cannot be used.
            CancelledRequest: the client has disconnected, the deadline has passed, or the server is stopping.
        """
        recording = InProgress(work.upload.name)
        waiting: deque[tuple[int, Outputs]] = deque()

        def collect(most: int) -> None:
            while len(waiting) > most:
                first, outputs = waiting[0]
                with suppress(TimeoutError):
                    recording.add_outputs(first, outputs.result(min(work.left, LOOK_SECONDS)))
                    waiting.popleft()

        try:
            with closing(self._sound(work, decoders, recording)) as pieces:  # type: ignore[type-var]
                for part in windows(pieces, self.task, self.limits.batch_size, work.hop):
                    recording.starts.append(part.starts)
                    recording.samples = part.end
                    if len(part.segments):
                        waiting.append((recording.windows, self.batcher.submit(part.segments)))
                        recording.windows += len(part.segments)
                    if recording.windows > MAX_WINDOWS:
                        raise TooLongError(f"more than {MAX_WINDOWS:,} windows; use a longer hop, or send a part")
                    collect(AHEAD)
            collect(0)
        except CancelledError:  # by `Batcher.close`
            raise CancelledRequest from None
        finally:
            for _, outputs in waiting:
                outputs.cancel()
        recording.ended = True
        outcome = recording.outcome(self.task)
        assert isinstance(outcome, Tags)
        return outcome

    def _sound(self, work: Work, decoders: Decoders, recording: InProgress) -> Iterator[np.ndarray]:
        upload, most = (work.upload.data, work.upload.path), self.limits.max_seconds
        blocks = decoders.decode(
            upload, self.task.sample_rate, most, recording.remarks, work.accept_truncated, lambda: work.left
        )
        with closing(blocks):
            for block in blocks:
                recording.silent &= block.silent
                yield from_int16(block.samples)
                _ = work.left

    def shared_engine(self) -> SharedEngine:
        """The model as an engine for one listener."""
        return SharedEngine(self.batcher)

    def about(self, hop: int) -> dict[str, Any]:
        """What outputs say of the model, as those of `samplecnn tag` do; `hop` in samples."""
        engine = self.batcher.engine
        return {
            "model": self.name,
            "task": self.task.name,
            "engine": engine.name,
            "precision": engine.precision,
            "provenance": {**self.provenance, "hop": hop / self.task.sample_rate},
        }

    def to_dict(self) -> dict[str, Any]:
        """What `GET /v1/models` says of it."""
        task, engine = self.task, self.batcher.engine
        return {
            "name": self.name,
            "task": task.name,
            "kind": task.kind,
            "classes": list(task.classes),
            "sample_rate": task.sample_rate,
            "window": task.window,
            "window_seconds": task.window / task.sample_rate,
            "thresholds": list(task.class_thresholds),
            **({} if self.point is None else {"listening": {"threshold": self.point.threshold}}),
            "embedding_size": embedding_size(self.net),
            "engine": engine.name,
            "precision": engine.precision,
            "sha256": self.provenance["model_sha256"],
            "about": str(self.card.get("about", "")),
            "licence": str(self.card.get("licence", "")),
        }

    def close(self) -> None:
        self.batcher.close()


def named_models(models: list[str]) -> dict[str, str]:
    """Names for models: of a packaged one its own, else that of its folder or file; or as given by NAME=MODEL.

    Raises:
        UsageError: two models have the same name, or one has an empty name.

    Example:
        >>> named_models(["words", "birds=log/20261122_101500-sounds-se_multi"])
        {'words': 'words', 'birds': 'log/20261122_101500-sounds-se_multi'}
    """
    named: dict[str, str] = {}
    for model in models:
        name, equals, path = model.partition("=")
        if not equals or Path(model).exists():
            path, name = model, Path(model).name.removesuffix(".safetensors").removesuffix(".h5")
            if name == "model":
                name = Path(model).absolute().parent.name
        if not name:
            raise UsageError(f"{model}: no name before the equals sign; name the model by NAME=MODEL")
        if name in named:
            raise UsageError(f"two models are named {name}; name them by NAME=MODEL")
        named[name] = path
    return named


def _card(path: Path) -> dict[str, Any]:
    config = (path if path.is_dir() else path.parent) / CONFIG
    values = parsing.find_object(config, parsing.anything()) or {}  # an .h5 has none
    card = values.get("card")
    return card if isinstance(card, dict) else {}
