"""The state of a server: its models, decoders, threads and counters."""

import asyncio
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request

from samplecnn import __version__
from samplecnn.models.graph import Graph
from samplecnn.serving.answers import Answer, answer_of
from samplecnn.serving.decoding import Decoders
from samplecnn.serving.hosted import CancelledRequest, HostedModel, Work
from samplecnn.serving.metrics import Metrics
from samplecnn.serving.problems import Problem, busy
from samplecnn.serving.query import TagQuery
from samplecnn.serving.settings import ServeLimits
from samplecnn.serving.uploads import Upload, file_name

RECEIVING = 4  # requests that are received at once, for each that the queue takes


class Service:
    """What the routes of a server share. `load` opens the models.

    Args:
        models: by name; the first one is the default.
        limits: what requests may take.
        engine, precision: see `samplecnn.Tagger`.

    Attributes:
        models: that are open, by name; empty until all of them are.
        active: requests that are processed or wait for it.
        receiving: requests that are being received.
        listening: open WebSocket connections.
        stopping: no further requests are taken.
    """

    def __init__(
        self, models: Mapping[str, str | Path | Graph], limits: ServeLimits, engine: str, precision: str
    ) -> None:
        self.limits = limits
        self.active = self.receiving = self.listening = 0
        self.stopping = False
        self.metrics = Metrics(lambda: self.active)
        self.models: Mapping[str, HostedModel] = {}
        self._named, self._engine, self._precision = models, engine, precision
        self.decoders = Decoders(limits.decoders, limits.request_timeout)
        self.threads = ThreadPoolExecutor(limits.max_queue, thread_name_prefix="request")
        self.listeners = ThreadPoolExecutor(max(limits.max_listeners, 1), thread_name_prefix="listener")
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def load(self) -> None:
        """Opens the models.

        Raises:
            UsageError, SampleCNNError: as `samplecnn.Tagger`.
        """
        opened: dict[str, HostedModel] = {}
        for name, model in self._named.items():
            observe = self.metrics.batches.labels(name).observe
            hosted = HostedModel(name, model, self.limits, self._engine, self._precision, observe)
            engine, opened[name] = hosted.batcher.engine, hosted
            self.metrics.build.labels(__version__, name, engine.name, engine.precision).set(1)
        self.models = opened

    @property
    def folder(self) -> str | None:
        """For temporary files; None: the system's, where the application runs without a start."""
        return None if self._folder is None else self._folder.name

    def model(self, name: str | None) -> HostedModel:
        """A model by its name; the first one for None.

        Raises:
            Problem: there is none of this name.
        """
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Problem(404, f"there is no model {name[:100]!r}; this server has {', '.join(self.models)}")
        return self.models[name]

    def check_loaded(self) -> None:
        """Raises a Problem until the models are loaded."""
        if not self.models:
            raise busy("the models are being loaded; try again later", seconds=2)

    def check_room(self) -> None:
        """Raises a Problem where no further request can be taken."""
        self.check_loaded()
        if self.stopping:
            raise busy("the server is stopping", seconds=5)
        if self.active >= self.limits.max_queue:
            raise busy(f"{self.active} requests are waiting already; try again later", 429)
        if self.receiving >= RECEIVING * self.limits.max_queue:
            raise busy(f"{self.receiving} requests are being received already; try again later", 429)

    async def tag(self, request: Request, upload: Upload, query: TagQuery) -> Answer:
        """Tags an upload in a thread, until it is done, the client disconnects or the time limit is reached.

        Raises:
            Problem: the queue is full, there is no such model, or the time limit was reached.
            SampleCNNError: the recording cannot be used, or the parameters do not fit the model.
            ClientDisconnect: the client has disconnected.
        """
        try:
            self.check_room()
            model = self.model(query.model)
            deadline = time.monotonic() + self.limits.request_timeout
            work = Work(upload, model.hop(query.hop), query.accept_truncated, deadline)
        except BaseException:
            upload.close()
            raise
        self.active += 1
        running = asyncio.get_running_loop().run_in_executor(self.threads, self._tag, model, query, work)
        running.add_done_callback(self._done)
        disconnected = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait(
                (running, disconnected), timeout=self.limits.request_timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if not running.done():
                raise ClientDisconnect if disconnected.done() else CancelledRequest
            return running.result()
        except (CancelledRequest, TimeoutError):
            detail = f"not done after {self.limits.request_timeout:g} s; send a shorter recording, or try again later"
            raise busy(detail, seconds=5) from None
        finally:
            work.cancelled.set()
            disconnected.cancel()
            with suppress(asyncio.CancelledError):
                await disconnected

    def _tag(self, model: HostedModel, query: TagQuery, work: Work) -> Answer:
        name = file_name(query.name or work.upload.name)
        try:
            tags = model.tag(work, self.decoders)
        finally:
            work.upload.close()
        self.metrics.audio.labels(model.name).inc(tags.seconds)
        return answer_of(model, query, name, tags, work.hop)

    def _done(self, running: "asyncio.Future[Any]") -> None:
        self.active -= 1
        if not running.cancelled():
            running.exception()  # marks it as retrieved, even if the request was given up

    def start(self) -> None:
        """Makes the folder and starts the first decoder, so that the first request does not wait for it."""
        self._folder = tempfile.TemporaryDirectory(prefix="samplecnn-serve-", ignore_cleanup_errors=True)
        self.decoders.warm_up()

    def close(self) -> None:
        """Ends all work."""
        self.stopping = True
        for pool in (self.threads, self.listeners):
            pool.shutdown(wait=False, cancel_futures=True)
        self.decoders.close()
        for model in self.models.values():
            model.close()
        if self._folder is not None:
            self._folder.cleanup()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
