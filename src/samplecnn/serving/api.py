"""The application of `samplecnn serve`: its routes."""

import asyncio
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.models.graph import Graph
from samplecnn.serving import metrics
from samplecnn.serving.access import Access
from samplecnn.serving.hosted import named_models
from samplecnn.serving.live import hear
from samplecnn.serving.openapi import description
from samplecnn.serving.page import page_routes
from samplecnn.serving.problems import Problem, busy, handler, problem_of
from samplecnn.serving.query import FORMATS, parse_query
from samplecnn.serving.service import Service
from samplecnn.serving.settings import ServeLimits
from samplecnn.serving.uploads import receive_upload

CLIENT_CLOSED = 499  # status in the counters for a request whose client has disconnected
Endpoint = Callable[[Service, Request], Awaitable[Response]]


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

    Example:
        >>> app = create_app({"sounds": "log/20261122_101500-sounds-se_multi"}, engine="numpy")
    """
    service = new_service(models, limits or ServeLimits(), engine, precision)
    service.load()
    return application(service, token, hosts)


def new_service(
    models: Mapping[str, str | Path | Graph] | Iterable[str | Path], limits: ServeLimits, engine: str, precision: str
) -> Service:
    """The state of a server whose models are not loaded yet; arguments as for `create_app`.

    Raises:
        UsageError: no models, or two of the same name.
    """
    named = models if isinstance(models, Mapping) else named_models([str(model) for model in models])
    if not named:
        raise UsageError("no model to serve; name one or more")
    return Service(named, limits, engine, precision)


def application(service: Service, token: str | None, hosts: Iterable[str]) -> ASGIApp:
    """The routes of a server; before `Service.load` is done, those that need models answer with status 503."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(service.start)
        try:
            yield
        finally:
            service.close()

    async def listen(socket: WebSocket) -> None:
        await hear(service, socket)

    pages = page_routes()
    routes = [Route(path, _answering(service, endpoint), methods=[verb]) for path, (verb, endpoint) in ROUTES.items()]
    app = Starlette(
        routes=[*routes, WebSocketRoute("/v1/listen", listen), *pages],
        exception_handlers={HTTPException: handler},
        lifespan=lifespan,
    )
    counted = [*ROUTES, *(page.path for page in pages)]
    return metrics.Measured(Access(app, token, hosts), service.metrics, counted)


def _answering(service: Service, endpoint: Endpoint) -> Callable[[Request], Any]:
    """A route that answers every error with a problem."""

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(service, request)
        except (Problem, SampleCNNError, HTTPException) as error:
            return problem_of(error).response()
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED)
        except asyncio.CancelledError:  # by the end of the server: a second signal, or after its grace
            return busy("the server is stopping", seconds=5).response()
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            return problem_of(error).response()

    return answered


async def tag(service: Service, request: Request) -> Response:
    """Tags one recording."""
    service.check_room()  # before anything is received
    parse_query(request.query_params.multi_items())
    service.receiving += 1
    try:
        upload = await receive_upload(request, service.limits, service.folder)
    finally:
        service.receiving -= 1
    try:
        query = parse_query([*request.query_params.multi_items(), *upload.fields])
    except BaseException:
        upload.close()
        raise
    answer = await service.tag(request, upload, query)
    return Response(answer.content, headers=answer.headers, media_type=answer.media_type)


async def list_models(service: Service, request: Request) -> Response:
    """The models, formats and limits."""
    service.check_loaded()
    limits = service.limits
    return JSONResponse(
        {
            "models": [model.to_dict() for model in service.models.values()],
            "formats": list(FORMATS),
            "limits": {"bytes": limits.max_bytes, "seconds": limits.max_seconds},
        }
    )


async def health(service: Service, request: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


async def ready(service: Service, request: Request) -> Response:
    """It takes requests."""
    service.check_room()
    return JSONResponse({"status": "ready"})


async def show_metrics(service: Service, request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(service.metrics.text(), headers={"Content-Type": metrics.MEDIA_TYPE})


async def show_description(service: Service, request: Request) -> Response:
    """The OpenAPI document."""
    service.check_loaded()
    return JSONResponse(description(service))


ROUTES: dict[str, tuple[str, Endpoint]] = {
    "/v1/tag": ("POST", tag),
    "/v1/models": ("GET", list_models),
    "/health": ("GET", health),
    "/ready": ("GET", ready),
    "/metrics": ("GET", show_metrics),
    "/openapi.json": ("GET", show_description),
}
