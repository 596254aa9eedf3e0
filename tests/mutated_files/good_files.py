"""A small good file for every parser: each function makes one in an empty folder, with what it needs."""

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from samplecnn import ModelConfig, SampleCNN, model_files
from samplecnn.comparison.records import FINISHED, NETWORK, RunRecord
from samplecnn.comparison.records import Records as RunRecords
from samplecnn.datasets.base import Clip
from samplecnn.errors import AudioError
from samplecnn.index.entry import Entry
from samplecnn.index.file_list import Stamp
from samplecnn.index.journal import Journal as IndexJournal
from samplecnn.index.review.answers import Answer, open_answers
from samplecnn.index.settings import IndexSettings
from samplecnn.interop.keras import h5
from samplecnn.shards.arrow import ShardWriter
from samplecnn.shards.build_report import BuildIssue, write_report
from samplecnn.shards.plan import Plan, Shard
from samplecnn.shards.tfrecord.frames import TFRecordWriter
from samplecnn.system import cache
from samplecnn.system.csv_cells import csv_row
from samplecnn.tagging.output import Settings
from samplecnn.tagging.run_journal import RunJournal
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.writers import CsvWriter, Selection
from samplecnn.task import Task
from samplecnn.training.checkpoint import Checkpoint, RunState, save_checkpoint
from samplecnn.training.options import TrainOptions
from samplecnn.training.step import new_optimizer

TASK = Task("sounds", ("high", "low", "noise"), "multiclass", 8000, 81, 0.03, 0.01, 0.2, 0.3, "zero", (0.2, 0.3, 0.4))
CONFIG = ModelConfig("se", num_blocks=2, num_classes=3, features=8)
EPOCH = {
    **{"event": "epoch", "stage": 1, "epoch": 1, "total_steps": 9, "lr": 0.01, "train_loss": 1.5, "val_loss": 1.25},
    **{"val_roc_auc": 0.75, "val_accuracy": 0.5, "best": True, "segments_per_second": 99.5, "seconds": 2.5},
}
TEST = {"event": "test", "stage": 1, "total_steps": 9, "roc_auc": 0.75, "pr_auc": None, "accuracy": 0.5, "f1": 0.25}
BUILT = {
    "fingerprint": "ab12",
    "splits": {"train": [2, 4, 1], "val": [1, 2, 0], "test": [0, 0, 0]},
    "notes": ["the test split is empty: there will be no final scores"],
    "files": {"train-00001-of-00001.arrow": 4711},
}
COUNTS = {
    **{"split": "train", "clips": 2, "segments": 4, "per_class": [1, 1, 0], "samples": 324, "sum": 50, "squares": 9000},
    **{"issues": [["a.wav", "train", "skipped", "empty"], ["b.wav", "train", "kept", "0.5 s"]], "bytes": 6},
}
SHARD = "train-00001-of-00001.arrow"
PLAN = Plan(
    TASK,
    "arrow",
    True,
    (Shard(SHARD, "train", (Clip("a", Path("a"), "train", (0,)), Clip("b", Path("b"), "train", (1,)))),),
    (),
    "ab12",
    6,
)


def model_of(seed: int = 0) -> SampleCNN:
    torch.manual_seed(seed)
    return SampleCNN(CONFIG, TASK).eval()


def make_model(folder: Path) -> Path:
    training = {"epoch": 3, "options": {"lr": 0.01, "init_from": None}}
    model_files.save(model_of(), folder, training)
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["calibration"] = {"scale": [1.0, 0.5, 2.0], "shift": [0.0, 0.1, -0.1]}
    path.write_text(json.dumps(values))
    return path


def make_weights(folder: Path) -> Path:
    return make_model(folder).with_name("model.safetensors")


def make_h5(folder: Path) -> Path:
    h5.write(model_of(), folder / "m.h5")
    return folder / "m.h5"


@functools.cache
def checkpoint_of() -> Checkpoint:
    model, options = model_of(), TrainOptions("sounds")
    optimizer = new_optimizer(model, options)
    model.train()(torch.randn(4, 81)).sum().backward()
    optimizer.step()
    state = RunState(stage=0, epoch=1, history=[EPOCH, TEST])
    weights = model.state_dict()
    description = {"options": options.to_dict(), "model": CONFIG.to_dict(), "task": TASK.to_dict()}
    return Checkpoint(
        **description, segments=9, precision="fp32", state=state, weights=weights, best=weights,
        optimizer=optimizer.state_dict(), random_state=torch.get_rng_state(),
    )  # fmt: skip


def make_checkpoint(folder: Path) -> Path:
    save_checkpoint(folder, checkpoint_of())
    return folder / "checkpoint.pt"


def make_state_dict(folder: Path) -> Path:
    torch.save({"state_dict": model_of().state_dict(), "hparams": {"lr": 0.1}}, folder / "m.pt")
    return folder / "m.pt"


def make_built(folder: Path) -> Path:
    (folder / "build.json").write_text(json.dumps(BUILT))
    (folder / "task.json").write_text(TASK.to_json())
    issues = [BuildIssue("a, b.wav", "train", "skipped", 'it "is" empty'), BuildIssue("=c", "val", "kept", "0.5 s")]
    write_report(folder / "report.csv", issues)
    return folder / "build.json"


def make_counts(folder: Path) -> Path:
    (folder / "arrow.building").mkdir()
    (folder / "arrow.building" / SHARD).write_bytes(b"123456")
    path = folder / "arrow.building" / f"{SHARD}.json"
    path.write_text(json.dumps(COUNTS))
    return path


def make_metrics(folder: Path) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (EPOCH, EPOCH, TEST)))
    return folder / "metrics.jsonl"


def clips() -> Iterator[tuple[str, list[int], np.ndarray]]:
    rng = np.random.default_rng(0)
    for number in range(4):
        yield f"clip {number}", [number % 3], rng.integers(-9000, 9000, (2, 81), np.int16)


def make_arrow(folder: Path) -> Path:
    with ShardWriter(folder / SHARD, TASK) as writer:
        for clip in clips():
            writer.add(*clip)
    return folder / SHARD


def make_tfrecord(folder: Path) -> Path:
    path = folder / "test-0001-0001.tfrecord"
    (folder / "task.json").write_text(TASK.to_json())
    with TFRecordWriter(path, TASK, whole_clips=True) as writer:
        for clip in clips():
            writer.add(*clip)
    return path


def make_lines(folder: Path) -> Path:
    rows = [{"path": f"{name}.wav", "tags": {"high": 0.5, "low": 0.25, "noise": 0.25}} for name in "abc"]
    (folder / "o.jsonl.part").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "o.jsonl.part"


def make_table(folder: Path) -> Path:
    header = CsvWriter.header(Selection(), TASK.classes)
    cells = {"high": "0.5", "low": "0.25", "noise": "0.25"}
    rows = [[path, *(cells.get(name, "") for name in header[1:])] for path in ("a.wav", "b,\n.wav", "=c.wav")]
    (folder / "o.csv.part").write_text("".join(map(csv_row, [header, *rows])))
    return folder / "o.csv.part"


def make_settings(folder: Path) -> Path:
    values = {"engine": "numpy", "precision": "fp32", "hop": 0.5, "model": "ab12", "top": 3, "threshold": 0.5}
    (folder / "o.jsonl.part.json").write_text(json.dumps({**values, "over_time": False, "notes": True}))
    return folder / "o.jsonl.part.json"


def make_run_journal(folder: Path) -> Path:
    path = folder / "unfinished.tags"
    path.touch()
    (folder / "a.wav").write_bytes(b"sound")
    journal = RunJournal(path, resume=False)
    journal.begin(Settings("numpy", "fp32", over_time=False), TASK.classes, "hidden", "[]", [str(folder / "a.wav")])
    scores = np.array([[0.5, 0.25, 0.25]] * 2, np.float32)
    journal.add(str(folder / "a.wav"), Tags(TASK, scores, np.arange(2) * 81, 162, embeddings=scores[:, :2]))
    journal.close()
    return path


def make_index_settings(folder: Path) -> Path:
    made_by = {"samplecnn": "0.1.0", "engine": "numpy", "precision": "fp32", "hop": 0.5}
    IndexSettings("words", "ab12" * 16, TASK, "fp32", 0.5, 4000, "hidden", 4, True, ("/music", "/more"), made_by).write(
        folder
    )
    return folder / "settings.json"


def make_index_journal(folder: Path) -> Path:
    path = folder / "journal-000001.bin"
    journal = IndexJournal(path)
    scores = np.array([[0.5, 0.25, 0.25]] * 2, np.float32)
    tags = Tags(TASK, scores, np.arange(2) * 81, 162, embeddings=np.ones((2, 4), np.float32))
    for name, outcome in (("a", tags), ("b", AudioError("/music/b.wav: empty, 0 bytes")), ("c", tags)):
        journal.add(Entry.of(f"/music/{name}.wav", Stamp(5, 7), "ab" * 32, "numpy fp32", outcome))
    journal.close()
    return path


def make_answers(folder: Path) -> Path:
    with open_answers(folder) as answers:
        for number, verdict in enumerate(("accept", "reject", "relabel", "skip")):
            label = "low" if verdict == "relabel" else None
            answers.add(Answer("high", verdict, "ab" * 32, 0.5 * number, 0.5 * number + 1, label, "/a.wav", 0.7))
        answers.undo()
    return folder / "review.jsonl"


def make_written(folder: Path) -> Path:
    entries = [{"path": f"/music/{name}.wav", "size": 5, "mtime_ns": 7, "sha256": "ab" * 32} for name in "aüc"]
    (folder / "written.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder / "written.jsonl"


def make_changes(folder: Path) -> Path:
    change = {"path": "/music/a.mp3", "before": {"GENRE": []}, "after": {"GENRE": ["Rain", "ü"]}, "had_tags": True}
    (folder / "j.jsonl").write_text(json.dumps(change) + "\n" + json.dumps({**change, "path": "/music/b.mp3"}) + "\n")
    return folder / "j.jsonl"


def make_cache(folder: Path) -> Path:
    with cache_in(folder):
        cache.remember("rates", {"cpu": "x"}, {"fp32": 1.0}, lambda value: isinstance(value, dict))
    [path] = folder.iterdir()
    return path


def make_toml(folder: Path) -> Path:
    (folder / "c.toml").write_text("[train]\nlr = 0.02\nbatch-size = 46\nmulti = true\n[analyze.filters]\nsteps = 12\n")
    return folder / "c.toml"


def make_names(folder: Path) -> Path:
    (folder / "classes.txt").write_text("high\nlow\nnoise\n")
    return folder / "classes.txt"


def make_record(folder: Path) -> Path:
    values = {"fetched": True, "bytes": 12, "changed": 99, "into": "x", "keep": False, "files": [["a.wav", 7]]}
    (folder / "a.json").write_text(json.dumps(values))
    return folder / "a.json"


def make_run_record(folder: Path) -> Path:
    record = RunRecord(
        NETWORK, {"block": "se", "seed": 1}, "ab12", FINISHED, "run", "", {"accuracy": 0.5}, 9, 99, 1.5, 2.5
    )
    RunRecords(folder).save(record)
    return folder / f"{record.id}.json"


@contextlib.contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cache.VARIABLE, str(folder))
        yield
