"""What the HTTP API refuses, and what bounds requests, answers and clients."""

import http.client
import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

pytest.importorskip("uvicorn", reason="needs samplecnn[serve]")
pytest.importorskip("python_multipart", reason="needs samplecnn[serve]")

from api_client import RATE, ask, ask_json, counters, form, noise, wav

from samplecnn.serving import ServeLimits, create_app
from samplecnn.serving.hosted import HostedModel
from samplecnn.serving.protocol import DeadlineProtocol
from samplecnn.serving.run import serving_api

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


@pytest.mark.parametrize("again", [False, True], ids=["after the grace", "at a second signal"])
def test_a_stopping_server_answers_what_is_not_done(model, monkeypatch, again):
    release = threading.Event()
    monkeypatch.setattr(HostedModel, "tag", lambda self, work, decoders: release.wait(20))
    limits = ServeLimits(decoders=1)
    assert limits.grace > limits.request_timeout  # which ends a request first
    app = create_app({"tiny": model}, limits=limits, engine="numpy", precision="fp32")
    with serving_api(app, grace=30 if again else 0) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, server, "POST", "/v1/tag", wav(noise()))
        while counters(server)["samplecnn_queue_length",] == 0:
            time.sleep(0.01)
        server.stop()
        server.server.force_exit = again
        status, headers, body = answer.result(20)
        release.set()
    assert (status, headers["Content-Type"]) == (503, "application/problem+json")
    assert json.loads(body)["detail"] == "the server is stopping" and headers["Retry-After"] == "5"


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
