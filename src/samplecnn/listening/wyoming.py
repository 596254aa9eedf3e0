"""A Wyoming server: Home Assistant and other voice assistants send sound, and get what is heard in it.

The service is of the kind "wake": a client sends `detect` with the names it waits for, then `audio-start`, chunks of
audio and `audio-stop`; it gets a `detection` for every event, or `not-detected` after a stream without one. The
protocol (https://github.com/rhasspy/wyoming) has neither passwords nor encryption.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from socket import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from samplecnn import __version__
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.extras import require
from samplecnn.listening.announcement import announced
from samplecnn.listening.detector import is_rejection
from samplecnn.listening.listener import Listener, Moment
from samplecnn.listening.sources import ClientSound
from samplecnn.system import log
from samplecnn.system.sockets import Endpoint

if TYPE_CHECKING:
    from wyoming.event import Event

MAX_CLIENTS = 16
MAX_STREAMS = 4  # of one client that wait to be heard
MAX_BYTES = 1 << 20  # of one message
PROJECT = "samplecnn"


def endpoint_of(uri: str) -> Endpoint:
    """Where to listen, from tcp://HOST:PORT.

    Raises:
        UsageError: it is something else, or there is no such host.

    Example:
        >>> endpoint_of("tcp://127.0.0.1:10400").port
        10400
    """
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme != "tcp" or not parts.hostname or port is None or parts.path not in ("", "/"):
        raise UsageError(f"--wyoming {uri}: not an address such as tcp://127.0.0.1:10400")
    return Endpoint(parts.hostname, port, "--wyoming")


class WyomingServer:
    """Listens to the sound of its clients.

    Args:
        listener: each stream gets a copy, with a detector of its own.
        listening: a listening socket, which is closed at the end.
        on_moment: called with every moment of every stream, one at a time.

    Attributes:
        port: of the server.

    Raises:
        MissingExtra: wyoming is not installed.
    """

    def __init__(self, listener: Listener, listening: socket, on_moment: Callable[[Moment], None]) -> None:
        require("samplecnn listen --wyoming", "wyoming")
        self.listener, self.listening, self.on_moment = listener, listening, on_moment
        self.names = [name for name in listener.task.classes if not is_rejection(name)]
        self.port = listening.getsockname()[1]
        self.lock = threading.Lock()  # of the engine and the outputs
        self._clients: set[asyncio.Task[None]] = set()

    async def serve(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serves until it is cancelled.

        Args:
            ready: called when clients can connect.
        """
        server = await asyncio.start_server(self._client, sock=self.listening)
        try:
            async with server, announced(self.listening, f"{PROJECT} {self.listener.task.name}"):
                ready()
                await server.serve_forever()
        finally:
            for task in list(self._clients):
                task.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)

    def info(self) -> "Event":
        """The answer to `describe`: a wake service with a model for each class."""
        from wyoming.info import Attribution, Info, WakeModel, WakeProgram

        own = Attribution(name=PROJECT, url="")
        about: dict[str, Any] = {"attribution": own, "installed": True, "version": __version__}
        models = [WakeModel(name=name, description=name, phrase=name, languages=[], **about) for name in self.names]
        description = f"{self.listener.task.name}: {len(self.names)} sounds"
        return Info(wake=[WakeProgram(name=PROJECT, description=description, models=models, **about)]).event()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        peer = writer.get_extra_info("peername")
        name = f"{peer[0]}:{peer[1]}" if peer else "client"
        if len(self._clients) >= MAX_CLIENTS:
            log.warn(f"{name}: refused, {MAX_CLIENTS} clients are connected")
            writer.close()
            return
        self._clients.add(task)
        client = _Client(self, name, writer)
        try:
            await client.run(_Bounded(reader))
        except (OSError, asyncio.IncompleteReadError, UsageError) as error:
            if isinstance(error, UsageError):
                log.warn(f"{error}; the client is disconnected")
        except asyncio.CancelledError:  # the server ends; asyncio would report a cancelled client as an error
            pass
        except (KeyError, TypeError, ValueError, AttributeError):
            log.warn(f"{name}: sends what is not the Wyoming protocol; the client is disconnected")
        finally:
            client.end_stream()
            self._clients.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class _Bounded:
    """A stream whose messages have a limited length, whatever a client announces."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def readline(self) -> bytes:
        return await self._reader.readline()  # raises ValueError beyond 64 KiB

    async def readexactly(self, size: int) -> bytes:
        if size > MAX_BYTES:
            raise TypeError(f"a message of {size} bytes")
        return await self._reader.readexactly(size)


class _Client:
    """One connection: its wishes, and the stream that it sends."""

    def __init__(self, server: WyomingServer, name: str, writer: asyncio.StreamWriter) -> None:
        self.server, self.name, self.writer = server, name, writer
        self.loop = asyncio.get_running_loop()
        self.wanted: set[str] = set(server.names)
        self.sound: ClientSound | None = None
        self.start_ms = 0
        self.threads: list[threading.Thread] = []  # of streams that are not heard to their end yet

    async def run(self, reader: _Bounded) -> None:
        from wyoming.audio import AudioChunk, AudioStart, AudioStop
        from wyoming.event import async_read_event
        from wyoming.info import Describe
        from wyoming.wake import Detect

        reading: Any = reader
        while (event := await async_read_event(reading)) is not None:
            if Describe.is_type(event.type):
                await self._write(self.server.info())
            elif Detect.is_type(event.type):
                self._want(Detect.from_event(event).names)
            elif AudioStart.is_type(event.type):
                self.end_stream()
                self.start_ms = int(event.data.get("timestamp") or 0)
            elif AudioChunk.is_type(event.type):
                self._hear(AudioChunk.from_event(event))
            elif AudioStop.is_type(event.type):
                if self.sound is None:
                    await self._not_detected()
                self.end_stream()

    def end_stream(self) -> None:
        if self.sound is not None:
            self.sound.end()
            self.sound = None

    def _want(self, names: list[str] | None) -> None:
        known = set(self.server.names)
        unknown = [name for name in names or () if name not in known]
        if unknown:
            absent = log.one_line(", ".join(map(str, unknown)))
            log.warn(f"{self.name}: waits for {absent}, which the model does not know")
        self.wanted = set(names) & known if names else known

    def _hear(self, chunk: Any) -> None:
        if self.sound is not None and self.sound.format != (chunk.rate, chunk.width, chunk.channels):
            self.end_stream()
        if self.sound is None:
            self.threads = [thread for thread in self.threads if thread.is_alive()]
            if len(self.threads) >= MAX_STREAMS:
                raise UsageError(f"{self.name}: {MAX_STREAMS} streams wait to be heard")
            self.sound = ClientSound(self.name, chunk.rate, chunk.width, chunk.channels)
            before = self.threads[-1] if self.threads else None
            words = (self.sound, self.start_ms, before)
            self.threads.append(threading.Thread(target=self._listen, args=words, daemon=True))
            self.threads[-1].start()
        self.sound.put(chunk.audio)

    def _listen(self, sound: ClientSound, start_ms: int, before: threading.Thread | None) -> None:
        """Hears one stream to its end, in a thread of its own, when the client's stream before it has ended."""
        from wyoming.wake import Detection

        if before is not None:
            before.join()
        server, found = self.server, False
        listener = server.listener.another(server.lock)
        try:
            for moment in listener.listen(sound):
                listener.detector.thresholds = server.listener.detector.thresholds
                kept = moment._replace(heard=[heard for heard in moment.heard if heard.label in self.wanted])
                with server.lock:
                    server.on_moment(kept)
                for heard in kept.heard:
                    if heard.kind == "event":
                        found = True
                        at = start_ms + round(1000 * heard.time)
                        self._send(self._write(Detection(name=heard.label, timestamp=at).event()))
        except SampleCNNError as error:
            log.warn(str(error))
        if sound.lost:
            log.warn(f"{self.name}: {sound.lost:.1f} s of sound came too fast to be heard")
        if not found:
            self._send(self._not_detected())

    def _send(self, sending: Any) -> None:
        try:
            asyncio.run_coroutine_threadsafe(sending, self.loop)
        except RuntimeError:  # the server has ended
            sending.close()

    async def _not_detected(self) -> None:
        from wyoming.wake import NotDetected

        await self._write(NotDetected().event())

    async def _write(self, event: "Event") -> None:
        from wyoming.event import async_write_event

        with suppress(OSError):  # the client has closed its connection
            await async_write_event(event, self.writer)
