"""WebSocket `/v1/listen`: raw samples in, events out as JSON messages.

The client sends samples as binary messages and the text message "end" after the last one. The server first sends
{"type": "start", ...} with the settings, then a message for every event, as `samplecnn listen` prints them, and at the
end {"type": "done", "seconds": ...}. The text message {"thresholds": {"dog": 0.4}} changes thresholds. Messages that
arrive faster than they are processed are left in the connection, so a client cannot fill the memory.
"""

import asyncio
import json
import queue
import sys
import threading
import traceback
from collections.abc import Coroutine, Iterator
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from samplecnn.errors import AudioError, SampleCNNError, UsageError
from samplecnn.listening.detector import DetectorRules
from samplecnn.listening.listener import Listener, Moment
from samplecnn.listening.operating_point import RULES
from samplecnn.listening.sources import PCM_FORMATS
from samplecnn.serving.decoding import LOOK_SECONDS
from samplecnn.serving.hosted import CancelledRequest, HostedModel
from samplecnn.serving.problems import Problem, busy, problem_of
from samplecnn.serving.query import LISTEN_PARAMETERS, read_parameters
from samplecnn.serving.service import Service
from samplecnn.system.log import json_text
from samplecnn.tagging.events import EventRules, class_thresholds

WAITING = 4  # messages of samples that wait for the model
IDLE_SECONDS = 30.0  # without samples, after which the connection is closed
SEND_SECONDS = 30.0  # that a client may take to receive a message
REFUSED = 1008  # close code: policy violation


class SocketSource:
    """Samples that arrive as messages; see `listening.sources.Source`."""

    live, lost = True, 0.0
    name = "the connection"

    def __init__(self, rate: int, channels: int, format: str) -> None:
        self.rate, self.channels = rate, channels
        self.kind, self.scale = PCM_FORMATS[format]
        self.messages: queue.Queue[bytes | None] = queue.Queue()  # None: the end
        self.closed = threading.Event()
        self.taken = asyncio.Semaphore(WAITING)
        self.loop = asyncio.get_running_loop()

    async def put(self, data: bytes) -> None:
        """Adds a message, when there is room for it."""
        await self.taken.acquire()
        self.messages.put(data)

    def blocks(self) -> Iterator[np.ndarray]:
        frame = np.dtype(self.kind).itemsize * self.channels
        rest = b""
        while True:
            try:
                data = self.messages.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                raise AudioError(f"no sound for {IDLE_SECONDS:g} s") from None
            if self.closed.is_set():
                raise CancelledRequest
            if data is None:
                return
            self.loop.call_soon_threadsafe(self.taken.release)
            data = rest + data
            whole = len(data) // frame * frame
            data, rest = data[:whole], data[whole:]
            samples = np.frombuffer(data, self.kind).astype(np.float32)
            if self.kind == "u1":
                samples -= 128
            if len(samples):
                yield (samples * np.float32(self.scale)).reshape(-1, self.channels)


async def hear(service: Service, socket: WebSocket) -> None:
    """Serves one connection."""
    try:
        service.check_loaded()
        if service.stopping or service.listening >= service.limits.max_listeners:
            raise busy(f"{service.listening} connections are open already; try again later", 429, 10)
    except Problem as problem:
        await socket.send_denial_response(problem.response())
        return
    service.listening += 1
    service.metrics.listeners.set(service.listening)
    try:
        await _serve(service, socket)
    finally:
        service.listening -= 1
        service.metrics.listeners.set(service.listening)


async def _serve(service: Service, socket: WebSocket) -> None:
    try:
        values = read_parameters(LISTEN_PARAMETERS, socket.query_params.multi_items())
        model = service.model(values.get("model"))
        listener = await asyncio.to_thread(_listener, model, values)
        source = SocketSource(
            values.get("rate", model.task.sample_rate), values.get("channels", 1), values.get("format", "s16le")
        )
    except (Problem, SampleCNNError) as error:
        await socket.send_denial_response(problem_of(error).response())
        return
    await socket.accept()
    await _converse(service, socket, model, listener, source, values)


def _listener(model: HostedModel, values: dict[str, Any]) -> Listener:
    """A listener with the parameters of a connection, and for the others the model's operating point."""
    point = model.point
    rules = DetectorRules() if point is None else point.rules
    given = {name: values[name] for name in RULES if name in values}
    hop = values.get("hop")
    if hop is not None:
        model.hop(hop)  # refuses one that is too short
    elif point is not None:
        hop = point.hop
    listener = Listener(model.net, hop, replace(rules, **given), engine=model.shared_engine())
    threshold, texts = values.get("threshold"), values.get("class_threshold")
    limits = EventRules(class_thresholds(texts, threshold) if texts else threshold)
    default = model.task.class_thresholds if point is None else (point.threshold,) * model.task.num_classes
    listener.detector.thresholds = limits.thresholds(model.task.classes, default)
    return listener


async def _converse(
    service: Service,
    socket: WebSocket,
    model: HostedModel,
    listener: Listener,
    source: SocketSource,
    values: dict[str, Any],
) -> None:
    loop = asyncio.get_running_loop()
    kinds = {"event", *(kind for kind, name in (("near", "near"), ("end", "ends")) if values.get(name))}

    async def send(value: dict[str, Any]) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await socket.send_text(json_text(value))

    def listen() -> None:
        """In a thread. A message is sent before the next is made, so that none pile up."""
        for moment in listener.listen(source):
            for value in _messages(moment, listener, kinds, bool(values.get("scores"))):
                run_in_loop(send(value), loop, source.closed)

    await send(
        {
            "type": "start",
            "model": model.name,
            "rate": source.rate,
            "channels": source.channels,
            "format": values.get("format", "s16le"),
            "hop": listener.hop / model.task.sample_rate,
            "window_seconds": model.task.window / model.task.sample_rate,
            "thresholds": dict(zip(model.task.classes, listener.detector.thresholds.tolist(), strict=True)),
        }
    )
    running = loop.run_in_executor(service.listeners, listen)
    receiving = asyncio.ensure_future(_receive(socket, source, listener))
    try:
        await asyncio.wait((running, receiving), return_when=asyncio.FIRST_COMPLETED)
        if receiving.done() and receiving.result():  # the sound has ended; what was heard is still to be sent
            await running
        if running.done():
            running.result()
            await send({"type": "done", "seconds": round(listener.counts.seconds, 3)})
            await socket.close()
    except (WebSocketDisconnect, CancelledRequest, TimeoutError, RuntimeError):
        pass  # the client has disconnected
    except Exception as error:
        if not isinstance(error, SampleCNNError):
            traceback.print_exc(file=sys.stderr)
        with suppress(Exception):
            await send({**problem_of(error).to_dict(), "type": "problem"})
            await socket.close(REFUSED)
    finally:
        source.closed.set()
        source.messages.put(None)
        receiving.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await receiving
        running.add_done_callback(lambda done: done.cancelled() or done.exception())


def run_in_loop(message: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, closed: threading.Event) -> None:
    """Runs a coroutine in a loop from another thread, and waits for its end or that of the connection.

    A loop that has ended never runs what it was given last; waiting for that would keep the process from ending.

    Raises:
        CancelledRequest: the connection was closed first.
        Exception: whatever the coroutine raises.
    """
    if closed.is_set() or loop.is_closed():
        message.close()
        raise CancelledRequest
    sent = asyncio.run_coroutine_threadsafe(message, loop)
    while not wait((sent,), LOOK_SECONDS).done:
        if closed.is_set():
            sent.cancel()
            raise CancelledRequest
    sent.result()


async def _receive(socket: WebSocket, source: SocketSource, listener: Listener) -> bool:
    """Passes samples and thresholds on; whether the client has ended the sound, and not the connection."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return False
        if message.get("bytes") is not None:
            await source.put(message["bytes"])
        elif message.get("text", "").strip() in ("end", '"end"'):
            source.messages.put(None)
            return True
        else:
            limits = _thresholds(message.get("text", ""))
            detector = listener.detector
            detector.thresholds = EventRules(limits).thresholds(listener.task.classes, detector.thresholds.tolist())


def _thresholds(text: str) -> dict[str, float]:
    """The thresholds in a text message.

    Raises:
        UsageError: it is another one.
    """
    try:
        given = json.loads(text)["thresholds"]
        return {str(name): float(value) for name, value in given.items()}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise UsageError('send samples as binary messages, and "end" or {"thresholds": {...}} as text') from None


def _messages(moment: Moment, listener: Listener, kinds: set[str], scores: bool) -> Iterator[dict[str, Any]]:
    for heard in moment.heard:
        if heard.kind in kinds:
            yield heard.to_dict()
    if scores:
        averaged = listener.detector.averaged
        yield {
            "type": "scores",
            "time": round(moment.time, 3),
            "level": round(moment.level, 1),
            "scores": {
                name: round(float(score), 4) for name, score in zip(listener.task.classes, averaged, strict=True)
            },
        }
