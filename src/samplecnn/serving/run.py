"""`samplecnn serve` as a process: its socket, uvicorn, and graceful shutdown."""

import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from samplecnn.errors import UsageError
from samplecnn.serving.protocol import DeadlineProtocol
from samplecnn.serving.server import LOOPBACK, running
from samplecnn.system import log

GRACE = 30.0  # seconds that requests may still take after the server was asked to end
MAX_FRAME = 1 << 20  # bytes of a WebSocket message
PING_SECONDS = 20.0


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bound_socket(host: str, port: int) -> socket.socket:
    """A listening socket: the address works from now on, and requests wait until the server runs.

    Raises:
        UsageError: the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"host {host} cannot be used ({error.strerror or error})") from error
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(address)
        found.listen(1024)
    except (OSError, OverflowError) as error:
        found.close()
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{host}, port {port} cannot be used ({reason}); choose another --port") from error
    return found


class ApiServer:
    """An application that listens at a socket; `run` blocks until it is stopped.

    Args:
        app: from `api.create_app`.
        host, port: where it listens; port 0 for any that is free.
        grace: seconds that requests may still take after it was asked to end.

    Attributes:
        address: of the server, http://HOST:PORT.

    Raises:
        UsageError: the address cannot be used.
    """

    def __init__(self, app: Any, host: str = LOOPBACK, port: int = 0, grace: float = GRACE) -> None:
        import uvicorn

        self.socket = bound_socket(host, port)
        self.port = self.socket.getsockname()[1]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        config = uvicorn.Config(
            app,
            http=DeadlineProtocol,
            ws="wsproto",
            ws_max_size=MAX_FRAME,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            log_level="critical",
            access_log=False,
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=int(grace),
        )
        self.server = uvicorn.Server(config)
        self.server.capture_signals = self._signals  # type: ignore[method-assign]

    def run(self) -> None:
        """Serves until Ctrl-C, SIGTERM or `stop`; requests in progress are finished."""
        try:
            self.server.run(sockets=[self.socket])
        finally:
            self.socket.close()

    def stop(self) -> None:
        self.server.should_exit = True

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Ends the server at a signal, which uvicorn would raise again, so that the exit code would be an error's."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def end(number: int, frame: Any) -> None:
            self.server.force_exit = self.server.should_exit  # a second signal does not wait
            self.server.should_exit = True

        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, action in before.items():
                signal.signal(number, action)


def serve(app: Any, host: str, port: int, token: str | None, show: Callable[[str], None] = log.show) -> None:
    """Serves until Ctrl-C or SIGTERM; prints the address first."""
    server = ApiServer(app, host, port)
    show(server.address)
    if token is not None:
        log.note("requests need the token; a browser opens ADDRESS/?token=TOKEN once")
    log.note("Ctrl-C ends")
    server.run()


@contextlib.contextmanager
def serving_api(app: Any) -> Iterator[ApiServer]:
    """A server in a thread of this process, for as long as the block."""
    server = ApiServer(app)
    with running(server):
        yield server
