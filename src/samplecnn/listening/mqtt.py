"""Events to an MQTT broker, with availability and Home Assistant's discovery.

Topics below the one that is given, for example samplecnn/kitchen:
    samplecnn/kitchen/event          a JSON object for each event, QoS 1
    samplecnn/kitchen/availability   "online" or "offline", retained; "offline" is also the client's last will
    homeassistant/sensor/ID/config   what Home Assistant needs to show it as a sensor, retained
"""

import json
import os
import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from samplecnn import __version__
from samplecnn.errors import UsageError
from samplecnn.extras import require
from samplecnn.listening.listener import Moment
from samplecnn.recordings import counted
from samplecnn.system import log

PASSWORD = "SAMPLECNN_MQTT_PASSWORD"
PORTS = {"mqtt": 1883, "mqtts": 8883}
MAX_WAITING = 1000  # events that are kept while the broker cannot be reached; further ones are dropped and counted
FIRST_CONNECTION = 5.0  # seconds to wait for it
LAST_MESSAGES = 5.0
LONGEST_PAUSE = 60  # seconds between attempts to connect
DISCOVERY = "homeassistant"
QOS = 1  # an event arrives at least once
REFUSED = ("Bad user name or password", "Not authorized", "Banned", "Client identifier not valid")


@dataclass(frozen=True)
class Broker:
    """Where events go.

    Args:
        host, port: of the broker.
        topic: under which the topics are.
        user: None: without one.
        secure: over TLS.
    """

    host: str
    port: int
    topic: str
    user: str | None = None
    secure: bool = False

    @classmethod
    def parsed(cls, url: str) -> "Broker":
        """From mqtt[s]://[USER@]HOST[:PORT]/TOPIC.

        Raises:
            UsageError: it is something else.

        Example:
            >>> Broker.parsed("mqtt://anna@broker.local/samplecnn/kitchen")
            Broker(host='broker.local', port=1883, topic='samplecnn/kitchen', user='anna', secure=False)
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise UsageError(f"--mqtt: not an address such as mqtt://host/topic ({error})") from error
        topic = unquote(parts.path).strip("/")
        if parts.password is not None:
            raise UsageError(f"--mqtt: a password on the command line is seen by other users; give it in {PASSWORD}")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise UsageError(f"--mqtt {url}: the port must be a number from 1 to 65535, as in mqtt://host:1883/topic")
        if set(topic) & set("+\0") or "#" in url:
            raise UsageError(f"--mqtt {url}: + and # cannot be in a topic")
        if parts.scheme not in PORTS or not parts.hostname or not topic or parts.query:
            raise UsageError(f"--mqtt {url}: not an address such as mqtt://host/topic or mqtts://user@host:8883/topic")
        user = unquote(parts.username) if parts.username else None
        return cls(parts.hostname, port or PORTS[parts.scheme], topic, user, parts.scheme == "mqtts")

    @property
    def id(self) -> str:
        """The same for the same topic: letters, digits, _ and -."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", f"samplecnn_{self.topic.removeprefix('samplecnn/')}")


class Mqtt:
    """An output of `samplecnn listen`: publishes events, and reconnects by itself.

    Args:
        broker: where to.
        about: what is heard by what (`outputs.about`), for the description of the device.
        discovery: the prefix that Home Assistant listens to; "": nothing is announced.

    Attributes:
        failed: after `close`: there were events, and the broker was never reached.

    Raises:
        MissingExtra: paho-mqtt is not installed.
        UsageError: the broker refuses the user.
    """

    def __init__(self, broker: Broker, about: dict[str, Any], discovery: str = DISCOVERY) -> None:
        require("samplecnn listen --mqtt", "mqtt")
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.broker, self.about, self.discovery = broker, about, discovery
        self.dropped = self._given = self._arrived = 0  # messages
        self.failed = False
        self._reason, self._answered = "", threading.Event()
        self._said, self._lock = False, threading.Lock()
        client = self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="", protocol=paho.MQTTv311)
        if broker.user is not None:
            client.username_pw_set(broker.user, os.environ.get(PASSWORD))
        if broker.secure:
            client.tls_set()
        client.will_set(self._availability, "offline", QOS, retain=True)
        client.max_queued_messages_set(0)  # no limit: that of events is here, and what is retained always gets through
        client.reconnect_delay_set(1, LONGEST_PAUSE)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_connect_fail, client.on_publish = self._failed, self._published
        client.connect_async(broker.host, broker.port, keepalive=30)
        client.loop_start()
        if not self._answered.wait(FIRST_CONNECTION) or (self._reason and self._reason not in REFUSED):
            self._say(self._reason or "it does not answer")
        elif self._reason:
            client.loop_stop()
            raise UsageError(
                f"--mqtt {broker.host}: the broker refuses the connection ({self._reason}); check the user, and the "
                f"password in {PASSWORD}"
            )

    @property
    def _availability(self) -> str:
        return f"{self.broker.topic}/availability"

    def show(self, moment: Moment) -> None:
        """Publishes the events of a moment."""
        for heard in moment.heard:
            if heard.kind == "event":
                now = datetime.now(UTC).isoformat(timespec="milliseconds")
                values = {**heard.to_dict(), "at": now, "source": self.about.get("source", "")}
                del values["type"]
                if self.waiting >= MAX_WAITING:
                    self.dropped += 1
                else:
                    self._publish(f"{self.broker.topic}/event", json.dumps(values, ensure_ascii=False))

    @property
    def waiting(self) -> int:
        """Messages whose arrival the broker has not confirmed."""
        return self._given - self._arrived

    def close(self) -> None:
        """Sends what is waiting, for 5 s at most, says that it goes offline, and disconnects."""
        self._publish(self._availability, "offline", retain=True)
        until = time.monotonic() + LAST_MESSAGES
        while self.client.is_connected() and self.waiting and time.monotonic() < until:
            time.sleep(0.01)
        self.client.disconnect()
        self.client.loop_stop()
        unsent = self.dropped + max(self.waiting - 1, 0)  # without the last, which is no event
        self.failed = unsent > 0 and self._arrived == 0
        if unsent:
            log.warn(f"--mqtt: {counted(unsent, 'event', 'events')} not sent: the broker could not be reached")

    def _publish(self, topic: str, text: str, retain: bool = False) -> None:
        with self._lock:
            self._given += 1
        self.client.publish(topic, text, QOS, retain)

    def _published(self, client: Any, data: Any, message: int, reason: Any, properties: Any) -> None:
        with self._lock:
            self._arrived += 1

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._reason = str(reason) if reason.is_failure else ""
        if reason.is_failure:
            self._answered.set()
            self._say(self._reason)
            return
        if self._said:
            log.note("--mqtt: connected")
            self._said = False
        if self.discovery:
            topic = f"{self.discovery}/sensor/{self.broker.id}/config"
            self._publish(topic, json.dumps(self._description(), ensure_ascii=False), retain=True)
        self._publish(self._availability, "online", retain=True)
        self._answered.set()  # only now: no event precedes "online"

    def _disconnected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure and not self._reason:
            self._say(str(reason))

    def _failed(self, client: Any, data: Any) -> None:
        self._reason = "no connection"
        self._answered.set()
        self._say(self._reason)

    def _say(self, reason: str) -> None:
        """Warns once for each time that the connection is lost."""
        if not self._said:
            self._said = True
            where = f"{self.broker.host}:{self.broker.port}"
            log.warn(f"--mqtt: {where} cannot be reached ({reason}); up to {MAX_WAITING:,} events wait until it can")

    def _description(self) -> dict[str, Any]:
        """What Home Assistant reads: https://www.home-assistant.io/integrations/sensor.mqtt/."""
        name = self.broker.topic.rpartition("/")[2]
        return {
            "name": "Heard",
            "unique_id": self.broker.id,
            "state_topic": f"{self.broker.topic}/event",
            "value_template": "{{ value_json.label }}",
            "json_attributes_topic": f"{self.broker.topic}/event",
            "availability_topic": self._availability,
            "force_update": True,  # the same sound again is an event too
            "icon": "mdi:ear-hearing",
            "qos": QOS,
            "device": {
                "identifiers": [self.broker.id],
                "name": f"samplecnn {name}",
                "manufacturer": "samplecnn",
                "model": str(self.about.get("model", "")),
                "sw_version": __version__,
            },
            "origin": {"name": "samplecnn", "sw": __version__},
        }
