"""samplecnn export: the files it writes, and its errors."""

import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

import samplecnn
from samplecnn import ModelConfig, SampleCNN, Task, model_files
from samplecnn.cli.app import app
from samplecnn.errors import UsageError
from samplecnn.interop.export import FORMATS
from samplecnn.system import log


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    config = ModelConfig("rese1", multi=True, num_blocks=3, num_classes=2, features=4, amplifying_ratio=0.5)
    model_files.save(SampleCNN(config, Task("t", ("ja", "nein"), window=100)), tmp_path / "run")
    return tmp_path


def export(*words):
    return CliRunner().invoke(app, ["export", *map(str, words)])


def test_a_run_exported_to_keras_and_read_back_has_the_same_bits(folder):
    result = export(folder / "run", folder / "sub" / "m.h5", "--to", "keras-h5")
    assert result.exit_code == 0 and "rese1_multi, 3 blocks, 2 classes" in result.output, result.output
    assert [path.name for path in (folder / "sub").iterdir()] == ["m.h5"]
    before, after = samplecnn.load(folder / "run"), samplecnn.load(folder / "sub" / "m.h5")
    assert after.task == before.task and after.config == before.config
    values = zip(before.state_dict().items(), after.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in values)


def test_quiet_leaves_out_what_was_written(folder, monkeypatch):
    monkeypatch.setattr(log, "_verbosity", log.Verbosity.NORMAL)  # --quiet changes it; afterwards it is what it was
    loud, quiet = (export(folder / "run", folder / "m.h5", "--to", "keras-h5", *more) for more in ((), ("-q",)))
    assert "wrote " in loud.output and quiet.exit_code == 0 and quiet.output == ""


def test_every_format_named_in_help_works(folder):
    for name, form in FORMATS.items():
        assert name in export("--help").output
        result = export(folder / "run", folder / f"m{form.endings[0]}", "--to", name)
        assert result.exit_code == 0 and f"m{form.endings[0]}" in result.output


@pytest.mark.parametrize(
    ("out", "to", "said"),
    [
        ("m.pt", "keras-h5", "m.pt: a name for keras-h5 ends in .h5 or .hdf5"),
        ("run", "keras-h5", "run: a folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_model_is_loaded(folder, out, to, said):
    error = export(folder / "nowhere", folder / out, "--to", to).exception
    assert isinstance(error, UsageError) and said in str(error)


def test_an_unknown_format_is_answered_with_those_there_are(folder):
    result = export(folder / "nowhere", folder / "m.h5", "--to", "keras-h6")
    assert result.exit_code == 2 and f"'keras-h6' is not one of {', '.join(FORMATS)}" in result.output
    assert "did you mean keras-h5?" in result.output


def test_a_model_that_keras_cannot_express_is_one_line_and_leaves_what_was_there(folder):
    model_files.save(
        SampleCNN(ModelConfig(num_blocks=1, num_classes=1, tail=True), Task("t", ("a",))), folder / "other"
    )
    (folder / "m.h5").write_text("as it was")
    command = [sys.executable, "-m", "samplecnn", "export", "other", "m.h5", "--to", "keras-h5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "m.h5: the original's Keras network cannot express this model: its layer" in done.stderr
    assert (folder / "m.h5").read_text() == "as it was" and len(list(folder.iterdir())) == 3
