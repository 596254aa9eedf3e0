"""Live sound over a WebSocket of the HTTP API gives the events of `samplecnn listen`."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs samplecnn[serve]")
pytest.importorskip("python_multipart", reason="needs samplecnn[serve]")

from api_client import RATE, assert_close, counters, noise

from samplecnn.listening.detector import DetectorRules
from samplecnn.listening.listener import Listener
from samplecnn.serving.hosted import CancelledRequest
from samplecnn.serving.live import run_in_loop


def test_live_sound_gives_the_events_of_listen(server, model):
    websocket = pytest.importorskip("websocket")
    samples = np.concatenate([noise(seed, 0.4) for seed in range(8)]).astype(np.float32)
    listener = Listener(model, engine="numpy", rules=DetectorRules(smooth=2))
    scores = [moment.scores for moment in listener.listen(ArraySource(samples))]
    threshold = round(float(np.median(np.max(scores, axis=1))), 3)
    listener = Listener(
        model, thresholds=np.full(3, threshold), engine="numpy", rules=DetectorRules(smooth=2, settle=0.4)
    )
    expected = [heard.to_dict() for moment in listener.listen(ArraySource(samples)) for heard in moment.heard]
    assert {"event", "end"} <= {each["type"] for each in expected}

    address = f"ws://127.0.0.1:{server.port}/v1/listen"
    client = websocket.create_connection(
        f"{address}?format=f32le&threshold={threshold}&smooth=2&settle=0.4&ends=1&near=1", timeout=20
    )
    start = json.loads(client.recv())
    assert (start["type"], start["model"], start["rate"]) == ("start", "tiny", RATE)
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:  # one connection at a time
        websocket.create_connection(address, timeout=20)
    assert refused.value.status_code == 429
    data = samples.tobytes()
    for first in range(0, len(data), 3333):  # messages need not end between samples
        client.send_binary(data[first : first + 3333])
    client.send("end")
    found = [json.loads(client.recv())]
    while found[-1]["type"] != "done":
        found.append(json.loads(client.recv()))
    assert found.pop()["seconds"] == pytest.approx(len(samples) / RATE, abs=1e-3)
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    for each, wanted in zip(found, expected, strict=True):
        assert_close(each, {**wanted, "score": pytest.approx(wanted["score"], abs=2e-4)})
    client.close()
    for _ in range(200):
        if counters(server)["samplecnn_listeners",] == 0:
            break
        time.sleep(0.02)
    client = websocket.create_connection(f"{address}?scores=1", timeout=20)
    client.recv()
    client.send_binary((32767 * samples[: RATE // 2]).astype("<i2").tobytes())
    assert set(json.loads(client.recv())["scores"]) == {"low", "path", "high"}
    client.send("something")
    while (found := json.loads(client.recv()))["type"] in ("scores", "event"):
        pass
    assert found["type"] == "problem" and found["status"] == 400
    client.close()


@pytest.mark.parametrize("ended", [False, True], ids=["a loop that runs nothing", "a loop that has ended"])
def test_a_listener_does_not_wait_for_a_server_that_has_ended(ended):
    async def send():
        raise AssertionError

    loop, closed, message = asyncio.new_event_loop(), threading.Event(), send()
    if ended:
        loop.close()
    threading.Timer(0.05, closed.set).start()
    with ThreadPoolExecutor(1) as pool, pytest.raises(CancelledRequest):
        pool.submit(run_in_loop, message, loop, closed).result(20)
    message.close()
    loop.close()


class ArraySource:
    name, rate, channels, live, lost = "array", RATE, 1, True, 0.0

    def __init__(self, samples):
        self.samples = samples

    def blocks(self):
        yield self.samples[:, None]
