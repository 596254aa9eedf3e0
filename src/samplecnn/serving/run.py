"""`samplecnn serve` as a process: uvicorn at a socket, models that load meanwhile, and graceful shutdown."""

import contextlib
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from samplecnn.serving.protocol import DeadlineProtocol
from samplecnn.serving.server import LOOPBACK, running
from samplecnn.serving.settings import ServeLimits
from samplecnn.system.sockets import Endpoint

MAX_FRAME = 1 << 20  # bytes of a WebSocket message
PING_SECONDS = 20.0


class ApiServer:
    """An application that listens at a socket; `run` blocks until it is stopped.

    Args:
        app: from `api.create_app`.
        listening: a listening socket.
        grace: seconds that requests may still take after it was asked to end; the rest is then answered with 503.
    """

    def __init__(self, app: Any, listening: socket.socket, grace: float) -> None:
        import uvicorn

        self.socket, self.port = listening, listening.getsockname()[1]
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
            timeout_graceful_shutdown=math.ceil(grace),
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


def serve(
    app: Any, listening: socket.socket, load: Callable[[], None], ready: Callable[[], None], grace: float
) -> None:
    """Serves until Ctrl-C or SIGTERM. Until its models are loaded, the server answers that they are not.

    Args:
        app: from `api.application`.
        listening: a listening socket.
        load: loads the models, in a thread.
        ready: called after that.
        grace: see `ApiServer`; `ServeLimits.grace`.

    Raises:
        Exception: whatever `load` raises, after the server has ended.
    """
    server = ApiServer(app, listening, grace)
    failures: list[BaseException] = []

    def loading() -> None:
        try:
            load()
            if not server.server.should_exit:
                ready()
        except BaseException as error:
            failures.append(error)
            server.stop()

    threading.Thread(target=loading, name="loading", daemon=True).start()
    server.run()
    if failures:
        raise failures[0]


@contextlib.contextmanager
def serving_api(app: Any, grace: float = ServeLimits().grace) -> Iterator[ApiServer]:
    """A server in a thread of this process, for as long as the block."""
    server = ApiServer(app, Endpoint(LOOPBACK, 0).listen(), grace)
    with running(server):
        yield server
