"""The application of `samplecnn serve`: its routes, and what they do."""

import asyncio
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.models.graph import Graph
from samplecnn.serving.access import Access
from samplecnn.serving.answers import Answer, answer_of
from samplecnn.serving.decoding import Decoders
from samplecnn.serving.hosted import CancelledRequest, HostedModel, Work
from samplecnn.serving.problems import Problem, busy, handler, problem_of
from samplecnn.serving.query import FORMATS, TagQuery, parse_query
from samplecnn.serving.settings import ServeLimits
from samplecnn.serving.uploads import file_name, receive_upload

TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".txt": "text/plain",
}
CLIENT_GONE = 499  # the status that is counted for a request whose client has gone; nobody receives it


class Service:
    """The state of a server: its models, decoders and threads."""

    def __init__(self, models: list[HostedModel], limits: ServeLimits) -> None:
        self.models, self.limits = {model.name: model for model in models}, limits
        self.decoders = Decoders(limits.decoders, limits.request_timeout)
        self.threads = ThreadPoolExecutor(limits.max_queue, thread_name_prefix="request")
        self.folder = tempfile.mkdtemp(prefix="samplecnn-serve-")
        self.active = 0
        self.stopping = False

    def model(self, name: str | None) -> HostedModel:
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Problem(404, f"there is no model {name[:100]!r}; this server has {', '.join(self.models)}")
        return self.models[name]

    def check_room(self) -> None:
        """Raises a Problem where no further request can be taken."""
        if self.stopping:
            raise busy("the server is stopping", seconds=5)
        if self.active >= self.limits.max_queue:
            raise busy(f"{self.active} requests are waiting already; try again later", 429)

    def tag(self, model: HostedModel, query: TagQuery, work: Work) -> Answer:
        """In a thread."""
        name = file_name(query.name or work.upload.name)
        try:
            return answer_of(model, query, name, model.tag(work, self.decoders), work.hop)
        finally:
            work.upload.close()

    def close(self) -> None:
        self.stopping = True
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.decoders.close()
        for model in self.models.values():
            model.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def create_app(
    models: Mapping[str, str | Path | Graph] | Iterable[str | Path],
    *,
    limits: ServeLimits | None = None,
    token: str | None = None,
    hosts: Iterable[str] = (),
    engine: str = "auto",
    precision: str = "auto",
) -> ASGIApp:
    """An ASGI application that tags recordings; the models are opened at once.

    Args:
        models: arguments of `samplecnn.load` by the names that requests give; or a list of them, which are named as
            `hosted.named_models` does.
        limits: what requests may take.
        token: that every request must have; None: none.
        hosts: names under which the server may be asked, besides localhost and IP addresses.
        engine, precision: see `samplecnn.Tagger`.

    Raises:
        UsageError: no models, two of the same name, or as `samplecnn.Tagger`.
    """
    from samplecnn.serving.hosted import named_models

    limits = limits or ServeLimits()
    named = models if isinstance(models, Mapping) else named_models([str(model) for model in models])
    if not named:
        raise UsageError("no model to serve; name one or more")
    hosted = [HostedModel(name, model, limits, engine, precision) for name, model in named.items()]
    service = Service(hosted, limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(service.decoders.warm_up)
        try:
            yield
        finally:
            service.close()

    def answering(endpoint: Callable[[Service, Request], Awaitable[Response]]) -> Callable[[Request], Any]:
        async def answered(request: Request) -> Response:
            try:
                return await endpoint(service, request)
            except (Problem, SampleCNNError, HTTPException) as error:
                return problem_of(error).response()
            except ClientDisconnect:
                return Response(status_code=CLIENT_GONE)
            except Exception as error:
                traceback.print_exc(file=sys.stderr)
                return problem_of(error).response()

        return answered

    app = Starlette(
        routes=[
            Route("/v1/tag", answering(tag), methods=["POST"]),
            Route("/v1/models", answering(list_models)),
            Route("/health", answering(health)),
            Route("/ready", answering(ready)),
            *page_routes(),
        ],
        exception_handlers={HTTPException: handler},
        lifespan=lifespan,
    )
    return Access(app, token, hosts)


async def tag(service: Service, request: Request) -> Response:
    """POST /v1/tag: tags one recording."""
    service.check_room()  # before anything is received
    parse_query(request.query_params.multi_items())
    upload = await receive_upload(request, service.limits, service.folder)
    try:
        service.check_room()
        query = parse_query([*request.query_params.multi_items(), *upload.fields])
        model = service.model(query.model)
        deadline = time.monotonic() + service.limits.request_timeout
        work = Work(upload, model.hop(query.hop), query.accept_truncated, deadline)
    except BaseException:
        upload.close()
        raise
    answer = await _in_thread(service, request, model, query, work)
    return Response(answer.content, headers=answer.headers, media_type=answer.media_type)


async def _in_thread(service: Service, request: Request, model: HostedModel, query: TagQuery, work: Work) -> Answer:
    """Processes a request in a thread, until it is done, its client has gone or its time is up."""
    loop = asyncio.get_running_loop()
    service.active += 1
    running = loop.run_in_executor(service.threads, service.tag, model, query, work)

    def done(_: Any) -> None:
        service.active -= 1
        running.cancelled() or running.exception()  # it is retrieved, even where nobody waits any more

    running.add_done_callback(done)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((running, gone), timeout=service.limits.request_timeout, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        if gone.done():
            raise ClientDisconnect
        raise CancelledRequest
    except (CancelledRequest, TimeoutError):
        detail = f"not done after {service.limits.request_timeout:g} s; send a shorter recording, or try again later"
        raise busy(detail, seconds=5) from None
    finally:
        work.cancelled.set()
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def list_models(service: Service, request: Request) -> Response:
    """GET /v1/models: what can be asked for."""
    limits = service.limits
    return JSONResponse(
        {
            "models": [model.to_dict() for model in service.models.values()],
            "formats": list(FORMATS),
            "limits": {"bytes": limits.max_bytes, "seconds": limits.max_seconds},
        }
    )


async def health(service: Service, request: Request) -> Response:
    """GET /health: the process answers."""
    return JSONResponse({"status": "ok"})


async def ready(service: Service, request: Request) -> Response:
    """GET /ready: it takes requests."""
    service.check_room()
    return JSONResponse({"status": "ready"})


def page_routes() -> list[Route]:
    """The files of the page; without it, the addresses do not exist."""
    folder = files("samplecnn.serving") / "page"
    if not folder.is_dir():
        return []
    return [_static(path, file) for path, file in _page_files(folder, "/")]


def _page_files(folder: Any, prefix: str) -> Iterable[tuple[str, Any]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _page_files(entry, f"{prefix}{entry.name}/")
        elif "." + entry.name.rpartition(".")[2] in TYPES:
            yield ("/" if entry.name == "index.html" and prefix == "/" else f"{prefix}{entry.name}"), entry


def _static(path: str, file: Any) -> Route:
    content, kind = file.read_bytes(), TYPES["." + file.name.rpartition(".")[2]]

    async def send(request: Request) -> Response:
        return Response(content, media_type=kind)

    return Route(path, send)
