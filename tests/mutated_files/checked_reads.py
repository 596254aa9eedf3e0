"""Each function reads a file by one parser, and checks what must hold for whatever that accepts."""

import contextlib
import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from good_files import PLAN, TASK, cache_in, make_index_settings, model_of

from samplecnn import ModelConfig, model_files
from samplecnn.comparison.records import BEGUN, FAILED, FINISHED, NETWORK, RunRecord
from samplecnn.comparison.records import Records as RunRecords
from samplecnn.datasets.base import SPLITS, Table
from samplecnn.datasets.download.records import Records
from samplecnn.datasets.folder import Folder
from samplecnn.datasets.manifest import Manifest
from samplecnn.errors import SampleCNNError
from samplecnn.file_tags import read_changes
from samplecnn.index.file_list import Stamp
from samplecnn.index.journal import read_journal
from samplecnn.index.parts import files_schema
from samplecnn.index.review.answers import VERDICTS, read_answers
from samplecnn.index.settings import IndexSettings
from samplecnn.index.written import WrittenFiles
from samplecnn.interop import class_names
from samplecnn.interop.third_party import checkpoint as third_party
from samplecnn.shards.arrow_segments import ArrowSegments
from samplecnn.shards.build_folder import BuildFolder, read_built, statistics
from samplecnn.shards.build_report import STATUSES, BuildIssue
from samplecnn.shards.tfrecord.reader import TFRecordSegments, task_of
from samplecnn.system import cache
from samplecnn.system.log import printable
from samplecnn.tagging.output import Output
from samplecnn.tagging.run_journal import RunJournal
from samplecnn.tagging.writers import CsvWriter, JsonLinesWriter, Selection
from samplecnn.task import Task
from samplecnn.training.checkpoint import damage_named, load_checkpoint, restore_optimizer
from samplecnn.training.logging import read_metrics
from samplecnn.training.options import TrainOptions
from samplecnn.training.step import new_optimizer


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


def read_written(path: Path) -> None:
    index = path.parent / "index"
    index.mkdir(exist_ok=True)
    make_index_settings(index)
    shutil.copy(path, index)
    written = WrittenFiles(index)
    assert not written.has("/music/none.wav", Stamp(5, 7))
    written.apply(IndexSettings.read(index))
    assert not (index / "written.jsonl").exists()


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
