"""samplecnn analyze end to end: files, sentences, wrong use in one line."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from samplecnn import ModelConfig, SampleCNN, Task
from samplecnn.cli.app import app
from samplecnn.model_files import save


def analyze(*words):
    """The command in this process: `.stdout`, `.stderr`, and `.exception` where it raised one."""
    return CliRunner().invoke(app, ["analyze", *map(str, words)])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """make("se") -> a run directory of an untrained network for the built tones and noises."""

    def make(block: str):
        task = Task("sounds", ("high", "low", "noise"), sample_rate=8000, window=729)
        folder = tmp_path_factory.mktemp("runs") / block
        save(SampleCNN(ModelConfig(block=block, num_blocks=5, features=8, num_classes=3), task), folder)
        return folder

    return make


def test_summary(model, tmp_path):
    run = model("se")
    done = analyze(run, "summary", "--json", tmp_path / "s.json", "--samples", 1000, "-o", tmp_path / "out")
    assert done.exception is None
    assert "block4_conv" in done.stdout and "1,000 samples, 0.125 s at 8,000 Hz" in done.stdout
    assert json.loads((tmp_path / "s.json").read_text())["samples"] == 1000
    assert (tmp_path / "out" / "summary.png").stat().st_size > 5000


def test_filters_are_repeatable_and_are_written_to_the_run_directory(model):
    run = model("rese1")
    words = (run, "filters", "--steps", 2, "--layer", "block0_conv0", "--layer", "conv0", "--precision", "fp32")
    first = analyze(*words)
    assert first.exception is None
    spectra = pq.read_table(run / "analysis" / "filters.parquet")
    assert set(spectra["layer"].to_pylist()) == {"conv0", "block0_conv0"}
    names = {path.name for path in (run / "analysis").glob("*.png")}
    assert names == {"filters-conv0.png", "filters-block0_conv0.png", "filters-peaks.png", "first-layer.png"}
    assert "block0_conv0: 8 filters" in first.stdout
    analyze(*words)
    assert pq.read_table(run / "analysis" / "filters.parquet").equals(spectra)
    other = analyze(*words, "--seed", 1)
    assert other.exception is None and not pq.read_table(run / "analysis" / "filters.parquet").equals(spectra)


def test_excitations(model, built, tmp_path):
    run, out = model("se"), tmp_path / "out"
    words = ("excitations", "sounds", "--data-dir", built / "data", "-o", out, "--batch-size", 4)
    done = analyze(run, *words, "--json", tmp_path / "e.json", "--split", "train")
    assert done.exception is None
    assert len(list(out.glob("excitations-*.png"))) == 5
    rows = pq.read_table(out / "excitations.parquet").num_rows
    figures = json.loads((tmp_path / "e.json").read_text())
    assert figures["segments"] == rows == sum(figures["segments_of_class"].values())
    assert [block["block"] for block in figures["blocks"]] == [f"block{i}" for i in range(5)]
    assert "block4: 32 units" in done.stdout and "correlation with loudness" in done.stdout
    analyze(run, *words)
    assert pq.read_table(out / "excitations.parquet").num_rows < rows  # the test split is the smaller one


def test_wrong_use_is_one_line(model, built, tmp_path):
    data = ("--data-dir", built / "data")
    (tmp_path / "file").write_text("")
    wrong = (
        ((model("basic"), "excitations", "sounds", *data), "have no excitations; use a model with the blocks se"),
        ((model("se"), "excitations", "sounds", *data, "-o", tmp_path / "file"), "cannot be written"),
        ((model("se"), "filters", "--steps", 1, "-o", tmp_path / "file" / "x"), "choose another folder with --output"),
        ((model("se"), "excitations", "sounds", "--data-dir", tmp_path), "not built yet"),
        ((model("se"), "excitations", "sounds", *data, "--split", "some"), "'some' is not one of train, val, test"),
        ((model("se"), "summary", "--json", tmp_path / "file" / "x.json"), "cannot be written (a file is where"),
        ((model("se"), "excitations", "sounds", *data, "--json", tmp_path), "is a folder; name a file"),
        ((model("se"), "filters", "--layer", "conv9"), "no layer 'conv9'"),
        ((model("se"), "filters", "--precision", "fp8"), "'fp8' is not one of auto, fp32, bf16"),
        ((model("se"), "summary", "--samples", "20"), "20 samples are too few"),
        (("nowhere", "summary"), "nowhere: there is no such model"),
        ((model("se"), "spectra"), "unknown analysis 'spectra'; use filters, excitations, summary"),
        ((model("se"),), "missing analysis of"),
    )
    for words, message in wrong:
        result = analyze(*words)
        shown = f"{result.output} {result.exception}"
        assert result.exit_code != 0 and message in shown, (words, shown)
    command = [sys.executable, "-m", "samplecnn", "analyze", *map(str, wrong[0][0])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("what", ["excitations", "report"])
def test_an_empty_split_is_one_line_without_output_files(model, built, tmp_path, what):
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(built / "data" / "sounds", data / "sounds")
    for shard in (data / "sounds" / "arrow").glob("test-*"):
        shard.unlink()
    words = ("analyze", model("se"), what, "sounds", "--data-dir", data, "-o", out)
    done = subprocess.run([sys.executable, "-m", "samplecnn", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and not out.exists()
    assert done.stderr.startswith("error: sounds has no clips in its test split") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["m", "filters"], ["filters"], ["m", "excitations"], ["m", "summary"], []])
def test_help_shows_the_model_before_the_analysis(words):
    shown = CliRunner().invoke(app, ["analyze", *words, "--help"], prog_name="samplecnn").output
    assert f"Usage: samplecnn analyze MODEL {words[-1] if words else 'WHAT'} [OPTIONS]" in shown


def test_originals_files_can_be_analysed(shared, tmp_path):
    model = shared / "interop" / "keras" / "scd-se.h5"
    done = analyze(model, "filters", "--layer", "block2_conv", "--steps", 3, "-o", tmp_path)
    assert done.exception is None
    spectra = np.array(pq.read_table(tmp_path / "filters.parquet")["spectrum"].to_pylist())
    assert spectra.shape == (32, 365) and spectra.max() == 1
