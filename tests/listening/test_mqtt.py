"""Events reach a real MQTT broker on the loopback interface, with availability, discovery and reconnection."""

import asyncio
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed (the extra `mqtt`)")
pytest.importorskip("amqtt", reason="no amqtt here, the broker of these tests; pip install amqtt")

import paho.mqtt.client as paho
from amqtt.broker import Broker as RealBroker
from paho.mqtt.enums import CallbackAPIVersion

from samplecnn.errors import UsageError
from samplecnn.listening import mqtt
from samplecnn.listening.detector import Heard
from samplecnn.listening.listener import Moment
from samplecnn.listening.mqtt import Broker, Mqtt

ABOUT = {"source": "kitchen microphone", "model": "words"}


class Running:
    """A broker in a thread of its own."""

    def __init__(self, port: int) -> None:
        self.port, self.loop = port, asyncio.new_event_loop()
        config = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

        async def start() -> RealBroker:
            broker = RealBroker(config)
            await broker.start()
            return broker

        self.broker = asyncio.run_coroutine_threadsafe(start(), self.loop).result(20)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.broker.shutdown(), self.loop).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


@pytest.fixture
def broker():
    running = Running(free_port())
    yield running
    running.stop()


class Reader:
    """A client that collects what it is sent: (topic, text, retained)."""

    def __init__(self, port: int) -> None:
        self.messages: queue.Queue = queue.Queue()
        subscribed = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda client, data, m: self.messages.put((m.topic, m.payload.decode(), m.retain))
        self.client.on_subscribe = lambda *words: subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        # With 1, this broker may miss an answer that comes at once, and then sends no more.
        self.client.subscribe("#", 0)
        assert subscribed.wait(20)

    def get(self) -> tuple[str, str, bool]:
        return self.messages.get(timeout=20)

    def until(self, topic: str) -> tuple[str, bool]:
        """The next message of a topic."""
        while True:
            found, text, retained = self.get()
            if found == topic:
                return text, retained

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def moment(*labels: str, kind: str = "event") -> Moment:
    heard = [Heard(kind, label, 0.87654, 0.5, 12.3456, 11.0, 12.3) for label in labels]
    return Moment(12.3456, np.zeros(1, np.float32), -20.0, heard)


def address(port: int, topic: str = "samplecnn/kitchen") -> Broker:
    return Broker.parsed(f"mqtt://127.0.0.1:{port}/{topic}")


def test_events_availability_and_discovery(broker):
    reader = Reader(broker.port)
    output = Mqtt(address(broker.port), ABOUT)
    output.show(moment("yes", "no"))
    output.show(moment("maybe", kind="near"))
    config, _ = reader.until("homeassistant/sensor/samplecnn_kitchen/config")
    assert reader.until("samplecnn/kitchen/availability")[0] == "online"
    events = [json.loads(reader.until("samplecnn/kitchen/event")[0]) for _ in range(2)]
    assert [event["label"] for event in events] == ["yes", "no"]
    assert events[0]["score"] == 0.8765 and events[0]["time"] == 12.346 and events[0]["source"] == ABOUT["source"]
    assert events[0]["at"].endswith("+00:00")
    output.close()
    assert reader.until("samplecnn/kitchen/availability")[0] == "offline"
    assert reader.messages.empty()  # nothing of near misses
    reader.close()

    sensor = json.loads(config)
    assert sensor["state_topic"] == "samplecnn/kitchen/event" and sensor["unique_id"] == "samplecnn_kitchen"
    assert sensor["availability_topic"] == "samplecnn/kitchen/availability" and sensor["force_update"] is True
    late = Reader(broker.port)  # who comes later gets what is retained, and no event
    assert {late.get()[:2], late.get()[:2]} == {
        ("homeassistant/sensor/samplecnn_kitchen/config", config),
        ("samplecnn/kitchen/availability", "offline"),
    }
    late.close()


def test_a_lost_client_is_offline_by_its_last_will(broker):
    reader = Reader(broker.port)
    program = (
        "import os, sys\nfrom samplecnn.listening.mqtt import Broker, Mqtt\n"
        "Mqtt(Broker.parsed(sys.argv[1]), {}, discovery='')\n"
        "print('up', flush=True)\nsys.stdin.read()\nos._exit(9)"
    )
    url = f"mqtt://127.0.0.1:{broker.port}/a/b"
    killed = subprocess.Popen([sys.executable, "-c", program, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert killed.stdout.readline() == b"up\n"
    assert reader.get()[:2] == ("a/b/availability", "online")  # and no discovery
    killed.communicate(b"", timeout=20)
    assert reader.get()[:2] == ("a/b/availability", "offline")
    reader.close()


class Forwarder:
    """Passes connections at a port on to another."""

    def __init__(self, port: int, target: int) -> None:
        self.loop = asyncio.new_event_loop()

        async def copy(reader, writer) -> None:
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()

        async def forward(reader, writer) -> None:
            inner = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(copy(reader, inner[1]), copy(inner[0], writer), return_exceptions=True)

        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        serving = asyncio.start_server(forward, "127.0.0.1", port)
        asyncio.run_coroutine_threadsafe(serving, self.loop).result(20)


def test_events_wait_for_a_broker_that_comes_later(broker, monkeypatch, capsys):
    port, reader = free_port(), Reader(broker.port)
    monkeypatch.setattr(mqtt, "MAX_WAITING", 3)
    output = Mqtt(address(port), ABOUT, discovery="")
    assert f"127.0.0.1:{port} cannot be reached" in capsys.readouterr().err
    for label in ("one", "two", "three", "four", "five"):
        output.show(moment(label))
    Forwarder(port, broker.port)
    events = [json.loads(reader.until("samplecnn/kitchen/event")[0]) for _ in range(3)]
    assert [event["label"] for event in events] == ["one", "two", "three"]
    until = time.monotonic() + 20
    while output.waiting and time.monotonic() < until:  # the reader may have an event before its arrival is confirmed
        time.sleep(0.01)
    output.show(moment("six"))
    assert json.loads(reader.until("samplecnn/kitchen/event")[0])["label"] == "six"
    output.close()
    assert "2 events not sent" in capsys.readouterr().err and not output.failed
    reader.close()


def test_without_a_broker_it_ends_in_time(capsys):
    output = Mqtt(address(free_port()), ABOUT)
    output.show(moment("yes"))
    output.close()
    said = capsys.readouterr().err
    assert said.count("cannot be reached") == 1 and "1 event not sent" in said and output.failed


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mqtt://host", "not an address such as mqtt://host/topic"),
        ("host/topic", "not an address"),
        ("mqtt://host:99999/a", "the port must be a number from 1 to 65535"),
        ("mqtt://host:a/a", "the port must be a number from 1 to 65535"),
        ("mqtt://host:0/a", "the port must be a number from 1 to 65535"),
        ("mqtt://anna:secret@host:a/a", "give it in SAMPLECNN_MQTT_PASSWORD"),
        ("mqtt://host/a/#", "cannot be in a topic"),
        ("mqtt://anna:secret@host/a", "give it in SAMPLECNN_MQTT_PASSWORD"),
    ],
)
def test_addresses(url, message):
    with pytest.raises(UsageError, match=message) as error:
        Broker.parsed(url)
    assert "secret" not in str(error.value)


def test_secure_address():
    assert Broker.parsed("mqtts://anna@host/a/b") == Broker("host", 8883, "a/b", "anna", True)


def test_the_command(broker, tmp_path):
    import soundfile

    reader = Reader(broker.port)
    times = np.arange(32_000) / 16_000
    chirps = 0.3 * np.sin(2 * np.pi * (300 + 2000 * (times % 0.5)) * times) * (np.sin(2 * np.pi * times) > 0)
    soundfile.write(tmp_path / "chirps.wav", chirps, 16_000)
    url = f"mqtt://127.0.0.1:{broker.port}/samplecnn/desk"
    words = ["listen", "words-tiny", "chirps.wav", "--engine", "numpy", "--threshold", "0.2", "--mqtt", url]
    program = "from samplecnn.__main__ import main; main()"
    call = [sys.executable, "-c", program, *words]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, timeout=120, env=os.environ)
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line)["label"] for line in done.stdout.splitlines()[1:]]
    assert len(printed) >= 2
    assert [json.loads(reader.until("samplecnn/desk/event")[0])["label"] for _ in printed] == printed
    reader.close()
