"""A local page as a process: a socket on the loopback interface, uvicorn, and the address with its token."""

import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from samplecnn.serving.guard import Guard, new_token
from samplecnn.system import log
from samplecnn.system.sockets import Endpoint

LOOPBACK = "127.0.0.1"
BUSY = 32  # requests at once; more are refused


class LocalServer:
    """An application on the loopback interface.

    Args:
        app: an ASGI application.
        port: 0 for any that is free.

    Attributes:
        address: for the browser, with the token.

    Raises:
        SampleCNNError: the port is in use.
    """

    def __init__(self, app: Any, port: int = 0) -> None:
        import uvicorn

        endpoint = Endpoint(LOOPBACK, port)
        self.socket = endpoint.listen()
        self.port = self.socket.getsockname()[1]
        self.token = new_token()
        self.address = f"{endpoint.url(self.socket)}/?token={self.token}"
        config = uvicorn.Config(
            Guard(app, self.token, self.port),
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=BUSY,
            timeout_graceful_shutdown=2,
        )
        self.server = uvicorn.Server(config)

    def run(self) -> None:
        """Serves until Ctrl-C, SIGTERM or `stop`."""
        try:
            self.server.run(sockets=[self.socket])
        except KeyboardInterrupt:
            pass
        finally:
            self.socket.close()

    def stop(self) -> None:
        self.server.should_exit = True


def serve_page(app: Any, port: int, opens_browser: bool, show: Callable[[str], None] = log.show) -> None:
    """Serves a page for one person at this machine until Ctrl-C."""
    server = LocalServer(app, port)
    show(server.address)
    log.note("open this address in a browser; Ctrl-C ends")
    if opens_browser:
        webbrowser.open(server.address)
    server.run()


@contextmanager
def serving(app: Any) -> Iterator[LocalServer]:
    """A server in a thread of this process, for as long as the block."""
    server = LocalServer(app)
    with running(server):
        yield server


@contextmanager
def running(server: Any) -> Iterator[None]:
    """Calls `server.run` in a thread for as long as the block, then `server.stop`."""
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join(30)
