"""A local web server that misbehaves on request."""

import contextlib
import http.server
import re
import threading
import time
from dataclasses import dataclass, field

import pytest


@dataclass
class Resource:
    """A file of the server and how it misbehaves; `breaks` and `statuses` are used up one by one."""

    body: bytes = b""
    etag: str | None = '"v1"'
    ranges: bool = True  # supports Range
    breaks: int = 0  # responses that break off
    break_after: int = 300_000  # bytes after which they do
    statuses: list[int] = field(default_factory=list)  # sent first, one per request
    redirect: str = ""
    length: int | None = None  # value of Content-Length; -1: no such header
    kind: str = "application/octet-stream"
    honours_if_range: bool = True
    silent: bool = False  # never answers
    encoding: str = ""
    shift: int = 0  # bytes by which the start of a 206 is wrong


class Handler(http.server.BaseHTTPRequestHandler):
    server: "Server"
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.server.requests.append((path, dict(self.headers)))
        self.close_connection = True
        resource = self.server.files.get(path)
        if resource is None:
            return self._short(404)
        if resource.statuses:
            return self._short(resource.statuses.pop(0))
        if resource.redirect:
            self.send_response(302)
            self.send_header("Location", resource.redirect)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if resource.silent:
            self.server.closing.wait()
            return None
        start, body = 0, resource.body
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if match and resource.ranges and (condition in (None, resource.etag) or not resource.honours_if_range):
            start = int(match[1])
            if start >= len(body):
                return self._short(416, {"Content-Range": f"bytes */{len(body)}"})
            self.send_response(206)
            start += resource.shift
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        rest = body[start:]
        if resource.length != -1:
            self.send_header("Content-Length", str(resource.length if resource.length is not None else len(rest)))
        if resource.etag:
            self.send_header("ETag", resource.etag)
        if resource.encoding:
            self.send_header("Content-Encoding", resource.encoding)
        self.send_header("Content-Type", resource.kind)
        self.end_headers()
        with contextlib.suppress(OSError):
            if resource.breaks:
                resource.breaks -= 1
                self.wfile.write(rest[: resource.break_after])
            else:
                for place in range(0, len(rest), 65536):
                    self.wfile.write(rest[place : place + 65536])
                    if self.server.pace:
                        self.wfile.flush()
                        time.sleep(self.server.pace)

    def _short(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, Resource] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.pace = 0.0  # seconds between two pieces of a body
        self.closing = threading.Event()
        self.base = f"http://127.0.0.1:{self.server_port}"

    def put(self, path: str, body: bytes, **behaviour: object) -> str:
        self.files[path] = Resource(body, **behaviour)
        return f"{self.base}/{path}"

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()
