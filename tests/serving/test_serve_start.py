"""How `samplecnn serve` starts: addresses first, then models, and no request is taken before."""

import re

import pytest

pytest.importorskip("uvicorn", reason="needs samplecnn[serve]")
pytest.importorskip("python_multipart", reason="needs samplecnn[serve]")

from api_client import ask, noise, wav
from typer.testing import CliRunner

from samplecnn.cli.app import app as command_line
from samplecnn.errors import UsageError
from samplecnn.serving import ServeLimits
from samplecnn.serving.api import application, new_service
from samplecnn.serving.run import serve, serving_api
from samplecnn.system.sockets import Endpoint


def test_until_the_models_are_loaded_it_is_not_ready(model):
    service = new_service([model], ServeLimits(decoders=1), "numpy", "fp32")
    with serving_api(application(service, None, ())) as starting:
        found = [ask(starting, "GET", path)[0] for path in ("/health", "/metrics", "/ready", "/v1/models")]
        assert found == [200, 200, 503, 503]
        status, headers, body = ask(starting, "POST", "/v1/tag", wav(noise()))
        assert (status, headers["Retry-After"]) == (503, "2") and b"the models are being loaded" in body
        service.load()
        assert ask(starting, "GET", "/ready")[0] == ask(starting, "POST", "/v1/tag", wav(noise()))[0] == 200


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path):
    service = new_service([tmp_path / "absent"], ServeLimits(decoders=1), "numpy", "fp32")
    listening, shown = Endpoint("127.0.0.1", 0).listen(), []
    with pytest.raises(UsageError, match="there is no such model"):
        serve(application(service, None, ()), listening, service.load, lambda: shown.append("ready"), 1.0)
    assert shown == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--host", "0.0.0.0"], 2, "set a token with --token-file"),
        (["--host", "::1x"], 2, "--host ::1x: not an address of this machine"),
        (["--port", "PORT"], 1, r"127\.0\.0\.1, port \d+: cannot listen .*choose another port"),
    ],
)
def test_addresses_are_checked_before_models_are_loaded(server, monkeypatch, words, code, message):
    monkeypatch.delenv("SAMPLECNN_TOKEN", raising=False)
    given = [str(server.port) if word == "PORT" else word for word in words]
    error = CliRunner().invoke(command_line, ["serve", "no-such-model", *given]).exception
    assert re.search(message, str(error)) and error.exit_code == code
