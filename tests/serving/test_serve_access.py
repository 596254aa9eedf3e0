"""Who may use the HTTP API: hosts, origins and tokens."""

import asyncio

import pytest

pytest.importorskip("uvicorn", reason="needs samplecnn[serve]")
pytest.importorskip("python_multipart", reason="needs samplecnn[serve]")

from samplecnn.errors import UsageError
from samplecnn.serving.access import Access
from samplecnn.serving.hosted import named_models
from samplecnn.serving.settings import read_token


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
