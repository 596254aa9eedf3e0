"""The routes of `samplecnn index review`: its page, and what the page asks."""

import json
from collections.abc import Awaitable, Callable
from functools import wraps
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from samplecnn import parsing
from samplecnn.errors import AudioError, SampleCNNError, UsageError
from samplecnn.index.review.head import new_head
from samplecnn.index.review.session import Session, UnknownEvent
from samplecnn.serving.sounds import GoneError, wav_of
from samplecnn.system.log import one_line

MAX_BODY = 10_000  # bytes
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
ANSWER = parsing.fields(
    {
        "event": parsing.whole(0, 1 << 40),
        "answer": parsing.text(20),
        "label": parsing.or_null(parsing.text(1000)),
    },
    optional=["label"],
)

Endpoint = Callable[[Request], Awaitable[Response]]


def review_app(session: Session) -> Starlette:
    """The application; `guard.Guard` goes in front of it."""

    @with_errors
    async def overview(request: Request) -> Response:
        return _json(session.overview())

    @with_errors
    async def of_class(request: Request) -> Response:
        return _json(await run_in_threadpool(session.of_class, request.query_params.get("class", "")))

    @with_errors
    async def sound(request: Request) -> Response:
        span = session.span(request.path_params["event"])
        data = await run_in_threadpool(wav_of, session.review.index, span)
        return Response(data, media_type="audio/wav")

    @with_errors
    async def answer(request: Request) -> Response:
        given = await _body(request)
        parsing.check(given, ANSWER, "the answer", "reload the page", UsageError)
        verdict, label = given["answer"], given.get("label")
        return _json(await run_in_threadpool(session.answer, given["event"], verdict, label))

    @with_errors
    async def undo(request: Request) -> Response:
        return _json(await run_in_threadpool(session.undo))

    @with_errors
    async def head(request: Request) -> Response:
        found = await run_in_threadpool(new_head, session.review)
        return _json(found.to_dict())

    page, shared = files("samplecnn.serving") / "review_page", files("samplecnn.serving") / "page"
    statics = [_static("/" if name == "index.html" else f"/{name}", page / name) for name in PAGE]
    return Starlette(
        routes=[
            *statics,
            _static("/spectrum.js", shared / "spectrum.js"),
            Route("/api/overview", overview),
            Route("/api/class", of_class),
            Route("/api/events/{event:int}/sound.wav", sound),
            Route("/api/answers", answer, methods=["POST"]),
            Route("/api/undo", undo, methods=["POST"]),
            Route("/api/head", head, methods=["POST"]),
        ]
    )


PAGE = ("index.html", "review.css", "review.js", "sound.js", "charts.js")


def _static(path: str, file: Any) -> Route:
    content, kind = file.read_bytes(), TYPES["." + file.name.rpartition(".")[2]]

    async def send(request: Request) -> Response:
        return Response(content, media_type=kind)

    return Route(path, send)


def with_errors(endpoint: Endpoint) -> Endpoint:
    """Errors become an answer with the message, which the page shows."""

    @wraps(endpoint)
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except SampleCNNError as error:
            return _json({"detail": one_line(str(error))}, _status(error))
        except OSError as error:
            return _json({"detail": one_line(error.strerror or str(error))}, 500)

    return answered


def _status(error: SampleCNNError) -> int:
    if isinstance(error, GoneError | UnknownEvent):
        return 404
    if isinstance(error, AudioError):
        return 422
    return 400 if isinstance(error, UsageError) else 500


def _json(value: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(value, status)


async def _body(request: Request) -> Any:
    """The JSON of a request.

    Raises:
        UsageError: it is none, or too long.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UsageError("expected application/json")
    data = b""
    async for block in request.stream():
        data += block
        if len(data) > MAX_BODY:
            raise UsageError(f"a request has at most {MAX_BODY:,} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise UsageError("the request is not JSON") from None
