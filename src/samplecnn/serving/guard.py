"""Who may ask a local server: whoever has its token, from a page of its own.

Every program and every web page on this machine can send requests to a loopback port. Four checks keep them out: the
token, which is in the address that is printed and then in a cookie; the Host header, against names that an attacker
makes point to 127.0.0.1 (DNS rebinding); the Origin header, against requests of other pages; and a content security
policy, under which the page loads and sends nothing elsewhere.
"""

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {  # of every answer, besides the policy of its page
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HEADERS = {"Content-Security-Policy": POLICY, **SECURITY_HEADERS}
SAFE = ("GET", "HEAD")


def new_token() -> str:
    return secrets.token_urlsafe(24)


def cookie_value(header: str, name: str) -> str:
    """The value of a cookie in a Cookie header, or "".

    Example:
        >>> cookie_value("a=1; b=2", "b"), cookie_value("a=1", "b")
        ('2', '')
    """
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def fits(given: str, token: str) -> bool:
    """Whether a token that was given is the right one, in a time that does not depend on where they differ."""
    return secrets.compare_digest(given.encode(), token.encode())


def page_with_cookie(scope: Scope, token: str, cookie: str) -> Response | None:
    """The answer to the first request of a browser, /?token=...: sets the cookie and leads to the page.

    Returns:
        None: another address, or not the token.
    """
    given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
    if scope["type"] != "http" or scope["path"] != "/" or not fits(given, token):
        return None
    response = RedirectResponse("/", 303)
    # Lax, not strict: the address may be opened from another program. Requests of other pages are refused by Origin.
    response.set_cookie(cookie, token, httponly=True, samesite="lax", secure=scope["scheme"] == "https")
    return response


class Guard:
    """Middleware that lets only requests with the token through.

    Args:
        app: behind it.
        token: in the query of the first request (`/?token=...`), which sets the cookie.
        port: that the server listens at.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token, self.port = app, token, port
        self.cookie = f"samplecnn-{port}"  # cookies of a host are shared between its ports
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self.refusal(scope) or self.entrance(scope) or self.app
        await answer(scope, receive, guarded)

    def refusal(self, scope: Scope) -> Response | None:
        """Why a request is not answered, whatever its token."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self.hosts:
            return PlainTextResponse("This server is asked by its own address only.", 421)
        if origin is None and scope["method"] not in SAFE:
            return PlainTextResponse("A request that changes something needs an Origin.", 403)
        if origin is not None and origin != f"http://{host}":
            return PlainTextResponse("Requests of other pages are refused.", 403)
        return None

    def entrance(self, scope: Scope) -> Response | None:
        """For a request without the cookie: sets it and leads to the page, or refuses."""
        first = page_with_cookie(scope, self.token, self.cookie)
        if first is not None:
            return first
        if fits(cookie_value(Headers(scope=scope).get("cookie", ""), self.cookie), self.token):
            return None
        return PlainTextResponse("Open the address that the program has printed: it holds the token of this page.", 403)
