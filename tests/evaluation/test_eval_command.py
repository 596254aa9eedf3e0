import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise

import pytest
import typer
from typer.testing import CliRunner

from samplecnn import model_files
from samplecnn.cli.eval import evaluate_command
from samplecnn.errors import UsageError
from samplecnn.inference import installed
from samplecnn.shards import open_split
from samplecnn.shards.tfrecord.frames import TFRecordWriter


@pytest.fixture(scope="module")
def trained(task, make_model, learn):
    return learn(make_model(task))


@pytest.fixture
def run(tmp_path, task, trained, write_shards):
    """run(*options) -> the outcome of `eval DATASET MODEL`, in a folder with data/tones and a run directory."""
    write_shards(tmp_path / "data" / "tones" / "arrow", task, clips=30)
    model_files.save(trained, tmp_path / "run")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(evaluate_command)

    def call(*options, dataset="tones", model=None):
        arguments = [dataset, str(model or tmp_path / "run"), "--data-dir", str(tmp_path / "data"), *map(str, options)]
        return CliRunner().invoke(app, arguments)

    return call


def test_scores_table_json_and_pictures(run, tmp_path):
    outcome = run("--json", tmp_path / "out" / "scores.json", "--batch-size", 7, "--num-readers", 2, "--device", "cpu")
    assert outcome.exit_code == 0, outcome.output
    last = outcome.stdout.splitlines()[-1]
    number = r"(\d\.\d{6})"
    names = ("rocauc", "prauc", "acc", "macro_f1", "sample_f1")
    found = re.fullmatch("=> Test scores: " + " ".join(f"{name}={number}" for name in names), last)
    values = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [float(value) for value in found.groups()] == pytest.approx(
        [values["roc_auc"], values["pr_auc"], values["accuracy"], values["macro_f1"], values["f1"]], abs=1e-6
    )
    assert values["accuracy"] > 0.9
    assert (values["task"], values["dataset"], values["clips"]) == ("tones", "tones", 30)
    assert values["settings"]["batch_size"] == 7 and values["settings"]["num_readers"] == 2
    assert values["settings"]["device"] == "cpu"
    assert [row["name"] for row in values["per_class"]] == ["low", "middle", "high"]
    for row in values["per_class"]:
        assert re.search(rf"{row['name']} +{row['support']} +{row['roc_auc']:.4f}", outcome.stdout)
    assert (tmp_path / "run" / "test-tones" / "confusion.png").exists(), "in the model's run directory"
    assert "confusion.png" in outcome.stderr and "confusion.png" not in outcome.stdout


def test_intervals_are_over_groups_where_there_are_some(run, task, write_shards, tmp_path):
    outcome = run("--json", tmp_path / "scores.json")
    found = json.loads((tmp_path / "scores.json").read_text())
    clips = found["intervals"]
    assert (clips["over"], clips["count"]) == ("clips", 30) and clips["accuracy"][0] < found["accuracy"]
    low, high = (f"{100 * end:.1f}" for end in clips["accuracy"])
    assert f"95 % intervals over 30 clips: accuracy {low} to {high} %, macro F1 " in outcome.stdout
    write_shards(tmp_path / "data" / "grouped" / "arrow", task, clips=30, groups=6)
    outcome = run("--json", tmp_path / "scores.json", dataset="grouped")
    grouped = json.loads((tmp_path / "scores.json").read_text())["intervals"]
    assert (grouped["over"], grouped["count"]) == ("groups", 6) and "95 % intervals over 6 groups: " in outcome.stdout
    assert grouped["accuracy"][0] < clips["accuracy"][0], "six speakers say less than thirty"


def test_tfrecords(run, tmp_path):
    """The same sounds as TFRecords score the same; a damaged one stops the test, or is skipped and counted."""
    arrow = open_split("tones", tmp_path / "data", "test")
    folder = tmp_path / "data" / "tones" / "tfrecord"
    folder.mkdir()
    (folder / "task.json").write_text(arrow.task.to_json())
    path = folder / "test-0001-0001.tfrecord"
    with TFRecordWriter(path, arrow.task, whole_clips=True) as writer:
        for start, end in pairwise([*arrow.clip_starts, len(arrow)]):
            writer.add(arrow.ids[start], arrow.labels[start].nonzero()[0], arrow.gather(range(start, end)))
    expected = run().stdout
    assert run(dataset=str(folder)).stdout == expected
    shutil.rmtree(tmp_path / "data" / "tones" / "arrow")
    assert run().stdout == expected
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    assert "damaged record at byte 0" in str(run().exception)
    outcome = run("--skip-corrupt", "--json", tmp_path / "scores.json")
    assert "warning: 1 damaged record in the test split skipped" in outcome.stderr and "at byte 0" in outcome.stderr
    values = json.loads((tmp_path / "scores.json").read_text())
    assert values["clips"] == 29 and values["settings"]["records_left_out"] == 1
    assert values["settings"]["shards"] == str(folder)


def test_pictures_go_into_the_given_folder(run, tmp_path):
    assert run("--pictures", tmp_path / "here").exit_code == 0
    assert (tmp_path / "here" / "confusion.png").exists()
    assert not (tmp_path / "run" / "test-tones").exists()


def test_the_data_dir_is_used(run, tmp_path):
    outcome = run("--data-dir", tmp_path / "elsewhere")
    assert isinstance(outcome.exception, UsageError) and "not built yet" in str(outcome.exception)


def test_an_unknown_device_is_refused(run):
    assert isinstance(run("--device", "abacus").exception, UsageError)


@pytest.mark.parametrize("option", ["--batch-size", "--num-readers"])
def test_numbers_below_one_are_refused(run, option):
    assert run(option, 0).exit_code == 2


def test_the_original_command(run, tmp_path, root):
    command = [sys.executable, "eval.py", "tones", str(tmp_path / "run"), "--data-dir", str(tmp_path / "data")]
    command += ["--batch-size", "5", "--num-readers", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "=> Test scores: rocauc=" in done.stdout
    command[2] = "nothing"
    wrong = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stdout == ""
    assert wrong.stderr.startswith("error: ") and "Traceback" not in wrong.stderr


@pytest.mark.parametrize("name", installed())
def test_an_engine_is_compared_with_the_model_itself(run, tmp_path, name):
    plain = run().stdout.splitlines()[-1]
    options = ("--engine", name, "--precision", "fp32", "--compare", "--json", tmp_path / "scores.json")
    outcome = run(*options)
    assert outcome.exit_code == 0, outcome.output
    *_, scores, comparison = outcome.stdout.splitlines()
    assert scores == plain
    assert comparison.startswith(f"{name} fp32 against the model itself: rocauc +0.000000, prauc +0.000000")
    assert comparison.endswith("0 of 30 clips are predicted differently")
    values = json.loads((tmp_path / "scores.json").read_text())
    assert (values["settings"]["engine"], values["settings"]["precision"]) == (name, "fp32")
    assert 0 <= values["comparison"]["mean_difference"] <= values["comparison"]["max_difference"] < 1e-5


def test_a_precision_without_an_engine_is_that_of_torch(run, tmp_path):
    assert run("--json", tmp_path / "plain.json").exit_code == 0
    outcome = run("--precision", "bf16", "--compare", "--json", tmp_path / "bf16.json")
    assert "torch bf16 against the model itself" in outcome.stdout
    plain, other = (json.loads((tmp_path / f"{kind}.json").read_text()) for kind in ("plain", "bf16"))
    assert (plain["settings"]["engine"], plain["settings"]["precision"]) == ("the model itself", "fp32")
    assert (other["settings"]["engine"], other["settings"]["precision"]) == ("torch", "bf16")
    assert "comparison" not in plain and 1e-6 < other["comparison"]["max_difference"] < 0.1
    assert other["roc_auc"] == pytest.approx(plain["roc_auc"], abs=0.02)


def test_without_the_options_nothing_is_compared(run):
    assert "against the model itself" not in run("--engine", "torch").stdout
