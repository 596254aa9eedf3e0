"""`samplecnn serve`: answers equal to the Tagger's, as described; a real uvicorn on loopback."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs samplecnn[serve]")
pytest.importorskip("python_multipart", reason="needs samplecnn[serve]")

from api_client import ask, ask_json, assert_close, counters, form, noise, wav

from samplecnn import __version__
from samplecnn.inference import open_engine
from samplecnn.model_files import load_graph
from samplecnn.serving.answers import Answer
from samplecnn.serving.batcher import Batcher
from samplecnn.serving.query import FORMATS, LISTEN_PARAMETERS, TAG_PARAMETERS
from samplecnn.tagging.events import EventRules
from samplecnn.tagging.tag_files import tag_paths
from samplecnn.tagging.writers import JsonLinesWriter, Selection


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
            assert process.stderr.read().splitlines() == [f"loading {model}", "ready; Ctrl-C ends"]
        finally:
            process.kill()
