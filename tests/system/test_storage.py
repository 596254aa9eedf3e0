"""Recordings and shards in object storage, read from a server that speaks S3: a small one here, and moto.

For moto, SAMPLECNN_MOTO or `.venv-moto` in the checkout: a Python interpreter with moto[s3], flask and flask-cors.
"""

import csv
import importlib.util
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from samplecnn import build, model_files
from samplecnn.audio import decode
from samplecnn.errors import AudioError, SampleCNNError, UsageError
from samplecnn.index import read_index, update_index
from samplecnn.shards import open_split
from samplecnn.system import storage
from samplecnn.tagging import Tagger
from samplecnn.tagging.tag_files import tag_paths
from samplecnn.task import Task

pytest.importorskip("torch", reason="a model is made with PyTorch here")

RATE, WINDOW = 8000, 729
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}

_spec = importlib.util.spec_from_file_location("s3_server", Path(__file__).with_name("s3_server.py"))
s3_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(s3_server)


@pytest.fixture(scope="module")
def content(built, tmp_path_factory) -> Path:
    """Folders that become buckets: "lake" with recordings, shards and a model's data, "secret" that is not readable."""
    root = tmp_path_factory.mktemp("buckets")
    for kind in ("high", "low"):
        for number in range(4):
            target = root / "lake" / "sounds" / kind / f"{number}.wav"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(built / "sounds" / kind / f"{number}.wav", target)
    (root / "lake" / "sounds" / "readme.txt").write_text("no sound")
    (root / "lake" / "sounds" / "low" / "broken.wav").write_bytes(b"not sound")
    shutil.copytree(built / "data" / "sounds", root / "lake" / "data" / "sounds")
    (root / "secret").mkdir()
    return root


@pytest.fixture(scope="module", params=["small", "moto"])
def bucket(request, content, tmp_path_factory):
    """The environment of a client of the server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("SAMPLECNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        if request.param == "small":
            server = s3_server.serve(content)
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
            yield request.param
            server.shutdown()
            return
        process, address = moto()
        patch.setenv("AWS_ENDPOINT_URL", address)
        try:
            upload(content / "lake", address)
            yield request.param
        finally:
            process.kill()


def moto():
    python = Path(os.environ.get("SAMPLECNN_MOTO") or Path(__file__).parents[2] / ".venv-moto" / "bin" / "python")
    if not python.exists():
        pytest.skip(f"no moto at {python}; set SAMPLECNN_MOTO to a Python interpreter that has it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [python, "-m", "moto.server", "-p", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/moto-api/", timeout=5).read()
            return process, address
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise AssertionError("moto does not start")


def upload(folder: Path, address: str) -> None:
    from pyarrow.fs import LocalFileSystem, S3FileSystem, copy_files

    scheme, _, host = address.partition("://")
    server = S3FileSystem(endpoint_override=host, scheme=scheme, region="us-east-1", allow_bucket_creation=True)
    server.create_dir(folder.name)
    copy_files(str(folder), folder.name, source_filesystem=LocalFileSystem(), destination_filesystem=server)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    from samplecnn.models import ModelConfig, SampleCNN  # needs PyTorch

    folder = tmp_path_factory.mktemp("model")
    task = Task("sounds", ("high", "low"), "multiclass", RATE, WINDOW, None)
    model_files.save(SampleCNN(ModelConfig("basic", num_blocks=4, num_classes=2, features=4), task), folder, {})
    return str(folder)


def test_a_recording_is_decoded_in_place(bucket, content):
    local = decode(content / "lake" / "sounds" / "low" / "1.wav", RATE)
    assert np.array_equal(decode("s3://lake/sounds/low/1.wav", RATE), local)
    assert np.array_equal(decode(Path("s3://lake/sounds/low/1.wav"), RATE), local)
    with pytest.raises(AudioError, match=r"^s3://lake/sounds/low/no\.wav: no such file; check the path$"):
        decode("s3://lake/sounds/low/no.wav", RATE)


def test_folders_are_tagged_and_resumed(bucket, content, model, tmp_path):
    where = {"output": str(tmp_path / "tags.csv"), "engine": "numpy", "precision": "fp32"}
    report = tag_paths(model, ["s3://lake/sounds"], "csv", **where)
    with (tmp_path / "tags.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert report.files == len(rows) == 9 and [path for path, _ in report.failed] == ["s3://lake/sounds/low/broken.wav"]
    local = Tagger(model, engine="numpy")(str(content / "lake" / "sounds" / "high" / "0.wav"))
    assert rows[0]["path"] == "s3://lake/sounds/high/0.wav"
    assert float(rows[0]["high"]) == pytest.approx(float(local.scores[0]), abs=1e-4)


def test_an_index_sees_what_is_new(bucket, model, tmp_path):
    index = tmp_path / "lake.index"
    first = update_index(index, model, ["s3://lake/sounds/high"], engine="numpy", precision="fp32")
    again = update_index(index, engine="numpy")
    assert (first.new, again.new, again.unchanged) == (4, 0, 4)
    assert read_index(index).files().column("path").to_pylist()[0] == "s3://lake/sounds/high/0.wav"


def test_a_manifest_names_recordings_in_a_bucket(bucket, tmp_path):
    rows = [f"s3://lake/sounds/{kind}/{number}.wav,{kind}" for kind in ("high", "low") for number in range(4)]
    (tmp_path / "lake.csv").write_text("\n".join(["path,label", *rows, "s3://lake/sounds/no.wav,low"]) + "\n")
    report = build(
        str(tmp_path / "lake.csv"), tmp_path / "data", workers=1, sample_rate=RATE, window=WINDOW, progress=False
    )
    assert sum(count.clips for count in report.splits.values()) == 8
    assert [issue.reason for issue in report.issues] == ["no such file; check the path"]


def test_shards_are_copied_once(bucket, built, monkeypatch):
    source = str(built / "sounds")
    remote = open_split(source, "s3://lake/data", "train")
    local = open_split(source, built / "data", "train")
    assert np.array_equal(remote.gather(range(len(local))), local.gather(range(len(local))))
    monkeypatch.setattr(storage.RemoteFile, "read_at", None)  # nothing is copied again
    assert len(open_split(source, "s3://lake/data/", "val")) > 0
    with pytest.raises(UsageError, match=r"^s3://lake/other/sounds/arrow: no shards there"):
        open_split(source, "s3://lake/other", "train")
    with pytest.raises(UsageError, match="shards are built in a local folder"):
        build(source, "s3://lake/data")


def test_what_is_wrong_is_said_in_one_line(bucket, model, monkeypatch):
    with pytest.raises(
        (SampleCNNError, UsageError), match=r"s3://nothing/here\S*: (there is no bucket nothing|no recordings)"
    ):
        tag_paths(model, ["s3://nothing/here"])
    if bucket == "small":
        with pytest.raises(SampleCNNError, match=r"^s3://secret/a\.wav: access is denied; set AWS_ACCESS_KEY_ID"):
            storage.status("s3://secret/a.wav")


def test_a_server_that_is_not_there(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(
            SampleCNNError, match=r"^s3://lake/a\.wav: the storage cannot be reached; check the network"
        ):
            storage.status("s3://lake/a.wav")


def test_names_in_object_storage_are_recognised():
    assert storage.is_remote("s3://a/b") and storage.is_remote(Path("s3://a/b")) and storage.is_remote("gs://a/b")
    assert not any(map(storage.is_remote, ("s3", "/s3://a", "s3:", "a/s3:/b", b"s3://a", 3)))
    assert storage.address(Path("s3://a/b")) == "s3://a/b"
