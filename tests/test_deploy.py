"""What is in deploy/ fits the program: options exist, systemd accepts the units, nothing is sent anywhere."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samplecnn.cli.app import app
from samplecnn.errors import UsageError

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))


def test_the_image_starts_the_server_and_needs_a_token(monkeypatch):
    text = (DEPLOY / "Dockerfile").read_text()
    monkeypatch.delenv("SAMPLECNN_TOKEN", raising=False)
    entry, command = (
        json.loads(re.search(rf"^{name} (\[.*\])$", text, re.MULTILINE)[1]) for name in ("ENTRYPOINT", "CMD")
    )
    assert entry[0] == "samplecnn"
    result = CliRunner().invoke(app, [*entry[1:], *command])
    assert isinstance(result.exception, UsageError) and "set a token" in str(result.exception)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    port = entry[entry.index("--port") + 1]
    assert f"EXPOSE {port}" in text and f"127.0.0.1:{port}/ready" in text


def test_the_image_installs_extras_that_exist():
    extras = re.search(r"'\.\[(.*)\]'", (DEPLOY / "Dockerfile").read_text())[1].split(",")
    known = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) <= set(known) and "train" not in extras
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for name in " ".join(copied).split():
        assert f"!{name}" in ignored and (DEPLOY.parent / name).exists()


@pytest.mark.parametrize("service", UNITS, ids=lambda path: path.name)
def test_units_call_commands_that_exist(service):
    text = service.read_text()
    words = shlex.split(re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)[1])
    assert words[0] == "/opt/samplecnn/bin/samplecnn"
    options = [word for word in words[2:] if word.startswith("--")]
    shown = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"}).output
    assert all(option in shown for option in options)
    assert "DynamicUser=yes" in text and "ProtectSystem=strict" in text and "NoNewPrivileges=yes" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_accepts_the_units(tmp_path):
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/samplecnn/bin/samplecnn", sys.executable))
    call = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if "samplecnn" in line]
    assert done.returncode == 0 and said == [], done.stderr
    broken = tmp_path / "samplecnn-serve.service"
    broken.write_text(broken.read_text().replace("MemoryMax=2G", "MemoryMaximum=2G"))
    done = subprocess.run([*call[:3], str(broken)], capture_output=True, text=True, timeout=60)
    assert "MemoryMaximum" in done.stderr  # it does look


def test_onnx_runtime_collects_nothing(tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed (the extra `onnx`)")
    program = (
        "import numpy, samplecnn\n"
        "print(samplecnn.Tagger('words-tiny', engine='onnx')(numpy.zeros(16000, 'float32'), sample_rate=16000).top(1))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]
