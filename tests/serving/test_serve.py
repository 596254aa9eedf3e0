"""`samplecnn serve`: answers equal to the Tagger's, limits, access, and live sound; a real uvicorn on loopback."""

import asyncio
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

pytest.importorskip("uvicorn", reason="needs samplecnn[serve]")
pytest.importorskip("python_multipart", reason="needs samplecnn[serve]")

from prometheus_client.parser import text_string_to_metric_families

from samplecnn import __version__
from samplecnn.errors import UsageError
from samplecnn.inference import open_engine
from samplecnn.listening.detector import DetectorRules
from samplecnn.listening.listener import Listener
from samplecnn.model_files import load_graph
from samplecnn.serving import ServeLimits, create_app
from samplecnn.serving.access import Access
from samplecnn.serving.answers import Answer
from samplecnn.serving.batcher import Batcher
from samplecnn.serving.hosted import HostedModel, named_models
from samplecnn.serving.protocol import DeadlineProtocol
from samplecnn.serving.query import FORMATS, LISTEN_PARAMETERS, TAG_PARAMETERS
from samplecnn.serving.run import serving_api
from samplecnn.serving.settings import read_token
from samplecnn.tagging.events import EventRules
from samplecnn.tagging.tag_files import tag_paths
from samplecnn.tagging.tagger import Tagger
from samplecnn.tagging.writers import JsonLinesWriter, Selection

RATE = 8000
LIMITS = ServeLimits(max_megabytes=2, max_seconds=60, max_queue=32, upload_timeout=2, decoders=1, max_listeners=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    folder = tmp_path_factory.mktemp("serve") / "tiny"
    save_model(folder)
    return folder


@pytest.fixture(scope="module")
def server(model):
    app = create_app({"tiny": model, "second": model}, limits=LIMITS, engine="numpy", precision="fp32")
    with pytest.MonkeyPatch.context() as patch, serving_api(app) as running:
        patch.setattr(DeadlineProtocol, "header_seconds", 1.0)
        yield running


@pytest.fixture(scope="module")
def tagger(model):
    return Tagger(model, engine="numpy", precision="fp32", embedding="hidden")


def noise(seed=0, seconds=0.5):
    return (0.1 + 0.1 * (seed % 5)) * np.random.default_rng(seed).normal(size=round(seconds * RATE)).clip(-2, 2)


def wav(wave, format="WAV"):
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format=format)
    return file.getvalue()


def ask(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    sent = {"Content-Type": "application/octet-stream"} if body is not None else {}
    connection.request(method, path, body, {**sent, **(headers or {})})
    response = connection.getresponse()
    found = response.status, response.headers, response.read()
    connection.close()
    return found


def ask_json(server, method, path, body=None, headers=None):
    status, _, data = ask(server, method, path, body, headers)
    return status, json.loads(data)


def form(content, name="a.wav", **fields):
    parts = [f'--B\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
    head = f'--B\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return "".join([*parts, head]).encode() + content + b"\r\n--B--\r\n", {
        "Content-Type": "multipart/form-data; boundary=B"
    }


def counters(server):
    families = text_string_to_metric_families(ask(server, "GET", "/metrics")[2].decode())
    found = [each for family in families for each in family.samples]
    return {(each.name, *(each.labels[name] for name in sorted(each.labels))): each.value for each in found}


def test_an_answer_has_what_tag_writes_for_the_recording(server, tagger):
    data = wav(noise(1, 1.3))
    tags = tagger(data)
    selection = Selection(2, None, True, events=EventRules(0.2))
    expected = JsonLinesWriter(io.StringIO(), selection, tags.classes).record("a b.wav", tags)
    body, headers = form(data, "C:\\folder\\a b.wav", events="true", threshold="0.2")
    # The threshold of events is also that of scores, unlike in the selection above.
    expected |= {"tags": {name: score for name, score in expected["tags"].items() if score > 0.2}}
    for window in expected["over_time"]:
        window["tags"] = {name: score for name, score in window["tags"].items() if score > 0.2}
    status, found = ask_json(server, "POST", "/v1/tag?top=2&over_time=1&embedding=true", body, headers)
    assert status == 200 and expected["events"]
    np.testing.assert_allclose(found.pop("embedding"), tags.embedding, atol=1e-5)
    for window, vector in zip(found["over_time"], tags.embedding_over_time, strict=True):
        np.testing.assert_allclose(window.pop("embedding"), vector, atol=1e-5)
    assert found.pop("model") == "tiny"
    assert list(found) == list(expected)
    assert found["path"] == "a b.wav" and found["seconds"] == expected["seconds"]
    assert_close(found, expected)


def assert_close(found, expected):
    """The same values, up to the rounding of batches of another size."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_close(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_close(*pair)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=3e-6)
    else:
        assert found == expected


@pytest.mark.parametrize("format", ["csv", "csv-long", "jsonl", "audacity", "textgrid", "parquet"])
def test_a_format_is_the_file_that_tag_writes(server, model, tmp_path, format, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.wav").write_bytes(wav(noise(2)))
    tag_paths(model, ["x.wav"], format, tmp_path / "out", Selection(threshold=0.3), engine="numpy", precision="fp32")
    status, headers, found = ask(
        server, "POST", f"/v1/tag?format={format}&threshold=0.3&name=x.wav", (tmp_path / "x.wav").read_bytes()
    )
    assert status == 200 and headers["Content-Disposition"].startswith('attachment; filename="x.')
    if format == "parquet":
        from pyarrow import parquet

        written = parquet.read_table(tmp_path / "out").drop_columns("path").to_pylist()
        assert_close(parquet.read_table(io.BytesIO(found)).drop_columns("path").to_pylist(), written)
    else:
        assert found == (tmp_path / "out").read_bytes()


def test_the_name_of_a_download_is_safe():
    headers = Answer(b"", "text/plain", 'a"\r\n\u00e9.txt').headers
    assert headers == {
        "Content-Disposition": "attachment; filename=\"a____.txt\"; filename*=UTF-8''a%22%0D%0A%C3%A9.txt"
    }


def test_every_format_answers(server):
    data = wav(noise(3))
    for format in FORMATS:
        status, headers, found = ask(server, "POST", f"/v1/tag?format={format}&model=second", data)
        assert status == 200 and found, format
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert "png" not in FORMATS


def test_many_requests_at_once_get_their_own_answers(server, tagger):
    sounds = [wav(noise(seed, 0.2 + 0.15 * (seed % 4))) for seed in range(16)]
    expected = [tagger(data).scores for data in sounds]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda data: ask_json(server, "POST", "/v1/tag", data), sounds))
    for (status, found), scores in zip(answers, expected, strict=True):
        assert status == 200
        np.testing.assert_allclose([found["tags"][name] for name in tagger.classes], scores, atol=3e-6)


def test_windows_of_several_requests_are_one_batch(model):
    """While the engine computes, windows of three requests arrive; they are its next call."""
    engine = open_engine(load_graph(model), "numpy", "fp32")
    segments = np.random.default_rng(0).normal(size=(6, 729)).astype(np.float32)
    expected, columns, calls, begin = engine(segments), engine.columns, [], threading.Event()

    def counted(batch):
        begin.wait(10)
        calls.append(len(batch))
        return columns(batch)

    engine.columns = counted
    batcher = Batcher(engine, 4)
    found = [batcher.submit(segments[:1])]
    while batcher._waiting:
        time.sleep(0.001)
    found += [batcher.submit(segments[1:2]), batcher.submit(segments[2:3]), batcher.submit(segments[3:6])]
    dropped = batcher.submit(segments)
    assert dropped.cancel()
    begin.set()
    np.testing.assert_allclose(np.concatenate([each.result(10) for each in found]), expected, atol=1e-6)
    batcher.close()
    assert calls == [1, 2, 3]  # the third and the last request do not fit into one batch of 4


WRONG = [
    ("GET", "/nothing", None, 404),
    ("GET", "/v1/tag", None, 405),
    ("POST", "/v1/tag?tp=3", b"x", 400),
    ("POST", "/v1/tag?top=0", b"x", 400),
    ("POST", "/v1/tag?top=1&top=2", b"x", 400),
    ("POST", "/v1/tag?threshold=nan", b"x", 400),
    ("POST", "/v1/tag?smooth=2", b"x", 400),
    ("POST", "/v1/tag?format=png", b"x", 400),
    ("POST", "/v1/tag?format=csv&embedding=1", b"x", 400),
    ("POST", "/v1/tag?model=other", b"x", 404),
    ("POST", "/v1/tag?hop=0.001", b"x", 400),
    ("POST", "/v1/tag?class_threshold=cat=0.5&events=1", wav(noise()), 400),
    ("POST", "/v1/tag", b"", 400),
    ("POST", "/v1/tag", b"not sound", 422),
    ("POST", "/v1/tag", wav(noise())[:1000], 422),
    ("POST", "/v1/tag", bytes(3 << 20), 413),
]


@pytest.mark.parametrize(("method", "path", "body", "expected"), WRONG, ids=[f"{each[1]}-{each[3]}" for each in WRONG])
def test_what_is_wrong_gets_a_problem(server, method, path, body, expected):
    status, headers, data = ask(server, method, path, body)
    problem = json.loads(data)
    assert (status, problem["status"]) == (expected, expected)
    assert headers["Content-Type"] == "application/problem+json" and headers["Content-Security-Policy"]
    assert set(problem) == {"type", "title", "status", "detail"}
    assert "\n" not in problem["detail"] and "Traceback" not in problem["detail"] and "/tmp" not in problem["detail"]


def test_types_and_forms_that_hold_no_recording(server):
    for kind, expected in (("application/json", 415), ("text/plain", 415), ("multipart/form-data", 400)):
        assert ask(server, "POST", "/v1/tag", b"{}", {"Content-Type": kind})[0] == expected
    assert ask(server, "POST", "/v1/tag", wav(noise()), {"Content-Encoding": "gzip"})[0] == 415
    body, headers = form(b"x")
    assert ask(server, "POST", "/v1/tag", body[:40], headers)[0] == 400
    assert ask(server, "POST", "/v1/tag", body.replace(b'; filename="a.wav"', b""), headers)[0] == 400
    body, headers = form(bytes(3 << 20))
    assert ask(server, "POST", "/v1/tag", body, headers)[0] == 413


def test_a_body_without_a_length_is_counted(server):
    def blocks(count):
        for _ in range(count):
            yield bytes(1 << 16)

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/v1/tag", blocks(40), {"Content-Type": "audio/wav"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_large_file_goes_through_a_temporary_one(server, tagger):
    data = wav(noise(4, 4))
    status, found = ask_json(server, "POST", "/v1/tag", data + bytes((1 << 20) - len(data)))
    assert status == 200
    np.testing.assert_allclose([found["tags"][name] for name in tagger.classes], tagger(data).scores, atol=3e-6)


def test_a_damaged_file_is_answered_with_the_parameter_that_uses_the_rest(server):
    cut = wav(noise(1))[:3000]
    status, problem = ask_json(server, "POST", "/v1/tag", cut)
    assert status == 422 and "accept_truncated=true" in problem["detail"] and "--" not in problem["detail"]
    assert ask_json(server, "POST", "/v1/tag?accept_truncated=true", cut)[0] == 200


def test_hours_of_silence_in_a_small_file_are_refused(server):
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE, 1, format="FLAC") as flac:
        for _ in range(60):
            flac.write(np.zeros(60 * RATE, np.int16))
    assert len(file.getvalue()) < 200_000
    before = counters(server)["samplecnn_batch_size_sum", "tiny"]
    status, problem = ask_json(server, "POST", "/v1/tag", file.getvalue())
    assert status == 422 and problem["detail"] == "longer than 60 s, the limit of this server; send a part"
    assert counters(server)["samplecnn_batch_size_sum", "tiny"] == before  # refused by its header
    unknown = file.getvalue()[:21] + bytes([file.getvalue()[21] & 0xF0]) + bytes(4) + file.getvalue()[26:]
    status, problem = ask_json(server, "POST", "/v1/tag", unknown)  # without a length in its header
    assert status == 422 and problem["detail"] == "longer than 60 s, the limit of this server; send a part"
    assert ask(server, "POST", "/v1/tag", wav(noise()))[0] == 200  # its decoder goes on


def test_answers_have_bounds(server, monkeypatch):
    monkeypatch.setattr("samplecnn.serving.answers.MAX_VECTORS", 10)
    data = wav(noise(1, 2.0))
    assert ask(server, "POST", "/v1/tag?embedding=1", data)[0] == 200
    status, problem = ask_json(server, "POST", "/v1/tag?embedding=1&over_time=1", data)
    assert status == 400 and problem["detail"].startswith("22 embeddings, more than the 10 of an answer")
    monkeypatch.setattr("samplecnn.serving.hosted.MAX_WINDOWS", 10)
    status, problem = ask_json(server, "POST", "/v1/tag", data)
    assert status == 422 and problem["detail"].startswith("more than 10 windows")


def test_a_client_that_goes_ends_its_work(server, monkeypatch):
    begun, ended = threading.Event(), threading.Event()
    tag = HostedModel.tag

    def endless(self, work, decoders):
        begun.set()
        try:
            while True:
                tag(self, work, decoders)
        finally:
            ended.set()

    monkeypatch.setattr(HostedModel, "tag", endless)
    data = wav(noise())
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        assert begun.wait(20)
    assert ended.wait(20)
    for _ in range(100):
        found = counters(server)
        if found.get(("samplecnn_requests_total", "499", "/v1/tag")) == 1:
            break
        time.sleep(0.05)
    assert found["samplecnn_requests_total", "499", "/v1/tag"] == 1 and found["samplecnn_queue_length",] == 0


def test_a_full_queue_and_a_request_that_takes_too_long(model, monkeypatch):
    release = threading.Event()
    tag = HostedModel.tag

    def held(self, work, decoders):
        release.wait(20)
        return tag(self, work, decoders)

    monkeypatch.setattr(HostedModel, "tag", held)
    limits = ServeLimits(max_queue=1, request_timeout=1, decoders=1)
    app = create_app({"tiny": model}, limits=limits, engine="numpy", precision="fp32")
    data = wav(noise())
    with serving_api(app) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, server, "POST", "/v1/tag", data)
        while counters(server)["samplecnn_queue_length",] == 0:
            time.sleep(0.01)
        status, headers, _ = ask(server, "POST", "/v1/tag", data)
        assert status == 429 and int(headers["Retry-After"]) > 0
        assert ask(server, "GET", "/ready")[0] == 429 and ask(server, "GET", "/health")[0] == 200
        status, headers, _ = first.result()
        assert status == 503 and int(headers["Retry-After"]) > 0
        release.set()
        while counters(server)["samplecnn_queue_length",] > 0:
            time.sleep(0.01)


def test_slow_clients_are_given_up(server):
    for begin in (b"", b"GET /hea", b"POST /v1/tag HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nRIFF"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(begin)
            assert client.makefile("rb").readline().startswith(b"HTTP/1.1 408 ")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"\x16\x03\x01\r\n\r\n")
        assert client.makefile("rb").readline().startswith(b"HTTP/1.1 400 ")


def test_a_client_that_does_not_read_its_answers_is_given_up(server, monkeypatch):
    monkeypatch.setattr(DeadlineProtocol, "read_seconds", 0.3)
    connections = server.server.server_state.connections
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.settimeout(0.5)
        with pytest.raises(OSError):
            while True:
                client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        port = client.getsockname()[1]
        for _ in range(200):
            if not any(each.client[1] == port for each in list(connections)):
                return
            time.sleep(0.05)
        raise AssertionError("the connection is still open")


def test_an_error_of_the_program_tells_nothing(server, monkeypatch, capfd):
    def fail(self, work, decoders):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(HostedModel, "tag", fail)
    status, problem = ask_json(server, "POST", "/v1/tag", wav(noise()))
    assert status == 500 and "secret" not in problem["detail"]
    assert "ZeroDivisionError: secret" in capfd.readouterr().err


def through(access, path="/v1/models", kind="http", query=b"", **headers):
    """The status of a request to a middleware, and the headers of its answer."""
    sent = []
    names = {"host": "127.0.0.1:8000", **headers}
    scope = {
        "type": kind,
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in names.items()],
        "extensions": {"websocket.http.response": {}},
    }

    async def send(message):
        sent.append(message)

    asyncio.run(access(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"])


async def accepting(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})


def test_other_hosts_and_origins_are_refused():
    access = Access(accepting, None, ["sounds.example"])
    for host in ("127.0.0.1:8000", "localhost:9000", "[::1]:8000", "192.168.1.5", "sounds.example"):
        assert through(access, host=host)[0] == 200
    for host in ("evil.example", "localhost.evil.example", "", "[::1", "127.0.0.1.evil.example"):
        assert through(access, host=host)[0] == 421
    assert through(access, origin="http://127.0.0.1:8000")[0] == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:8001"):
        assert through(access, origin=origin)[0] == 403
        assert through(access, kind="websocket", path="/v1/listen", origin=origin)[0] == 403


def test_a_token_is_asked_for():
    token = "0123456789abcdef"
    access = Access(accepting, token)
    assert through(access, "/health")[0] == through(access, "/ready")[0] == 200
    for path in ("/", "/v1/models", "/metrics", "/v1/listen"):
        status, headers = through(access, path)
        assert status == 401 and headers[b"www-authenticate"] == b"Bearer"
        assert through(access, path, authorization=f"Bearer {token}")[0] == 200
        assert through(access, path, authorization=f"Bearer {token}x")[0] == 401
        assert through(access, path, cookie=f"samplecnn-token={token}")[0] == 200
    assert through(access, query=b"token=" + token.encode())[0] == 401  # in the address of the page only
    status, headers = through(access, "/", query=b"token=" + token.encode())
    assert status == 303 and b"HttpOnly" in headers[b"set-cookie"]


def test_tokens_and_names(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("0123456789abcdef\n")
    assert read_token(str(tmp_path / "token")) == "0123456789abcdef"
    monkeypatch.setenv("SAMPLECNN_TOKEN", "short")
    with pytest.raises(UsageError, match="SAMPLECNN_TOKEN: a token has 16 or more"):
        read_token(None)
    assert read_token(None) is None
    assert named_models(["a/b", "c/model.safetensors", "x=a/b"]) == {"b": "a/b", "c": "c/model.safetensors", "x": "a/b"}
    with pytest.raises(UsageError, match="two models are named b"):
        named_models(["a/b", "c/b"])
    with pytest.raises(UsageError, match="=a/b: no name before the equals sign"):
        named_models(["=a/b"])


def test_live_sound_gives_the_events_of_listen(server, model):
    websocket = pytest.importorskip("websocket")
    samples = np.concatenate([noise(seed, 0.4) for seed in range(8)]).astype(np.float32)
    listener = Listener(model, engine="numpy", rules=DetectorRules(smooth=2))
    scores = [moment.scores for moment in listener.listen(ArraySource(samples))]
    threshold = round(float(np.median(np.max(scores, axis=1))), 3)
    listener = Listener(model, thresholds=np.full(3, threshold), engine="numpy", rules=DetectorRules(smooth=2))
    expected = [heard.to_dict() for moment in listener.listen(ArraySource(samples)) for heard in moment.heard]
    assert {"event", "end"} <= {each["type"] for each in expected}

    address = f"ws://127.0.0.1:{server.port}/v1/listen"
    client = websocket.create_connection(
        f"{address}?format=f32le&threshold={threshold}&smooth=2&ends=1&near=1", timeout=20
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


class ArraySource:
    name, rate, channels, live, lost = "array", RATE, 1, True, 0.0

    def __init__(self, samples):
        self.samples = samples

    def blocks(self):
        yield self.samples[:, None]


def test_answers_are_as_described(server):
    status, document = ask_json(server, "GET", "/openapi.json")
    assert status == 200
    schemas = document["components"]["schemas"]

    def check(value, schema):
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]]
        kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
        assert isinstance(value, kinds[schema["type"]]), (value, schema)
        if schema["type"] == "object":
            properties, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
            assert set(schema.get("required", ())) <= set(value)
            for name, each in value.items():
                assert name in properties or rest is not False, name
                if name in properties or isinstance(rest, dict):
                    check(each, properties.get(name, rest))
        for each in value if schema["type"] == "array" else ():
            check(each, schema["items"])

    data = wav(noise(1))
    everything = "?over_time=1&events=1&embedding=1&accept_truncated=1&threshold=0.1"
    check(ask_json(server, "POST", f"/v1/tag{everything}", data)[1], {"$ref": "Tags"})
    check(ask_json(server, "POST", "/v1/tag", wav(np.zeros(4000)))[1], {"$ref": "Tags"})
    check(ask_json(server, "GET", "/v1/models")[1], {"$ref": "Models"})
    check(ask_json(server, "GET", "/nothing")[1], {"$ref": "Problem"})
    for path in ("/health", "/ready"):
        check(ask_json(server, "GET", path)[1], {"$ref": "Status"})
    described = {each["name"] for each in document["paths"]["/v1/tag"]["post"]["parameters"]}
    assert described == set(TAG_PARAMETERS)
    assert {each["name"] for each in document["paths"]["/v1/listen"]["get"]["parameters"]} == set(LISTEN_PARAMETERS)


def test_the_counters(server):
    before = counters(server)
    assert ask(server, "POST", "/v1/tag?model=second", wav(noise(1, 2.0)))[0] == 200
    ask(server, "GET", "/nothing")
    after = counters(server)

    def more(*key):
        return after[key] - before.get(key, 0)

    assert more("samplecnn_audio_seconds_total", "second") == pytest.approx(2.0)
    assert more("samplecnn_requests_total", "200", "/v1/tag") == 1
    assert more("samplecnn_requests_total", "404", "other") == 1
    assert more("samplecnn_batch_size_sum", "second") == 22  # windows of 729 samples in 2 s
    assert after["samplecnn_build_info", "numpy", "tiny", "fp32", __version__] == 1


def test_without_pytorch_sigterm_lets_requests_finish(model):
    program = "import sys; sys.modules['torch'] = None; from samplecnn.__main__ import main; main()"
    command = [sys.executable, "-c", program, "serve", str(model), "--port", "0", "--engine", "numpy"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            address = process.stdout.readline().strip()
            running = type("Address", (), {"port": int(address.rpartition(":")[2])})
            data = wav(noise(0, 50))
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(ask_json, running, "POST", "/v1/tag", data)
                while counters(running)["samplecnn_queue_length",] == 0:
                    time.sleep(0.005)
                process.send_signal(signal.SIGTERM)
                status, found = answer.result(60)
            assert status == 200 and found["seconds"] == 50.0
            assert process.wait(60) == 0
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_a_wide_address_needs_a_token(model):
    command = [sys.executable, "-m", "samplecnn", "serve", str(model), "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "set a token with --token-file" in done.stderr
