"""What files may hold: a value that cannot be is named with its file, and costs nothing; no pipe is waited for."""

import dataclasses
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samplecnn import ModelConfig, SampleCNN, Task, model_files, task
from samplecnn.datasets.manifest import Manifest
from samplecnn.errors import SampleCNNError
from samplecnn.interop.class_names import class_names
from samplecnn.models import config, logmel
from samplecnn.parsing import (
    choice,
    fields,
    find_object,
    flag,
    list_of,
    number,
    or_null,
    read_object,
    row_of,
    shown,
    table_of,
    text,
    whole,
)
from samplecnn.shards.arrow import ShardWriter
from samplecnn.shards.arrow_segments import ArrowSegments
from samplecnn.shards.build_folder import read_built
from samplecnn.shards.build_report import write_report
from samplecnn.shards.tfrecord.reader import TFRecordSegments
from samplecnn.tagging.output import SETTINGS, Output, Settings
from samplecnn.tagging.writers import CsvWriter
from samplecnn.training.checkpoint import load_checkpoint
from samplecnn.training.logging import read_metrics

TASK = Task("sounds", ("high", "low"), "multiclass", 8000, 81)


def refusal(work: Callable[[], Any]) -> str:
    with pytest.raises(SampleCNNError) as error:
        work()
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    return str(error.value)


@pytest.mark.parametrize(
    ("rule", "good", "wrong"),
    [
        (whole(1, 50), [1, 50, np.int64(7)], [0, 51, "8", 8.0, True, None, 10**400]),
        (number(0, 1), [0, 1, 0.5], [-0.1, 1.1, math.nan, math.inf, "0.5", False, 10**400]),
        (number(0, above=True), [1e-9, 7], [0, -1]),
        (text(3), ["", "abc"], ["abcd", 7, None, "\ud800"]),
        (choice("a", "b"), ["a"], ["c", 1, ["a"]]),
        (flag(), [True, False], [0, 1, "true"]),
        (or_null(flag()), [None, True], [0]),
        (list_of(whole(0, 9), 2), [[], [1, 2], (3,)], [[1, 2, 3], "12", {"a": 1}, [10], 5]),
        (row_of(flag(), text(1)), [[True, "x"]], [[True], [True, "x", 1], ["x", True], "ab"]),
        (table_of(flag()), [{}, {"a": True}], [[], {"a": 1}, {7: True}]),
        (
            fields({"a": flag(), "b": flag()}, ["b"]),
            [{"a": True}, {"a": True, "c": 7}],
            [{}, {"a": 1}, {"b": True}, []],
        ),
    ],
)
def test_rules(rule: Any, good: list[Any], wrong: list[Any]) -> None:
    assert [rule(value, "key") for value in good] == [""] * len(good)
    for value in wrong:
        problem = rule(value, "key")
        assert problem and "key" in problem and "\n" not in problem and len(problem) < 200, (value, problem)


def test_every_field_has_a_rule() -> None:
    """`from_dict` drops a key that has none."""
    all_rules = {
        ModelConfig: [*config.RULES, "logmel"],
        logmel.LogMel: logmel.RULES,
        Task: task.RULES,
        Settings: SETTINGS,
    }
    for kind, rules in all_rules.items():
        assert list(rules) == [field.name for field in dataclasses.fields(kind)]


def test_wrong_values_are_shown_in_a_few_characters() -> None:
    for value in ("x" * 10**6, [[1] * 100] * 100, 10**10_000, {"a": "\n\x1b[2J"}):
        assert len(shown(value)) <= 60 and shown(value).isprintable()


def test_keys_are_named_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    rule = fields({"a": list_of(fields({"b": flag()}))})
    path.write_text('{"a": [{"b": true}, {"b": 3}]}')
    message = refusal(lambda: read_object(path, "make it again", rule))
    assert message == f"{path}: a[1].b must be true or false, not 3; make it again"
    assert find_object(path, rule) is None and find_object(tmp_path / "none.json", rule) is None
    path.write_text('{"a": []}')
    assert find_object(path, rule) == {"a": []}


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "many blocks": (
        lambda v: v["model"].update(num_blocks=10**9),
        "model.num_blocks must be a whole number from 1 to 32",
    ),
    "wide": (lambda v: v["model"].update(features=10**7), "model.features must be a whole number"),
    "a text": (lambda v: v["model"].update(features="8"), "model.features must be a whole number .*, not '8'"),
    "a flag": (lambda v: v["model"].update(multi="no"), "model.multi must be true or false"),
    "NaN": (lambda v: v["model"].update(dropout=math.nan), "model.dropout must be a finite number"),
    "no object": (lambda v: v.update(model=7), "model must be an object, not 7"),
    "task": (lambda v: v.update(task=7), "task must be an object, not 7"),
    "rate": (lambda v: v["task"].update(sample_rate=-1), "task.sample_rate must be a whole number"),
    "classes": (lambda v: v["task"].update(classes=["high", 7]), r"task.classes\[1\] must be a text"),
    "version": (lambda v: v.update(format_version="1"), "format_version must be a whole number"),
    "newer": (lambda v: v.update(format_version=9), "format 9 is newer than this samplecnn"),
    "training": (lambda v: v.update(training=["x"]), "training must be an object"),
    "options": (lambda v: v.update(training={"options": 5}), "training.options must be an object"),
    "hash": (lambda v: v.update(sha256=5), "sha256 must be a text"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_config(name: str, tmp_path: Path) -> None:
    from samplecnn.info.model import ModelDescription

    change, message = CHANGES[name]
    config = ModelConfig("basic", num_blocks=2, num_classes=2, features=4)
    model_files.save(SampleCNN(config, TASK), tmp_path, {"epoch": 1, "options": {"lr": 0.1}})
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(SampleCNNError, match=message):
        model_files.load_stored(tmp_path)
    assert str(path) in refusal(lambda: ModelDescription.of(tmp_path))


def test_weights_that_are_not_numbers(tmp_path: Path) -> None:
    model = SampleCNN(ModelConfig("basic", num_blocks=2, num_classes=2, features=4), TASK)
    for name, value, message in (
        ("logit.bias", math.nan, "not finite"),
        ("norm.running_var", -1.0, "variances below 0"),
    ):
        key = next(key for key in model.state_dict() if key.endswith(name))
        before = model.state_dict()[key].clone()
        model.state_dict()[key][0] = value
        model_files.save(model, tmp_path)
        model.state_dict()[key][:] = before
        assert message in refusal(lambda: model_files.load_stored(tmp_path))


def shard(folder: Path, task: Task = TASK) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "train-00001-of-00001.arrow"
    with ShardWriter(path, task) as writer:
        writer.add("one", [0], np.full((2, 81), 77, np.int16))
        writer.add("two", [1], np.full((1, 81), 88, np.int16))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (bytes((1, 0, 1, 0, 0, 1)), bytes((1, 0, 2, 0, 0, 1)), "a label is 2, not 0 or 1"),
        (bytes((1, 0, 1, 0, 0, 1)), bytes((1, 0, 1, 1, 0, 1)), "does not have exactly one class"),
        (bytes((1, 0, 1, 0, 0, 1)), bytes((1, 0, 0, 0, 0, 1)), "does not have exactly one class"),
        (np.array([0, 1, 0], "<i4").tobytes(), np.array([0, 5, 0], "<i4").tobytes(), "row 1 is segment 5"),
        (np.array([0, 1, 0], "<i4").tobytes(), np.array([0, 1, 1], "<i4").tobytes(), "row 2 is segment 1"),
        (b"oneonetwo", b"oneonXtwo", "row 1 is segment 1"),
    ],
)
def test_labels_and_segments_of_shards(old: bytes, new: bytes, message: str, tmp_path: Path) -> None:
    path = shard(tmp_path)
    data = path.read_bytes()
    assert data.count(old) == 1
    assert len(ArrowSegments(tmp_path, "train")) == 3
    path.write_bytes(data.replace(old, new))
    said = refusal(lambda: ArrowSegments(tmp_path, "train"))
    assert message in said and str(path) in said


def test_numbers_in_file_names_cost_nothing(tmp_path: Path) -> None:
    shard(tmp_path).rename(tmp_path / "train-00001-of-00000.arrow")
    assert "its name gives 0 shards" in refusal(lambda: ArrowSegments(tmp_path, "train"))
    (tmp_path / "test-000000001-999999999.tfrecord").write_bytes(b"x")
    said = refusal(lambda: TFRecordSegments(tmp_path, "test"))
    assert "999999998 of the test files missing, number 0002, 0003" in said


def built(folder: Path) -> dict[str, Any]:
    (folder / "task.json").write_text(TASK.to_json())
    write_report(folder / "report.csv", [])
    splits = {split: [1, 1, 0] for split in ("train", "val", "test")}
    return {"fingerprint": "a", "splits": splits, "notes": [], "files": {}}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("build.json", {"files": {"a": "7"}}, "files.a must be a whole number"),
        ("build.json", {"splits": {"train": [1]}}, "splits.train must be a list of 3 entries"),
        ("build.json", {"notes": 7}, "notes must be a list"),
        ("build.json", {"splits": {}}, "splits.train is missing"),
        ("task.json", 7, "it must be an object, not 7"),
        ("report.csv", "path,split,status,reason\na,train,lost,x\n", "row 2: \\[2\\] must be skipped, kept or warning"),
        ("report.csv", "path,split,status,reason\na\n", "row 2: it must be a list of 4 entries"),
    ],
)
def test_files_of_a_build(name: str, content: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text(json.dumps(built(tmp_path)))
    assert read_built(tmp_path, "sounds").clips == 3
    changed = {**built(tmp_path), **content} if isinstance(content, dict) else content
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(changed))
    with pytest.raises(SampleCNNError, match=f"{name}.*{message}.*build again with --force"):
        read_built(tmp_path, "sounds")


def test_keys_of_later_versions_are_left_alone(tmp_path: Path) -> None:
    values = built(tmp_path)
    (tmp_path / "build.json").write_text(json.dumps({**values, "splits": {**values["splits"], "other": 7}, "new": 8}))
    assert read_built(tmp_path, "sounds").clips == 3


def test_labels_that_cannot_be_classes_are_named_with_the_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"path,labels\na.wav,{'x' * 2000}\nb.wav,y\n")
    said = refusal(lambda: Manifest("m", path).table(tmp_path))
    assert (
        said.startswith(f"{path}: ") and "1 to 1,000 characters" in said and said.endswith("correct the labels column")
    )


def test_metrics(tmp_path: Path) -> None:
    good = {"event": "test", "stage": 1, "total_steps": 5, "roc_auc": math.nan}
    (tmp_path / "metrics.jsonl").write_text(f"{json.dumps(good)}\n")
    assert read_metrics(tmp_path)[0]["stage"] == 1
    for change in ({"stage": "1"}, {"roc_auc": "0.5"}, {"event": 7}, {"stage": [1]}):
        (tmp_path / "metrics.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps({**good, **change})}\n")
        [key] = change
        assert f"metrics.jsonl, line 2: {key} must be" in refusal(lambda: read_metrics(tmp_path))


def test_settings_of_interrupted_tags_are_read_whole(tmp_path: Path) -> None:
    noted = Settings("numpy", "fp32", 0.5, "ab12", 3, 0.5, over_time=True, notes=True)
    (tmp_path / "tags.csv.part.json").write_text(json.dumps(asdict(noted)))
    assert Output(tmp_path / "tags.csv", CsvWriter).settings() == noted


def test_class_names_are_read_in_linear_time(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(50_000)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    assert len(class_names(str(tmp_path / "names.txt"), 50_000, Path("model"))) == 50_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "folder"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.json", lambda folder: model_files.load_stored(folder)),
        ("model.safetensors", lambda folder: model_files.load_stored(folder)),
        ("m.h5", lambda folder: model_files.load_stored(folder / "m.h5")),
        ("checkpoint.pt", load_checkpoint),
        ("metrics.jsonl", read_metrics),
        ("build.json", lambda folder: read_built(folder, "sounds")),
        ("task.json", lambda folder: read_built(folder, "sounds")),
        ("report.csv", lambda folder: read_built(folder, "sounds")),
        ("labels.csv", lambda folder: Manifest("m", folder / "labels.csv").table(folder)),
        ("labels.parquet", lambda folder: Manifest("m", folder / "labels.parquet").table(folder)),
        ("train-00001-of-00001.arrow", lambda folder: ArrowSegments(folder, "train")),
        ("test-0001-0001.tfrecord", lambda folder: TFRecordSegments(folder, "test")),
    ],
)
def test_pipes_and_folders_in_place_of_files(name: str, read: Callable[[Path], Any], kind: str, tmp_path: Path) -> None:
    if kind == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    model_files.save(SampleCNN(ModelConfig("basic", num_blocks=2, num_classes=2, features=4), TASK), tmp_path)
    (tmp_path / "build.json").write_text(json.dumps(built(tmp_path)))
    (tmp_path / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).mkdir()
    said = refusal(lambda: read(tmp_path))
    assert name in said or "model.safetensors" in said


def test_a_malicious_checkpoint_is_refused_without_advice_to_run_it(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "pwned"),)

    torch.save({"state": Evil()}, tmp_path / "checkpoint.pt")
    said = refusal(lambda: load_checkpoint(tmp_path))
    assert "checkpoint.pt" in said and "weights_only" not in said and not (tmp_path / "pwned").exists()
