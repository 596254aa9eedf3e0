"""Who may use the server of `samplecnn serve`: programs, and its own page, but no page of another origin.

On the loopback interface every program of this machine may use it. On other interfaces requests need a token, in the
header `Authorization: Bearer TOKEN`, or for a browser once in the address `/?token=TOKEN`, which sets a cookie.

Web pages can send requests to any address, so two headers are checked. Host must be an IP address, localhost or an
allowed name: otherwise an attacker could make their own name resolve to this server (DNS rebinding). Origin, which
browsers send with cross-origin requests, must be that of this server.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from samplecnn.serving.guard import SECURITY_HEADERS, cookie_value, fits, page_with_cookie
from samplecnn.serving.problems import Problem

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, **SECURITY_HEADERS}
OPEN_PATHS = ("/health", "/ready")  # for health checks, without a token
COOKIE = "samplecnn-token"


class Access:
    """Middleware that lets only permitted requests through.

    Args:
        app: behind it.
        token: that requests must have; None: none.
        hosts: names under which the server may be asked, besides localhost and IP addresses.
    """

    def __init__(self, app: ASGIApp, token: str | None, hosts: Iterable[str] = ()) -> None:
        self.app, self.token = app, token
        self.hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope)
            answer = self._entrance(scope) or self.app
        except Problem as problem:
            answer = problem.response()
        await answer(scope, receive, with_headers)

    def _check(self, scope: Scope) -> None:
        """Raises a Problem for a Host or Origin that is not this server's."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_own(host):
            raise Problem(421, "this name is not allowed; ask by IP address or localhost, or allow it by --allow-host")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Problem(403, "requests of pages of another origin are refused")

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _entrance(self, scope: Scope) -> Response | None:
        """For the first request of a browser: sets the cookie and leads to the page.

        Raises:
            Problem: without the token.
        """
        if self.token is None or scope["path"] in OPEN_PATHS:
            return None
        headers = Headers(scope=scope)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and fits(given.strip(), self.token):
            return None
        cookie = _cookie_name(scope)
        first = page_with_cookie(scope, self.token, cookie)
        if first is not None or fits(cookie_value(headers.get("cookie", ""), cookie), self.token):
            return first
        raise Problem(
            401, "this server needs its token, as Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
        )


def _cookie_name(scope: Scope) -> str:
    """A name with the server's port, since the ports of a host share their cookies."""
    server = scope.get("server")
    return f"{COOKIE}-{server[1]}" if server and server[1] else COOKIE
