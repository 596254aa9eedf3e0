"""A Ray cluster of two nodes does what one machine does: the same files, also when workers and nodes disappear."""

import hashlib
import os
import socket
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from samplecnn.errors import AudioError, UsageError

ray = pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")

from samplecnn import build, model_files, update_index  # noqa: E402
from samplecnn.index import read_index  # noqa: E402
from samplecnn.models import ModelConfig, SampleCNN  # noqa: E402
from samplecnn.ray import TagBatch  # noqa: E402
from samplecnn.system.ray_worker import RayWorker, WorkerLost, connect  # noqa: E402
from samplecnn.tagging import worker as tagging_worker  # noqa: E402
from samplecnn.tagging.tag_files import tag_paths  # noqa: E402
from samplecnn.task import Task  # noqa: E402

RATE, WINDOW = 8000, 729


@pytest.mark.parametrize("host", ["127.0.0.1", "ray://localhost"])
def test_an_address_where_nothing_answers_is_one_line(host, monkeypatch):
    monkeypatch.setattr(ray, "init", lambda *given, **settings: pytest.fail("Ray itself tries for minutes"))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UsageError, match=rf"--ray {host}:{port}: no Ray cluster there .*refused.*; start one with ray"):
        connect(f"{host}:{port}")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with a CPU each, to which this process is connected."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
    settings = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=settings)
    made.extra = made.add_node(num_cpus=1, object_store_memory=100 << 20)
    ray.init(made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """40 short recordings of two kinds, and an untrained model."""
    folder, rng = tmp_path_factory.mktemp("ray"), np.random.default_rng(0)
    for number in range(40):
        path = folder / "sounds" / ("low" if number % 2 else "high") / f"{number:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(WINDOW * (1 + number % 3)), RATE)
    (folder / "sounds" / "low" / "39.wav").write_bytes(b"not sound")
    task = Task("sounds", ("high", "low"), "multiclass", RATE, WINDOW, None)
    model = SampleCNN(ModelConfig("basic", num_blocks=4, num_classes=2, features=4), task).eval()
    model_files.save(model, folder / "model", {})
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.arrow"))}


def tagged(recordings: Path, output: Path, **options) -> bytes:
    sounds = [str(recordings / "sounds")]
    tag_paths(str(recordings / "model"), sounds, "csv", str(output), engine="numpy", precision="fp32", **options)
    return output.read_bytes()


def test_tags_are_those_of_one_machine_though_a_worker_is_killed(cluster, recordings, tmp_path, monkeypatch):
    alone = tagged(recordings, tmp_path / "alone.csv")
    monkeypatch.setattr(tagging_worker, "FILES_PER_ORDER", 4)
    killed: list[RayWorker] = []

    class Watched(RayWorker):
        def ask(self, value, data=b""):
            for number, message in enumerate(super().ask(value, data)):
                yield message
                if "files" in value and number == 1 and not killed:
                    killed.append(self)
                    self.kill()

    monkeypatch.setattr("samplecnn.system.ray_worker.RayWorker", Watched)
    assert tagged(recordings, tmp_path / "together.csv", ray=cluster.address) == alone
    assert killed


def test_shards_are_those_of_one_machine(cluster, recordings, tmp_path):
    sizes = {"sample_rate": RATE, "window": WINDOW, "progress": False}
    sounds = str(recordings / "sounds")
    alone = build(sounds, tmp_path / "alone", workers=1, **sizes)
    together = build(sounds, tmp_path / "together", ray=cluster.address, **sizes)
    assert alone.splits == together.splits and len(together.issues) == len(alone.issues) == 1
    shards = digests(tmp_path / "together" / "sounds" / "arrow")
    assert len(shards) == 3 and shards == digests(tmp_path / "alone" / "sounds" / "arrow")


def test_an_index_is_that_of_one_machine(cluster, recordings, tmp_path):
    model, sounds = str(recordings / "model"), [str(recordings / "sounds")]
    settings = {"engine": "numpy", "precision": "fp32"}
    update_index(tmp_path / "a.index", model, sounds, **settings)
    report = update_index(tmp_path / "b.index", model, sounds, ray=cluster.address, **settings)
    assert report.new == 40 and len(report.tagged.failed) == 1
    one, other = (read_index(tmp_path / f"{name}.index") for name in "ab")
    assert repr(one.files().to_pydict()) == repr(other.files().to_pydict())


def test_the_recipe_for_ray_data_runs(cluster, recordings, tmp_path):
    pytest.importorskip("pandas", reason="ray.data needs pandas")
    page = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
    code = page.partition("```py\n")[2].partition("```")[0]
    for there, here in (("s3://bucket/recordings", recordings / "sounds"), ("s3://bucket/tags", tmp_path / "tags")):
        assert there in code
        code = code.replace(there, str(here))
    exec(compile(code.replace('"words"', repr(str(recordings / "model"))), "clusters.md", "exec"), {})
    rows = pq.read_table(tmp_path / "tags").to_pylist()
    assert len(rows) == 40 and sum(bool(row["error"]) for row in rows) == 1
    assert {row["label"] for row in rows} <= {"high", "low", ""}


def test_a_node_that_disappears_is_replaced(cluster, recordings, monkeypatch):
    files = [str(path) for path in sorted((recordings / "sounds").rglob("*.wav"))]
    monkeypatch.setattr(tagging_worker, "FILES_PER_ORDER", 4)
    tagger = tagging_worker.open_tagger(cluster.address, str(recordings / "model"), engine="numpy", precision="fp32")
    found = []
    for path, outcome in tagger.tag_files(files):
        found.append((path, outcome))
        if len(found) == 3:
            cluster.remove_node(cluster.extra)
    assert [path for path, _ in found] == files
    assert [isinstance(outcome, AudioError) for _, outcome in found].count(True) == 1


def test_a_dead_worker_process_is_told_from_a_lost_machine(cluster):
    with RayWorker("samplecnn.shards.worker:build_shard") as lost:
        lost.kill()
        with pytest.raises(WorkerLost, match="was lost with its machine"):
            list(lost.ask({}))


def test_tag_batch_adds_columns(recordings):
    paths = sorted((recordings / "sounds" / "low").glob("*.wav"))[-3:]
    tag = TagBatch(str(recordings / "model"), engine="numpy", embedding="hidden")
    found = tag({"path": np.array([str(path) for path in paths]), "other": np.arange(3)})
    assert found["scores"].shape == (3, 2) and np.isnan(found["scores"][2]).all() and found["label"][2] == ""
    assert "not audio" in found["error"][2] and found["error"][:2].tolist() == ["", ""]
    assert found["embedding"].shape[0] == 3 and found["other"].tolist() == [0, 1, 2]
    content = np.array([path.read_bytes() for path in paths], object)
    again = tag({"bytes": content, "path": np.array(["a", "b", "c"])})
    assert np.array_equal(again["scores"], found["scores"], equal_nan=True) and "bytes" not in again
    assert again["error"][2].startswith("c: ")
    with pytest.raises(UsageError, match="the batch has no column 'path'"):
        tag({"file": np.array(["x"])})
