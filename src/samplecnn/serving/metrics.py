"""What Prometheus reads at `/metrics`."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # bounds of the histogram of times
WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128)  # and of batch sizes


class Metrics:
    """The counters of one server.

    Args:
        queue_length: requests that are processed or wait for it.
    """

    def __init__(self, queue_length: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, processor time, open files

        def named(kind: type, name: str, about: str, labels: Iterable[str] = (), **options: Any) -> Any:
            return kind(f"samplecnn_{name}", about, tuple(labels), registry=self.registry, **options)

        self.requests: Counter = named(Counter, "requests", "Answered requests.", ("route", "code"))
        self.seconds: Histogram = named(
            Histogram, "request_seconds", "From a request to the end of its answer.", ("route",), buckets=SECONDS
        )
        self.audio: Counter = named(Counter, "audio_seconds", "Sound that was tagged.", ("model",))
        self.batches: Histogram = named(
            Histogram, "batch_size", "Windows per call of the model.", ("model",), buckets=WINDOWS
        )
        self.listeners: Gauge = named(Gauge, "listeners", "Open WebSocket connections.")
        self.build: Gauge = named(Gauge, "build_info", "Always 1.", ("version", "model", "engine", "precision"))
        queue: Gauge = named(Gauge, "queue_length", "Requests that are processed or wait for it.")
        queue.set_function(queue_length)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class Measured:
    """Middleware that counts requests and their times.

    Args:
        app: behind it.
        metrics: where they are counted.
        routes: paths that are counted separately; all others are "other", so that unknown paths take no memory.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Iterable[str]) -> None:
        self.app, self.metrics, self.routes = app, metrics, frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, counted)
        finally:
            route = scope["path"] if scope["path"] in self.routes else "other"
            self.metrics.requests.labels(route, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - begun)
