import json
import os
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from samplecnn import saved
from samplecnn.cli.eval import evaluate_command
from samplecnn.errors import UsageError


@pytest.fixture(scope="module")
def trained(task, make_model, learn):
    return learn(make_model(task))


@pytest.fixture
def run(tmp_path, task, trained, write_shards):
    """run(*options) -> the outcome of `eval DATASET MODEL`, in a folder with data/tones and a run directory."""
    write_shards(tmp_path / "data" / "tones" / "arrow", task, clips=30)
    saved.save(trained, tmp_path / "run")
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
    found = re.fullmatch(r"=> Test scores: rocauc=(\d\.\d{6}) prauc=(\d\.\d{6}) acc=(\d\.\d{6}) f1=(\d\.\d{6})", last)
    values = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [float(value) for value in found.groups()] == pytest.approx(
        [values["roc_auc"], values["pr_auc"], values["accuracy"], values["f1"]], abs=1e-6
    )
    assert values["accuracy"] > 0.9
    assert (values["task"], values["dataset"], values["clips"]) == ("tones", "tones", 30)
    assert values["settings"]["batch_size"] == 7 and values["settings"]["num_readers"] == 2
    assert values["settings"]["device"] == "cpu"
    assert [row["name"] for row in values["per_class"]] == ["low", "middle", "high"]
    for row in values["per_class"]:
        assert re.search(rf"{row['name']} +{row['support']} +{row['roc_auc']:.4f}", outcome.stdout)
    assert (tmp_path / "run" / "test-tones" / "confusion.png").exists(), "beside the model, where it is a run directory"
    assert "confusion.png" in outcome.stderr and "confusion.png" not in outcome.stdout


def test_pictures_go_where_they_are_sent(run, tmp_path):
    assert run("--pictures", tmp_path / "here").exit_code == 0
    assert (tmp_path / "here" / "confusion.png").exists()
    assert not (tmp_path / "run" / "test-tones").exists()


def test_the_data_dir_is_the_one_given(run, tmp_path):
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
