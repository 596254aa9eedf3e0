"""The files of the page, which are served as they are."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".txt": "text/plain",
}


def page_routes() -> list[Route]:
    """A route for every file of the folder `page`, with its index.html at "/"; none without the folder."""
    folder = files("samplecnn.serving") / "page"
    return [_static(path, file) for path, file in _page_files(folder, "/")] if folder.is_dir() else []


def _page_files(folder: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _page_files(entry, f"{prefix}{entry.name}/")
        elif _suffix(entry.name) in TYPES:
            yield ("/" if (prefix, entry.name) == ("/", "index.html") else f"{prefix}{entry.name}"), entry


def _static(path: str, file: Any) -> Route:
    content, kind = file.read_bytes(), TYPES[_suffix(file.name)]

    async def send(request: Request) -> Response:
        return Response(content, media_type=kind)

    return Route(path, send)


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2]
