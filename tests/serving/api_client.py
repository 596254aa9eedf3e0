"""Sounds for the HTTP API, and requests to it."""

import http.client
import io
import json

import numpy as np
import pytest
import soundfile
from prometheus_client.parser import text_string_to_metric_families

RATE = 8000


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
