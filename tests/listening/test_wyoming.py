"""Wyoming clients send sound to `samplecnn listen --wyoming` and get what a listener hears in it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("wyoming", reason="wyoming is not installed (the extra `wyoming`)")

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.wake import Detect, Detection, NotDetected

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.listening.announcement import SERVICE, announced
from samplecnn.listening.listener import Listener
from samplecnn.listening.sources import ClientSound
from samplecnn.listening.wyoming import WyomingServer, endpoint_of
from samplecnn.system.sockets import Endpoint

RATE = 16_000
THRESHOLD = 0.2


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Two seconds of chirps that come and go, int16, which the model takes for two words."""
    times = np.arange(2 * RATE) / RATE
    chirps = 0.3 * np.sin(2 * np.pi * (300 + 2000 * (times % 0.5)) * times) * (np.sin(2 * np.pi * times) > 0)
    return np.rint(chirps * 32767).astype("<i2")


@pytest.fixture(scope="module")
def listener() -> Listener:
    own = Listener("words-tiny", engine="numpy")
    own.detector.thresholds = np.full(own.task.num_classes, THRESHOLD)
    return own


@pytest.fixture(scope="module")
def expected(listener, sound) -> list:
    """What a listener hears in the sound when it has it to itself."""
    source = ClientSound("alone", RATE, 2, 1)
    source.put(sound.tobytes())
    source.end()
    heard = [heard for moment in listener.another(threading.Lock()).listen(source) for heard in moment.heard]
    events = [each for each in heard if each.kind == "event"]
    assert len(events) >= 2
    return events


@pytest.fixture
def server(listener):
    """A running server and the moments it has shown."""
    moments: list = []
    own = WyomingServer(listener, Endpoint("127.0.0.1", 0).listen(), moments.append)
    loop, started = asyncio.new_event_loop(), threading.Event()
    task = loop.create_task(own.serve(started.set))
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.gather(task, return_exceptions=True)))
    thread.start()
    assert started.wait(20)
    own.moments = moments
    yield own
    loop.call_soon_threadsafe(task.cancel)
    thread.join(20)
    assert not thread.is_alive()


async def heard_by(server, data: bytes, names=None, width: int = 2, start: int = 0) -> list[Event]:
    """The answers to a stream, until the one after its end."""
    answers = []
    async with AsyncTcpClient("127.0.0.1", server.port, read_timeout=60) as client:
        await client.write_event(Detect(names=names).event())
        await client.write_event(AudioStart(RATE, width, 1, timestamp=start).event())
        for first in range(0, len(data), 2048):
            await client.write_event(AudioChunk(RATE, width, 1, data[first : first + 2048]).event())
        await client.write_event(AudioStop().event())
        await client.write_event(AudioStart(RATE, 2, 1).event())  # silence, which is answered with not-detected
        await client.write_event(AudioChunk(RATE, 2, 1, bytes(3200)).event())
        await client.write_event(AudioStop().event())
        while not answers or not NotDetected.is_type(answers[-1].type):
            answers.append(await client.read_event())
        if len(answers) == 1:
            answers.append(await client.read_event())
    return answers


def test_the_service_describes_itself(server):
    async def ask() -> Event:
        async with AsyncTcpClient("127.0.0.1", server.port, read_timeout=20) as client:
            await client.write_event(Describe().event())
            return await client.read_event()

    (service,) = Info.from_event(asyncio.run(ask())).wake
    assert service.installed and service.name == "samplecnn"
    names = [model.name for model in service.models]
    assert "yes" in names and "_unknown_" not in names and all(model.phrase for model in service.models)


def test_clients_get_what_a_listener_hears(server, expected, sound):
    async def both():
        wide = (sound.astype("<i4") << 16).tobytes()
        return await asyncio.gather(heard_by(server, sound.tobytes(), start=5000), heard_by(server, wide, width=4))

    for answers, start in zip(asyncio.run(both()), (5000, 0), strict=True):
        found = [Detection.from_event(answer) for answer in answers[:-1]]
        assert [each.name for each in found] == [each.label for each in expected]
        assert [each.timestamp for each in found] == [start + round(1000 * each.time) for each in expected]
    shown = [heard.label for moment in server.moments for heard in moment.heard if heard.kind == "event"]
    assert sorted(shown) == sorted(2 * [each.label for each in expected])


def test_only_what_a_client_waits_for(server, expected, sound, capsys):
    wanted = expected[0].label
    answers = asyncio.run(heard_by(server, sound.tobytes(), names=[wanted, "open sesame"]))
    assert {Detection.from_event(answer).name for answer in answers[:-1]} == {wanted}
    other = next(name for name in server.names if name not in {each.label for each in expected})
    answers = asyncio.run(heard_by(server, sound.tobytes(), names=[other]))
    assert [answer.type for answer in answers] == ["not-detected"] * 2
    assert "waits for open sesame, which the model does not know" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"type": "audio-chunk", "payload_length": 99999999999}\n', "not the Wyoming protocol"),
        (b'{"type": "audio-chunk", "data": {"rate": 16000}, "payload_length": 2}\nab', "not the Wyoming protocol"),
        (
            b'{"type": "audio-chunk", "data": {"rate": 1, "width": 9, "channels": 0}, "payload_length": 2}\nab',
            "of 1 Hz",
        ),
        (b"[1, 2]\n", "not the Wyoming protocol"),
        (b"GET / HTTP/1.1\r\n\r\n", ""),
        (b"x" * 200_000, ""),
    ],
)
def test_clients_that_send_something_else_are_disconnected(server, capsys, data, message):
    async def answer() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data)
        try:
            return await asyncio.wait_for(reader.read(), 20)
        except ConnectionError:
            return b""

    assert asyncio.run(answer()) == b""
    assert message in capsys.readouterr().err


def test_too_much_sound_is_dropped_and_counted():
    source = ClientSound("fast", 1000, 2, 1)
    for _ in range(12):
        source.put(bytes(2000))
    source.end()
    assert source.lost == 2.0 and sum(len(block) for block in source.blocks()) == 10_000


def test_addresses():
    for uri in ("127.0.0.1:10400", "tcp://127.0.0.1", "http://127.0.0.1:1", "tcp://:5", "tcp://a:99999", "tcp://a:1/x"):
        with pytest.raises(UsageError, match="not an address such as tcp://127"):
            endpoint_of(uri)
    with pytest.raises(UsageError, match=r"--wyoming a\.\.b: not an address of this machine"):
        endpoint_of("tcp://a..b:1")


def test_it_is_found_in_the_network(monkeypatch):
    zeroconf = pytest.importorskip("zeroconf", reason="zeroconf is not installed (the extra `wyoming`)")
    monkeypatch.setattr("samplecnn.listening.announcement.gethostname", lambda: "test.example")

    async def found(loopback: bool) -> list:
        listening = Endpoint("127.0.0.1", 0).listen()
        async with announced(listening, "samplecnn words", loopback):
            with zeroconf.Zeroconf(interfaces=["127.0.0.1"]) as network:
                names = []
                changed = lambda name, **more: names.append(name)  # noqa: E731
                zeroconf.ServiceBrowser(network, SERVICE, [changed])
                for _ in range(100 if loopback else 5):
                    await asyncio.sleep(0.02)
                    if names:
                        break
                info = await asyncio.to_thread(network.get_service_info, SERVICE, names[0]) if names else None
        port = listening.getsockname()[1]
        listening.close()
        return [port, names, info]

    port, names, info = asyncio.run(found(True))
    assert names == ["samplecnn words test._wyoming._tcp.local."]
    assert info.port == port and info.parsed_addresses() == ["127.0.0.1"]
    assert asyncio.run(found(False))[1] == []  # not of use to others


def test_an_address_in_use(server):
    with pytest.raises(SampleCNNError, match=rf"127\.0\.0\.1, port {server.port}: cannot listen .*choose another port"):
        endpoint_of(f"tcp://127.0.0.1:{server.port}").listen()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_the_command(expected, sound):
    words = [
        "listen",
        "words-tiny",
        "--wyoming",
        "tcp://127.0.0.1:0",
        "--engine",
        "numpy",
        "--threshold",
        str(THRESHOLD),
    ]
    program = "import sys; from samplecnn.__main__ import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stderr.readline()
        assert line.startswith("listening for Wyoming clients at tcp://127.0.0.1:"), line + process.stderr.read()
        server = type("Found", (), {"port": int(line.split("127.0.0.1:")[1].split(":")[0])})
        answers = asyncio.run(heard_by(server, sound.tobytes()))
        assert [Detection.from_event(answer).name for answer in answers[:-1]] == [each.label for each in expected]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in (0, 143) and "Traceback" not in err, err
    rows = [json.loads(row) for row in out.splitlines()]
    assert rows[0]["type"] == "start" and rows[0]["source"].startswith("wyoming tcp://127.0.0.1:")
    assert [row["label"] for row in rows[1:]] == [each.label for each in expected] and "at" in rows[1]
