"""samplecnn info, doctor and completion."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from samplecnn import Task, model_files
from samplecnn.cli.app import VERBS, app
from samplecnn.errors import AudioError, UsageError
from samplecnn.extras import EXTRAS
from samplecnn.info import describe, machine
from samplecnn.models import ModelConfig, SampleCNN

RATE = 22050


def info(*words) -> str:
    result = CliRunner().invoke(app, ["info", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def run(tmp_path):
    config = ModelConfig("se", num_blocks=3, num_classes=2, features=8)
    model = SampleCNN(config, Task("birds", ("owl", "crow"), "multilabel", sample_rate=8000, window=243))
    model_files.save(model, tmp_path / "run", {"epoch": 3, "options": {"lr": 0.01, "init_from": None}})
    return tmp_path / "run", model


def test_a_model(run):
    folder, model = run
    shown = info(folder)
    assert "se: 3 blocks, 8 features" in shown and "8,000 Hz, window 243 samples (0.0304 s)" in shown
    assert "2: owl, crow" in shown and "multilabel" in shown
    assert "epoch 3; lr=0.01" in shown and "as config.json says" in shown
    values = json.loads(info(folder, "--json"))
    assert values["trained_parameters"] == sum(value.numel() for value in model.parameters())
    assert values["trained_parameters"] + values["statistics"] == model.num_values()
    assert values["hop"] == 81 and values["kind"] == "model"
    assert values["receptive_field"] == model.receptive_field > 81
    assert info(folder / "model.safetensors") == shown


def test_a_model_whose_files_do_not_belong_together(run, tmp_path):
    folder, model = run
    with_other_values = SampleCNN(model.config, model.task)
    model_files.save(with_other_values, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    assert "the two files do not belong together" in info(folder)


def test_models_of_the_original(shared):
    shown = info(shared / "interop" / "keras" / "scd-se.h5")
    assert "35: backward, bed" in shown and "not recorded" in shown and "22,050 Hz" in shown


@pytest.mark.parametrize(("name", "splits"), [("mtt", (15250, 1529, 4332)), ("dcs", (46042, 5618, 1103))])
def test_split_sizes_from_label_files_alone(shared, tmp_path, name, splits):
    script = str(shared / "data" / "unpack.py")
    subprocess.run([sys.executable, script, "data", name], cwd=tmp_path, check=True, capture_output=True)
    values = describe(name, tmp_path / "data").to_dict()
    assert tuple(values["labels"]["clips"].values()) == splits and values["built"] == {}
    shown = info(name, "--data-dir", tmp_path / "data")
    assert "train {:,}, val {:,}, test {:,}; {:,} in all".format(*splits, sum(splits)) in shown
    assert "no; run samplecnn build" in shown and "are absent from" in shown


def test_a_published_data_set_without_files_names_its_size_and_the_remedy(tmp_path):
    shown = info("mtt", "--data-dir", tmp_path)
    assert "train 15,250, val 1,529, test 4,332" in shown and "samplecnn prepare mtt" in shown


def test_a_built_folder(built):
    shown = info(built / "sounds", "--data-dir", built / "data")
    values = describe(built / "sounds", built / "data").to_dict()
    assert sum(count["clips"] for count in values["built"]["arrow"]["splits"].values()) == 90
    assert "90 in all" in shown and "arrow: train " in shown and "3 classes, 8,000 Hz" in shown
    only_shards = describe("sounds", built / "data").to_dict()  # by name, from elsewhere
    assert only_shards["labels"] is None and only_shards["built"] == values["built"]


def test_a_folder_whose_labels_are_in_the_names(tmp_path):
    for name in ("owl_1", "owl_2", "crow_1", "crow_2"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(RATE, 0.1), RATE)
    values = json.loads(info(tmp_path, "--label-from", "{label}_*", "--json"))
    assert values["labels"]["task"]["classes"] == ["crow", "owl"] and sum(values["labels"]["clips"].values()) == 4
    with pytest.raises(UsageError, match=r"no recording matches --label-from"):
        describe(tmp_path, label_from="{label}=*")
    with pytest.raises(UsageError, match="a folder"):
        describe("words", label_from="{label}_*")


def test_a_recording(tmp_path, tone):
    wave = tone(440, 2.0)
    soundfile.write(tmp_path / "a.flac", np.stack([wave, wave], 1), RATE)
    values = describe(tmp_path / "a.flac").to_dict()
    assert (values["container"], values["codec"], values["channels"]) == ("FLAC", "PCM_16", 2)
    assert values["seconds"] == 2.0 and values["complete"] and not values["channels_cancel"]
    assert values["peak"] == pytest.approx(-6.02, abs=0.01) and values["level"] == pytest.approx(-9.03, abs=0.01)
    shown = info(tmp_path / "a.flac")
    assert "FLAC, PCM_16, 22,050 Hz, stereo" in shown and "2.000 s" in shown and "-9.0 dBFS" in shown


def test_recordings_with_problems(tmp_path, tone):
    wave = tone(440, 2.0)
    soundfile.write(tmp_path / "cancel.wav", np.stack([wave, -wave], 1), RATE)
    assert "cancel each other out" in info(tmp_path / "cancel.wav")
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    assert "digital silence" in info(tmp_path / "silent.wav")
    soundfile.write(tmp_path / "whole.wav", wave, RATE)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:50_000])
    shown = info(tmp_path / "cut.wav")
    assert "complete      no: cut short" in shown and "download or copy it again" in shown
    (tmp_path / "text.wav").write_text("not a recording")
    with pytest.raises(AudioError, match="not audio"):
        describe(tmp_path / "text.wav")


def test_an_unknown_name(tmp_path):
    with pytest.raises(UsageError, match="there is no such model, recording or data set"):
        describe(tmp_path / "nothing", tmp_path)


def test_doctor_lists_versions_extras_and_formats():
    result = CliRunner().invoke(app, ["doctor", "--json"], catch_exceptions=False)
    values = json.loads(result.output)
    assert result.exit_code == (1 if values["problems"] else 0)
    assert values["libraries"]["numpy"] == np.__version__
    assert set(values["missing_extras"]) == set(EXTRAS)
    assert "flac" in values["machine"]["sound formats"]


def test_doctor_names_missing_extras_and_broken_libraries(monkeypatch, tmp_path):
    (tmp_path / "soxr.py").write_text("raise ImportError('libsoxr.so.0: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "soxr", raising=False)
    monkeypatch.setattr(machine, "is_installed", lambda module: module != "numba")
    result = CliRunner().invoke(app, ["doctor"])
    monkeypatch.delitem(sys.modules, "soxr", raising=False)
    assert result.exit_code == 1
    assert "no numba: pip install 'samplecnn[fast]'" in result.output
    assert "problem: soxr cannot be imported (libsoxr.so.0: cannot open shared object file)" in result.output


@pytest.fixture
def program(tmp_path):
    """A folder with `samplecnn`, and an environment that finds it there."""
    script = tmp_path / "bin" / "samplecnn"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m samplecnn "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"}


def completions(environment, line: str, shell: str = "bash") -> set[str]:
    """Bash completions at the end of a line."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f'eval "$(samplecnn completion bash)"\nCOMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n'
        "$(complete -p samplecnn | sed 's/.*-F \\([^ ]*\\).*/\\1/') samplecnn\nprintf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run([shell, "--norc", "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_completes_commands_options_and_choices(program):
    assert completions(program, "samplecnn ") >= {*VERBS, "analyze"}
    assert completions(program, "samplecnn tr") == {"train"}
    assert completions(program, "samplecnn train --b") == {"--block", "--batch-size", "--background", "--baseline"}
    assert completions(program, "samplecnn train --block res") == {"res1", "res2", "rese1", "rese2"}
    assert completions(program, "samplecnn tag wo") == {"words", "words-logmel", "words-tiny"}
    assert {"--config", "--quiet"} <= completions(program, "samplecnn tag --")


@pytest.mark.parametrize(("shell", "start"), [("bash", "_samplecnn"), ("zsh", "#compdef"), ("fish", "complete")])
def test_completion_scripts(shell, start):
    result = CliRunner().invoke(app, ["completion", shell])
    assert result.exit_code == 0 and result.output.startswith(start) and "_SAMPLECNN_COMPLETE" in result.output
