"""uvicorn's HTTP protocol with deadlines for slow clients.

uvicorn itself waits without limit for the headers of a request, and for a client that does not read its answer.
"""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from samplecnn.serving.problems import MEDIA_TYPE, Problem, busy

HEADER_SECONDS = 10.0  # from the connection, or the first byte of a further request, to the end of its headers
READ_SECONDS = 30.0  # for a client to read the buffered part of an answer
LINGER_SECONDS = 2.0  # for which the rest of a refused body is read, so that the client receives the answer
MAX_CONNECTIONS = 1000


class DeadlineProtocol(H11Protocol):
    """See the module."""

    header_seconds, read_seconds, linger_seconds = HEADER_SECONDS, READ_SECONDS, LINGER_SECONDS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._send_problem(busy("too many connections"))
        else:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waiting = self.conn.their_state is h11.IDLE
        if waiting and self._deadline is None:
            self._expect_headers()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expect_headers(self) -> None:
        self._deadline = self.loop.call_later(self.header_seconds, self._end)

    def _end(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._send_problem(Problem(408, f"no complete request within {self.header_seconds:g} s"))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self.loop.call_later(self.linger_seconds, self._end_refused, self.cycle)

    def _end_refused(self, cycle: Any) -> None:
        """Closes the connection of a client that still sends what was refused."""
        if self.cycle is cycle and self.conn.their_state is h11.SEND_BODY:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self._send_problem(Problem(400, "not a valid HTTP request"))

    def _send_problem(self, problem: Problem) -> None:
        """Answers outside of a request, and closes the connection."""
        body = json.dumps(problem.to_dict()).encode()
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
        ]
        try:
            for event in (h11.Response(status_code=problem.status, headers=headers), h11.Data(data=body)):
                self.transport.write(self.conn.send(event))
            self.transport.write(self.conn.send(h11.EndOfMessage()))
        except h11.LocalProtocolError:  # an answer has begun already
            pass
        self.transport.close()

    def pause_writing(self) -> None:
        """Called when the client reads the answer too slowly."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self.read_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
