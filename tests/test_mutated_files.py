"""Every parser on mutated files: an error is one line that names the file, nothing hangs, nothing wrong is accepted.

Each line of PARSERS is a parser, with a small file that it takes and what must hold for whatever it accepts. The checks
are independent of the rules in `samplecnn.parsing`. A mutation is given by seed, parser and number, which a failure
prints. As a program it takes many more (`make fuzz`):

    python tests/test_mutated_files.py --count 100000 --minutes 30 --seed 7
    python tests/test_mutated_files.py --parser config --seed 7 --number 4711
"""

import argparse
import contextlib
import functools
import json
import math
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samplecnn import ModelConfig, SampleCNN, model_files
from samplecnn.comparison.records import BEGUN, FAILED, FINISHED, NETWORK, RunRecord
from samplecnn.comparison.records import Records as RunRecords
from samplecnn.datasets.base import SPLITS, Clip, Table
from samplecnn.datasets.download.records import Records
from samplecnn.datasets.folder import Folder
from samplecnn.datasets.manifest import Manifest
from samplecnn.errors import AudioError, SampleCNNError
from samplecnn.file_tags import read_changes
from samplecnn.index.entry import Entry
from samplecnn.index.file_list import Stamp
from samplecnn.index.journal import FRAME, read_journal
from samplecnn.index.journal import Journal as IndexJournal
from samplecnn.index.parts import files_schema
from samplecnn.index.review.answers import VERDICTS, Answer, open_answers, read_answers
from samplecnn.index.settings import IndexSettings
from samplecnn.interop import class_names
from samplecnn.interop.keras import h5
from samplecnn.interop.third_party import checkpoint as third_party
from samplecnn.shards.arrow import ShardWriter
from samplecnn.shards.arrow_segments import ArrowSegments
from samplecnn.shards.build_folder import BuildFolder, read_built, statistics
from samplecnn.shards.build_report import STATUSES, BuildIssue, write_report
from samplecnn.shards.plan import Plan, Shard
from samplecnn.shards.tfrecord.frames import TFRecordWriter
from samplecnn.shards.tfrecord.reader import TFRecordSegments, task_of
from samplecnn.system import cache
from samplecnn.system.csv_cells import csv_row
from samplecnn.system.log import printable
from samplecnn.tagging.output import Output, Settings
from samplecnn.tagging.run_journal import RunJournal
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.writers import CsvWriter, JsonLinesWriter, Selection
from samplecnn.task import Task
from samplecnn.training.checkpoint import (
    Checkpoint,
    RunState,
    damage_named,
    load_checkpoint,
    restore_optimizer,
    save_checkpoint,
)
from samplecnn.training.logging import read_metrics
from samplecnn.training.options import TrainOptions
from samplecnn.training.step import new_optimizer

SUITE_SEED, SUITE_COUNT = 20190424, 12  # mutations of each parser in the normal tests
CPU_SECONDS, SECONDS = 10.0, 120.0  # for one mutation; work of milliseconds on a small file, on a busy machine too
MEMORY = 4 << 30  # bytes that a process may take in `make fuzz`

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


# The files. Each function makes one in an empty folder, and what belongs to it, and returns it.


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


def make_manifest(folder: Path) -> Path:
    rows = ["path,labels,split,group", "a.wav,\"['x', 'y']\",train,ann", "b/c.wav,x|y,val,bob", "d.flac,y,test,"]
    (folder / "m.csv").write_text("\n".join(rows) + "\n")
    return folder / "m.csv"


def make_parts(folder: Path) -> Path:
    rows = ["filename\tonset\toffset\tevent_label", "a.wav\t0.5\t2.25\tx", "a.wav\t3\t4\ty", "b.wav\t0\t1,5\tx"]
    (folder / "m.tsv").write_text("\n".join(rows) + "\n")
    return folder / "m.tsv"


def make_json_lines(folder: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {"audio_filepath": "a.wav", "split": "train", "offset": 0.5, "duration": 1.25, "command": "x"},
        {"audio_filepath": "b.wav", "split": "test", "command": ["x", "y"]},
        {"audio_filepath": "c.wav", "split": "val", "command": "y", "speaker": "ann"},
    ]
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder / "m.jsonl"


def make_raven(folder: Path) -> Path:
    header = "Selection\tView\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tTag"
    rows = [header, "1\tSpectrogram 1\t0.5\t2.25\ta.wav\t0.5\tx", "2\tSpectrogram 1\t63\t64\tb.wav\t3\ty"]
    (folder / "m.selections.txt").write_text("\n".join(rows) + "\n")
    return folder / "m.selections.txt"


def make_audacity(folder: Path) -> Path:
    (folder / "a.wav").touch()
    (folder / "a.txt").write_text("0.500000\t2.250000\tx\n\\\t100.0\t4000.0\n3.000000\t4.000000\ty\n")
    return folder / "a.txt"


def make_parquet(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    columns = {
        "path": ["a.wav", "b.wav", "c.wav"],
        "labels": [["x", "y"], ["x"], []],
        "split": ["train", "val", "test"],
    }
    parquet.write_table(pyarrow.table(columns), folder / "m.parquet")
    return folder / "m.parquet"


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


# What reads them, and what must hold for whatever is accepted.


@contextlib.contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cache.VARIABLE, str(folder))
        yield


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def check_task(task: Task) -> None:
    assert isinstance(task.name, str) and 1 <= len(task.classes) == len(set(task.classes)) <= 100_000
    assert all(isinstance(name, str) and name and name.encode() for name in task.classes)
    assert task.kind in ("multilabel", "multiclass") and task.padding in ("tile", "zero", "stretch")
    assert type(task.sample_rate) is int and 1 <= task.sample_rate <= 1_000_000
    assert type(task.window) is int and 1 <= task.window <= 1 << 31
    assert all(is_number(value) and math.isfinite(value) for value in (task.mean, task.std, task.threshold))
    assert task.std > 0 and 0 <= task.threshold <= 1 and (task.clip_seconds is None or task.clip_seconds > 0)
    Task.from_json(task.to_json())


def check_config(config: ModelConfig) -> None:
    assert type(config.num_blocks) is int and 1 <= config.num_blocks <= 64
    assert type(config.features) is int and 1 <= config.features <= 1 << 16
    assert type(config.multi) is type(config.tail) is bool and 0 <= config.dropout < 1
    assert is_number(config.amplifying_ratio) and math.isfinite(config.amplifying_ratio)


def check_history(history: list[dict[str, Any]]) -> None:
    from samplecnn.analysis.reporting.score_sections import learning_curves

    for row in history:
        assert isinstance(row["event"], str)
        if row["event"] == "epoch":
            assert is_count(row["stage"]) and isinstance(row["best"], bool) and is_number(row["val_loss"] or 0)
    learning_curves(history)


def read_model(path: Path) -> None:
    from samplecnn.info.model import ModelDescription

    described = ModelDescription.of(path.with_name("model.safetensors"))
    check_config(described.config)
    check_task(described.task)
    assert described.config.num_classes == 3 and described.config.features == 8
    printable("\n".join(described.lines())).encode()
    json.dumps(described.to_dict())


def read_weights(path: Path) -> None:
    stored = model_files.load_stored(path)
    assert stored.values.keys() == model_of().state_dict().keys()
    for value in stored.values.values():
        assert value.dtype == np.float32 and np.isfinite(value).all()
    assert all((value >= 0).all() for name, value in stored.values.items() if name.endswith("running_var"))
    samplecnn_output = stored.module()(torch.zeros(1, 81))
    assert samplecnn_output.shape == (1, 3)


def read_h5(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        stored = model_files.load_stored(path)
    check_config(stored.config)
    check_task(stored.task)
    assert all(np.isfinite(value).all() for value in stored.values.values())


def read_checkpoint(path: Path) -> None:
    found = load_checkpoint(path.parent)
    task, config = Task.from_dict(found.task), ModelConfig.from_dict(found.model)
    check_task(task)
    check_config(config)
    check_history(found.state.history)
    assert is_count(found.segments) and is_count(found.state.step) and isinstance(found.state.finished, bool)
    options = TrainOptions.from_dict(found.options)
    assert options.num_readers <= 4096 and isinstance(options.dataset, str)
    model = model_of()
    with damage_named(path):
        for values in (found.best, found.weights):
            if values is not None:
                model.load_state_dict(values)
        restore_optimizer(new_optimizer(model, options), found.optimizer)


def read_state_dict(path: Path) -> None:
    for value in third_party.read(path).tensors.values():
        value.float().sum()


def read_build(path: Path) -> None:
    report = read_built(path.parent, "sounds")
    check_task(report.task)
    assert set(report.splits) == set(SPLITS) and is_count(report.bytes)
    assert all(is_count(value) for count in report.splits.values() for value in count)
    assert all(row.split in SPLITS and row.status in STATUSES for row in report.issues)
    "\n".join(report.lines()).encode(errors="surrogateescape")
    BuildFolder(path.parent.parent, path.parent.name).is_built(PLAN)


def read_counts(path: Path) -> None:
    folders = BuildFolder(path.parent.parent, "arrow")
    assert len(folders.pending(PLAN)) + len(folders.counts(PLAN)) == 1
    for counts in folders.counts(PLAN):
        assert counts["split"] == "train" and len(counts["per_class"]) == 3
        if counts["samples"]:
            mean, std = statistics([counts])
            assert math.isfinite(mean) and math.isfinite(std)
        for row in counts["issues"]:
            BuildIssue(*row)


def read_history(path: Path) -> None:
    check_history(read_metrics(path.parent))


def check_segments(segments: Any, kind: str) -> None:
    check_task(segments.task)
    assert set(np.unique(segments.labels).tolist()) <= {0, 1}
    assert kind == "multilabel" or (segments.labels.sum(1) == 1).all()
    assert len(segments.ids) == len(segments.segment) == len(segments.labels)
    assert segments.labels.shape[1] == segments.task.num_classes
    sound = segments.waveforms(range(len(segments)))
    assert sound.shape == (len(segments), segments.task.window) and np.isfinite(sound).all()
    for row, number in enumerate(segments.segment.tolist()):
        assert number == 0 or (segments.ids[row - 1], number - 1) == (segments.ids[row], segments.segment[row - 1])


def read_arrow(path: Path) -> None:
    segments = ArrowSegments(path.parent, "train")
    check_segments(segments, segments.task.kind)


def read_tfrecord(path: Path) -> None:
    with contextlib.suppress(SampleCNNError):
        check_segments(TFRecordSegments(path.parent, "test", skip_corrupt=True), "multilabel")
    check_segments(TFRecordSegments(path.parent, "test"), "multilabel")


def read_tfrecord_task(path: Path) -> None:
    found = task_of(path.parent, 3, 81)
    assert found is not None
    check_task(found)


def read_manifest(path: Path) -> None:
    check_table(Manifest("m", path).table(path.parent))


def read_audacity(path: Path) -> None:
    check_table(Folder("f", path.parent).table(path.parent))


def check_table(table: Table) -> None:
    check_task(table.task)
    for clip in table.clips:
        assert clip.split in SPLITS and all(0 <= label < table.task.num_classes for label in clip.labels)
        assert isinstance(clip.id, str) and clip.id
        assert math.isfinite(clip.start) and 0 <= clip.start < (math.inf if clip.end is None else clip.end) <= math.inf


def read_lines(path: Path) -> None:
    check_done(Output(path.with_suffix(""), JsonLinesWriter).read_done(Selection(), TASK.classes), path)


def read_run_journal(path: Path) -> None:
    journal = RunJournal(path, resume=True)
    try:
        assert journal.settings is not None
    finally:
        journal.close()


def read_index_settings(path: Path) -> None:
    found = IndexSettings.read(path.parent)
    assert (
        isinstance(found.model, str) and isinstance(found.precision, str) and isinstance(found.accept_truncated, bool)
    )
    assert found.hop is None or (is_number(found.hop) and found.hop > 0)
    assert 1 <= found.hop_samples < 1 << 32 and 1 <= found.embedding_size <= 1 << 20
    assert all(isinstance(root, str) for root in found.roots) and len(set(found.task.classes)) >= 2
    files_schema(found, 1)


def read_index_journal(path: Path) -> None:
    for entry in read_journal(path, 3, 4):
        assert isinstance(entry.path, str) and entry.windows >= 0 and entry.samples >= 0
        if entry.error is None:
            assert entry.scores is not None and entry.starts is not None and entry.over_time is not None
            assert entry.embeddings is not None
            assert (len(entry.scores), entry.over_time.shape) == (3, (entry.windows, 3))
            assert len(entry.starts) == len(entry.embeddings) == entry.windows


def read_review(path: Path) -> None:
    for key, answer in read_answers(path.parent).items():
        assert key == answer.key and answer.verdict in VERDICTS and is_number(answer.start) and is_number(answer.end)
        assert 0 <= answer.score <= 1 and isinstance(answer.path, str)
        assert answer.right is None or isinstance(answer.right, bool)


def read_file_changes(path: Path) -> None:
    for change in read_changes(path):
        assert Path(change.path).is_absolute() and isinstance(change.had_tags, bool)
        for values in [*change.before.values(), *change.after.values()]:
            assert all(isinstance(text, str) for text in values)


def read_table(path: Path) -> None:
    check_done(Output(path.with_suffix(""), CsvWriter).read_done(Selection(), TASK.classes), path)


def check_done(done: Any, path: Path) -> None:
    assert 0 <= done.size <= path.stat().st_size
    assert all(isinstance(name, str) and isinstance(error, str) for name, error in done.errors.items())


def read_settings(path: Path) -> None:
    found = Output(path.with_suffix("").with_suffix(""), JsonLinesWriter).settings()
    assert found is not None and isinstance(found.engine, str) and isinstance(found.model, str)
    assert found.hop is None or (is_number(found.hop) and found.hop >= 0)
    assert found.top is None or is_count(found.top)
    with contextlib.suppress(SampleCNNError):
        found.resumed_with(found)


def read_cache(path: Path) -> None:
    with cache_in(path.parent):
        found = cache.recall("rates", {"cpu": "x"}, lambda value: isinstance(value, dict))
    assert found is None or isinstance(found, dict)


def read_toml(path: Path) -> None:
    import typer

    from samplecnn.cli.app import app
    from samplecnn.cli.config_file import read_config

    assert set(read_config(str(path), typer.main.get_command(app))) <= {"train", "analyze"}


def read_names(path: Path) -> None:
    found = class_names.class_names(str(path), 3, path)
    assert len(set(found)) == 3 and all(found)


def read_record(path: Path) -> None:
    found = Records(path.parent).read("a")
    assert isinstance(found, dict) and is_count(found.get("bytes", 0)) and isinstance(found.get("into", ""), str)


def read_run_record(path: Path) -> None:
    wanted = RunRecord(NETWORK, {"block": "se", "seed": 1}, "ab12")
    found = RunRecords(path.parent).find(wanted)
    assert found.id == wanted.id and found.status in (BEGUN, FINISHED, FAILED)
    assert all(is_number(value) for value in (found.scores.get("accuracy") or 0, found.seconds or 0, found.macs or 0))


@dataclass(frozen=True)
class Parser:
    """A parser: `make` writes a good file, `read` reads it and checks what it holds; `file` if another is mutated.

    `share` is the share of mutations in a long run, for parsers that take long.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], None]
    file: str = ""
    share: float = 1.0
    mutate: Callable[[Path, random.Random], None] | None = None


def mutate_checkpoint(path: Path, rng: random.Random) -> None:
    """Other values in a file that is whole: flipped bits alone would only meet the zip's checksums."""
    values = {**vars(checkpoint_of()), "state": vars(RunState(epoch=1, history=[EPOCH])), "format_version": 1}
    for _ in range(rng.choice((1, 1, 2))):
        values = changed_value(values, rng)
    torch.save(values, path)


def mutate_journal(path: Path, rng: random.Random) -> None:
    """Other values under a checksum that is right, in most cases."""
    if rng.random() < 0.3:
        mutate(path, rng)
        return
    data = path.read_bytes()
    mark, head_length, raw_length, _ = FRAME.unpack(data[: FRAME.size])
    first, end = FRAME.size + head_length, FRAME.size + head_length + raw_length
    values, raw = changed_value(json.loads(data[FRAME.size : first]), rng), data[first:end]
    head = json.dumps(values).encode()
    frame = FRAME.pack(mark, len(head), len(raw), zlib.crc32(raw, zlib.crc32(head)))
    path.write_bytes(frame + head + raw + data[end:])


PARSERS = {
    "config": Parser(make_model, read_model),
    "weights": Parser(make_weights, read_weights, share=0.5),
    "keras": Parser(make_h5, read_h5, share=0.01),
    "checkpoint": Parser(make_checkpoint, read_checkpoint, share=0.3),
    "checkpoint values": Parser(make_checkpoint, read_checkpoint, share=0.2, mutate=mutate_checkpoint),
    "state dict": Parser(make_state_dict, read_state_dict, share=0.3),
    "build": Parser(make_built, read_build),
    "build task": Parser(make_built, read_build, file="task.json"),
    "build report": Parser(make_built, read_build, file="report.csv"),
    "shard counts": Parser(make_counts, read_counts),
    "metrics": Parser(make_metrics, read_history),
    "arrow": Parser(make_arrow, read_arrow),
    "tfrecord": Parser(make_tfrecord, read_tfrecord),
    "tfrecord task": Parser(make_tfrecord, read_tfrecord_task, file="task.json"),
    "manifest": Parser(make_manifest, read_manifest),
    "parquet": Parser(make_parquet, read_manifest),
    "parts": Parser(make_parts, read_manifest),
    "json_lines": Parser(make_json_lines, read_manifest),
    "raven": Parser(make_raven, read_manifest),
    "audacity": Parser(make_audacity, read_audacity),
    "tags as lines": Parser(make_lines, read_lines),
    "tags as table": Parser(make_table, read_table),
    "run journal": Parser(make_run_journal, read_run_journal),
    "index settings": Parser(make_index_settings, read_index_settings),
    "index journal": Parser(make_index_journal, read_index_journal, mutate=mutate_journal),
    "review": Parser(make_answers, read_review),
    "file tags": Parser(make_changes, read_file_changes),
    "tag settings": Parser(make_settings, read_settings),
    "cache": Parser(make_cache, read_cache),
    "options": Parser(make_toml, read_toml, share=0.1),
    "class names": Parser(make_names, read_names),
    "download record": Parser(make_record, read_record),
    "run record": Parser(make_run_record, read_run_record),
}

# Mutations.

JUNK: tuple[Any, ...] = (
    *(0, -1, 1, 2, 8, 255, 1000, 10**7, 10**9, 2**31, 2**63, 10**30, 10**400, -(10**12), 0.5, -0.5, 1e-300, 1e300),
    *(math.nan, math.inf, -math.inf, True, False, None, "", "8", "x", "a\nb", "\x1b[2J", "\ud800", "x" * 5000, "../.."),
    *([], {}, [[]], [None], ["x"], [1, 2, 3], {"x": 1}, {"": None}, [[1, "x"]], "nan", "1e9", "train", "\0"),
)
WORDS = (
    *(
        b"0",
        b"-1",
        b"1e9",
        b"1e400",
        b"9" * 30,
        b"9" * 5000,
        b"NaN",
        b"Infinity",
        b"null",
        b"true",
        b'"8"',
        b"[]",
        b"{}",
    ),
    *(
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b'"',
        b"\\",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b",",
    ),
    *(b"\\ud800", b"x" * 200_000, b";", b"|", b"\t", b"=", b"['a'", b"\x80\x80\x80\x80"),
)


def changed_value(value: Any, rng: random.Random) -> Any:
    """A copy of plain values with one of them, at any depth, replaced, removed or repeated."""
    if isinstance(value, dict) and value and rng.random() < 0.92:
        key = rng.choice(list(value))
        action = rng.random()
        if action < 0.08:
            return {name: item for name, item in value.items() if name != key}
        if action < 0.12:
            return {**value, rng.choice(("x", "", "new", "__class__")): rng.choice(JUNK)}
        return {**value, key: changed_value(value[key], rng)}
    if isinstance(value, list | tuple) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        action = rng.random()
        if action < 0.1:
            return [*value[:at], *value[at + 1 :]]
        if action < 0.2:
            return [*value, value[at]]
        return [*value[:at], changed_value(value[at], rng), *value[at + 1 :]]
    return rng.choice(JUNK)


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """One mutation of bytes of any format."""
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 50, 1000)))
    action = rng.randrange(10)
    if action < 3 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if action == 3:
        return data[:at] + rng.randbytes(end - at) + data[end:]
    if action == 4:
        return data[:at]
    if action == 5:
        return data[:at] + data[end:]
    if action == 6:
        return data[:at] + data[at:end] * rng.choice((2, 3, 50)) + data[end:]
    if action == 7:
        number = rng.choice((0, 1, 127, 255, 65535, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1))
        return data[:at] + number.to_bytes(8, "little")[: rng.choice((1, 2, 4, 8))] + data[end:]
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?|\"[^\"]*\"", data[:100_000]))
    if action == 8 and numbers:
        found = rng.choice(numbers)
        return data[: found.start()] + rng.choice(WORDS) + data[found.end() :]
    return data[:at] + rng.choice(WORDS) + data[end if rng.random() < 0.5 else at :]


def mutate(path: Path, rng: random.Random) -> None:
    """Changes a file: JSON and lines of it also by their values."""
    data = path.read_bytes()
    if path.suffix in (".json", ".jsonl", ".part") and rng.random() < 0.6:
        with contextlib.suppress(ValueError):
            lines = [json.loads(line) for line in data.splitlines() if line]
            if path.suffix == ".json" and len(lines) != 1:
                lines = [json.loads(data)]
            at = rng.randrange(len(lines))
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                lines[at] = changed_value(lines[at], rng)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            return
    if path.suffix == ".json" and len(data) > 40 and data[:1] == b"{" and b"\n" in data:
        with contextlib.suppress(ValueError):
            value = json.loads(data)
            if rng.random() < 0.5:
                path.write_text(json.dumps(changed_value(value, rng)))
                return
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = changed_bytes(data, rng)
    path.write_bytes(data)


class Hang(BaseException):
    """Not an Exception, so that no parser takes it for damage."""


def fault(name: str, whole: Path, folder: Path, seed: int, number: int) -> str:
    """What goes wrong with a mutation; "" where it is read, or refused as it should be."""
    parser = PARSERS[name]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    path = folder / MADE[name]
    (parser.mutate or mutate)(path, random.Random(f"{seed} {name} {number}"))

    def stop(*_: Any) -> None:
        raise Hang

    timers = ((signal.SIGALRM, signal.ITIMER_REAL, SECONDS), (signal.SIGPROF, signal.ITIMER_PROF, CPU_SECONDS))
    usual = [signal.signal(kind, stop) for kind, _, _ in timers]
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            parser.read(path)
    except SampleCNNError as error:
        if isinstance(error.__cause__, AssertionError):
            return f"an assertion inside: {error}"
        text = str(error)
        named = str(folder) in text
        return (
            "" if named and "\n" not in text and len(text) < 3000 else f"a message that is not one line: {text!r:.900}"
        )
    except Hang:
        return f"takes more than {CPU_SECONDS:g} s of computation or {SECONDS:g} s in all"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        ours = [one for one in traceback.extract_tb(error.__traceback__) if "samplecnn" in one.filename] or [frame]
        kind = "wrong accept" if isinstance(error, AssertionError) else "traceback"
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {Path(frame.filename).name}:{frame.lineno}"
        return f"{kind}: {type(error).__name__}: {str(error)[:200]!r} at {where}"
    finally:
        for (kind, timer, _), handler in zip(timers, usual, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(kind, handler)
    return ""


MADE: dict[str, Path] = {}  # of each parser: the mutated file, relative to its folder


def make_whole(name: str, folder: Path) -> Path:
    """A folder with the good files of a parser, which it reads."""
    parser = PARSERS[name]
    whole = folder / f"whole {name}"
    whole.mkdir()
    path = parser.make(whole)
    path = path.with_name(parser.file) if parser.file else path
    MADE[name] = path.relative_to(whole)
    parser.read(path)
    return whole


def reproduced_by(name: str, seed: int, number: int) -> str:
    return f"python tests/test_mutated_files.py --parser {name!r} --seed {seed} --number {number}"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.parametrize("name", PARSERS)
def test_mutated_files_are_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    whole = make_whole(name, tmp_path)
    for number in range(max(2, round(SUITE_COUNT * PARSERS[name].share))):
        found = fault(name, whole, tmp_path / "mutated", SUITE_SEED, number)
        assert not found, f"{found}\n{reproduced_by(name, SUITE_SEED, number)}"


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--count", type=int, default=100_000, help="mutations, over all parsers")
    options.add_argument("--minutes", type=float, default=math.inf, help="stop after that time")
    options.add_argument("--seed", type=int, default=None, help="default: a new one, which is printed")
    options.add_argument("--parser", choices=list(PARSERS))
    options.add_argument("--number", type=int, help="only this mutation, with its traceback")
    chosen = options.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if chosen.seed is None else chosen.seed
    with contextlib.suppress(ImportError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY + (8 << 30), resource.RLIM_INFINITY))
    torch.set_num_threads(1)
    names = [chosen.parser] if chosen.parser else list(PARSERS)
    with tempfile.TemporaryDirectory() as made:
        whole = {name: make_whole(name, Path(made)) for name in names}
        folder = Path(made) / "mutated"
        if chosen.number is not None:
            print(fault(names[0], whole[names[0]], folder, seed, chosen.number) or "no fault")
            PARSERS[names[0]].read(folder / MADE[names[0]])
            return 0
        print(f"seed {seed}", flush=True)
        begun, done, found = time.monotonic(), 0, Counter[str]()
        taken, slowest = Counter[str](), dict.fromkeys(names, 0.0)
        total = sum(PARSERS[name].share for name in names)
        wanted = {name: math.ceil(chosen.count * PARSERS[name].share / total) for name in names}
        for number in range(max(wanted.values())):
            for name in names:
                if number >= wanted[name] or time.monotonic() - begun > 60 * chosen.minutes:
                    continue
                started = time.monotonic()
                problem = fault(name, whole[name], folder, seed, number)
                slowest[name] = max(slowest[name], time.monotonic() - started)
                done, taken[name] = done + 1, taken[name] + 1
                if problem:
                    kind = f"{name}: {re.sub(r'[0-9]{6,}', 'N', problem)}"
                    found[kind] += 1
                    if found[kind] == 1:
                        print(f"{name}: {problem}\n    {reproduced_by(name, seed, number)}", flush=True)
    for name in names:
        print(f"{name:18} {taken[name]:7,} mutations, the slowest {slowest[name]:.2f} s")
    print(
        f"{done:,} mutations in {time.monotonic() - begun:.0f} s, seed {seed}: {sum(found.values())} faults", flush=True
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
