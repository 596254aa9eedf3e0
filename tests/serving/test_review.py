"""The server of a review: who may ask it, what it answers; a real uvicorn on the loopback interface."""

import http.client
import io
import json

import numpy as np
import pytest
import soundfile

pytest.importorskip("uvicorn", reason="needs samplecnn[serve]")

from samplecnn.errors import SampleCNNError
from samplecnn.evaluation.thresholds import Goal
from samplecnn.index import read_index, update_index
from samplecnn.index.review.answers import open_answers, read_answers
from samplecnn.index.review.session import Session
from samplecnn.index.review.state import Review
from samplecnn.serving.review import review_app
from samplecnn.serving.server import LocalServer, serving
from samplecnn.serving.sounds import cut_out


class Client:
    """Requests as a browser sends them; `headers` replace or, with None, remove some."""

    def __init__(self, server):
        self.port, self.token = server.port, server.token
        self.origin = f"http://127.0.0.1:{self.port}"
        self.cookie = f"samplecnn-{self.port}={self.token}"

    def __call__(self, method, path, body=None, **headers):
        sent = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie}
        if method == "POST":
            sent |= {"Origin": self.origin, "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        for name, value in {**sent, "Content-Length": str(len(data))}.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(data)
        response = connection.getresponse()
        found = response.status, response.headers, response.read()
        connection.close()
        return found

    def json(self, method, path, body=None, **headers):
        status, _, data = self(method, path, body, **headers)
        return status, json.loads(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, save_model, noise_file):
    """An index of 12 recordings; the model has two classes with awkward names."""
    base = tmp_path_factory.mktemp("review")
    save_model(base / "model")
    for number in range(12):
        noise_file(base / "sounds" / f"{number}.wav", number)
    update_index(base / "i.index", base / "model", [base / "sounds"], hop=0.05, engine="numpy", precision="fp32")
    return base / "i.index"


@pytest.fixture
def client(folder):
    (folder / "review.jsonl").unlink(missing_ok=True)
    index = read_index(folder)
    with open_answers(folder) as file:
        session = Session(Review(index, file.answers, Goal("f1")), file, index.classes, "balanced", 0.02)
        with serving(review_app(session)) as server:
            yield Client(server)


def test_the_address_sets_the_cookie_and_the_page_loads_nothing_else(client):
    status, headers, _ = client("GET", f"/?token={client.token}", Cookie=None)
    assert status == 303 and headers["Location"] == "/"
    assert headers["Set-Cookie"].startswith(client.cookie) and "HttpOnly" in headers["Set-Cookie"]
    for path, kind in (
        ("/", "html"),
        ("/review.js", "javascript"),
        ("/review.css", "css"),
        ("/charts.js", "javascript"),
    ):
        status, headers, data = client("GET", path)
        assert status == 200 and kind in headers["Content-Type"] and data
        assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff" and "server" not in headers
        outside = data.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"http:" not in outside and b"https:" not in outside and b"style=" not in outside


def test_requests_that_are_refused(client):
    event = client.json("GET", "/api/class?class=low")[1]["events"][0]["event"]
    body = {"event": event, "answer": "accept"}
    refused = [
        (403, "GET", "/", {"Cookie": None}),
        (403, "GET", "/api/overview", {"Cookie": f"samplecnn-{client.port}=guess"}),
        (403, "GET", f"/api/overview?token={client.token}", {"Cookie": None}),
        (403, "GET", "/?token=guess", {"Cookie": None}),
        (403, "GET", f"/api/events/{event}/sound.wav", {"Cookie": None}),
        (421, "GET", "/", {"Host": f"evil.example:{client.port}"}),
        (421, "GET", f"/?token={client.token}", {"Host": f"evil.example:{client.port}", "Cookie": None}),
        (421, "GET", "/", {"Host": f"127.0.0.1:{client.port + 1}"}),
        (403, "GET", "/api/overview", {"Origin": "http://evil.example"}),
        (403, "POST", "/api/answers", {"Origin": "http://evil.example"}),
        (403, "POST", "/api/answers", {"Origin": f"http://localhost:{client.port}"}),
        (403, "POST", "/api/answers", {"Origin": "null"}),
        (403, "POST", "/api/undo", {"Origin": None}),
        (400, "POST", "/api/answers", {"Content_Type": "text/plain"}),
    ]
    for status, method, path, headers in refused:
        found = client(method, path, body if method == "POST" else None, **headers)[0]
        assert found == status, (method, path, headers)
    localhost = {"Host": f"localhost:{client.port}", "Origin": f"http://localhost:{client.port}"}
    assert client("POST", "/api/answers", body, **localhost)[0] == 200  # nothing above has been stored
    assert client.json("GET", "/api/class?class=low")[1]["state"]["answers"] == 1


def test_answers_go_through_to_the_file(client, folder):
    status, found = client.json("GET", "/api/class?class=low")
    assert status == 200 and len(found["events"]) == 3
    first, second = (event["event"] for event in found["events"][:2])
    assert [each["class"] for each in found["events"][0]["suggestions"]] in (["path", "high"], ["high", "path"])
    found = client.json("POST", "/api/answers", {"event": first, "answer": "accept"})[1]
    assert found["events"][0]["event"] == second and found["state"]["accept"] == 1
    client.json("POST", "/api/answers", {"event": second, "answer": "relabel", "label": "high"})
    assert [(each.verdict, each.label) for each in read_answers(folder).values()] == [
        ("accept", None),
        ("relabel", "high"),
    ]
    found = client.json("POST", "/api/undo", {})[1]
    assert found["events"][0]["event"] == second and found["undone"]["label"] == "high"
    assert len(read_answers(folder)) == 1
    client.json("POST", "/api/undo", {})
    assert client.json("POST", "/api/undo", {}) == (400, {"detail": "there is no answer to undo"})


def test_requests_that_make_no_sense_store_nothing(client, folder):
    event = client.json("GET", "/api/class?class=low")[1]["events"][0]["event"]
    for status, body in (
        (404, {"event": 10**6, "answer": "accept"}),
        (400, {"event": -1, "answer": "accept"}),
        (400, {"event": "../../etc", "answer": "accept"}),
        (400, {"event": event, "answer": "undo"}),
        (400, {"event": event, "answer": "relabel"}),
        (400, {"event": event, "answer": "relabel", "label": "low"}),
        (400, {"event": event, "answer": "relabel", "label": "nobody"}),
        (400, {"event": event, "answer": "accept", "label": "high"}),
        (400, [event]),
        (400, b"{"),
        (400, b'{"event": 0, "answer": "' + b"x" * 20_000 + b'"}'),
    ):
        assert client.json("POST", "/api/answers", body)[0] == status, body
    assert client.json("GET", "/api/class?class=nobody")[0] == 400
    assert client("GET", "/api/events/12345/sound.wav")[0] == 404
    assert client("GET", "/api/events/..%2f..%2fx/sound.wav")[0] == 404
    assert client("GET", "/../review.py")[0] == 404
    assert read_answers(folder) == {}
    assert client.json("POST", "/api/head", {})[0] == 400


def test_the_sound_is_the_stretch_and_what_is_missing_is_said(client, folder):
    event = client.json("GET", "/api/class?class=low")[1]["events"][0]
    status, headers, data = client("GET", f"/api/events/{event['event']}/sound.wav")
    assert status == 200 and headers["Content-Type"] == "audio/wav"
    wave, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    path = folder.parent / "sounds" / event["file"]
    whole, _ = soundfile.read(path, dtype="float32")
    assert rate == 8000
    np.testing.assert_allclose(wave, whole[round(event["from"] * rate) : round(event["to"] * rate)], atol=1e-4)
    away = path.rename(path.with_suffix(".away"))
    try:
        status, found = client.json("GET", f"/api/events/{event['event']}/sound.wav")
        assert status == 404 and "is not there any more; run `samplecnn index update`" in found["detail"]
        path.write_bytes(b"something else")
        status, found = client.json("GET", f"/api/events/{event['event']}/sound.wav")
        assert status == 404 and "has changed since it was indexed" in found["detail"]
    finally:
        away.replace(path)


def test_a_stretch_of_a_long_recording(tmp_path, monkeypatch):
    """The 70th second of 80, in mp3 and at another rate, several blocks in: the tone that is there and no other. What
    lies before is not decoded.
    """
    decoded: list[int] = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *given, **named: _counted(read(*given, **named), decoded))
    rate = 16000
    frequency = np.repeat(np.where(np.arange(80) == 70, 2000, 500), rate)
    wave = 0.3 * np.sin(2 * np.pi * np.cumsum(frequency) / rate)
    for suffix in ("flac", "mp3"):
        path = tmp_path / f"long.{suffix}"
        soundfile.write(path, wave, rate)
        found = cut_out(str(path), 8000, 70.05, 70.95)
        assert len(found) == 7200 and 0.9 * rate <= sum(decoded) < 3 * rate
        decoded.clear()
        spectrum = np.abs(np.fft.rfft(found))
        assert spectrum.argmax() / 0.9 == pytest.approx(2000, abs=5)


def _counted(frames, decoded):
    decoded.append(len(frames))
    return frames


def test_a_port_that_is_taken(client):
    with pytest.raises(SampleCNNError, match=r"port \d+: cannot listen .*choose another port"):
        LocalServer(None, client.port)
