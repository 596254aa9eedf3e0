"""Packaged models: found by name, loaded without PyTorch, listed, described."""

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import packing
import pytest
from typer.testing import CliRunner

import samplecnn
from samplecnn import model_files
from samplecnn.cli.app import app
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.zoo import packaged

from .conftest import FACTS


def run(*words) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_name_is_a_model_everywhere(packaged_hums, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tags = samplecnn.Tagger("hums")(workspace / "hum.wav")
    assert tags.top(1)[0][0] == "hum"
    assert samplecnn.load("hums").task.classes == tags.classes == ("beep", "hiss", "hum")
    assert '"model": "hums"' in run("tag", "hums", workspace / "hum.wav", "--format", "json")
    assert "20261122" not in run("info", "hums") and "3: beep, hiss, hum" in run("info", "hums")
    scores = samplecnn.evaluate("hums", "sounds", workspace / "data")
    assert scores.accuracy > 0.8
    assert not list(packaged_hums.glob("hums/test-*"))  # nothing is written next to it


def test_float16_keeps_the_probabilities(hums, workspace):
    source = workspace / "log" / "20261122_101500-sounds-se_multi"
    before, after = (samplecnn.Tagger(path)(workspace / "hum.wav").over_time for path in (source, hums / "hums"))
    np.testing.assert_allclose(after, before, atol=3e-3)
    sizes = [(path / "model.safetensors").stat().st_size for path in (source, hums / "hums")]
    assert sizes[1] < 0.6 * sizes[0]
    stored = model_files.load_stored(hums / "hums")
    assert {value.dtype for value in stored.values.values()} == {np.dtype(np.float32)}
    config = json.loads((hums / "hums" / "config.json").read_text())
    weights = (hums / "hums" / "model.safetensors").read_bytes()
    assert config["sha256"] == hashlib.sha256(weights).hexdigest()
    assert config["training"] == json.loads((source / "config.json").read_text())["training"]
    assert hashlib.sha256(weights).hexdigest() in (hums / "hums" / "card.md").read_text()


def test_values_too_large_for_float16_are_refused(hums, tmp_path):
    stored = model_files.load_stored(hums / "hums")
    stored.values["conv0.weight"][0] = 1e5
    with pytest.raises(SampleCNNError, match=r"conv0\.weight has values that float16 cannot hold"):
        model_files.save(stored, tmp_path / "large", half=True)
    assert not (tmp_path / "large").exists()


def test_a_model_that_is_too_large_is_not_packed(hums, tmp_path):
    shutil.copytree(hums / "hums", tmp_path / "hums")
    with pytest.raises(SampleCNNError, match="bytes of weights, 100 are the limit"):
        packing.pack_card(tmp_path / "hums", FACTS, most_bytes=100)


def test_an_existing_path_comes_first(packaged_hums, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hums").mkdir()  # a folder without a model, such as one of recordings, does not hide it
    assert samplecnn.load("hums").task.classes == ("beep", "hiss", "hum")
    other = model_files.load_stored("hums")
    task = samplecnn.Task("mine", ("a", "b", "c"), window=other.task.window, sample_rate=other.task.sample_rate)
    model_files.save(type(other)(other.values, other.config, task), "hums")
    assert samplecnn.load("hums").task.name == "mine"
    assert packaged.resolved("hums") != packaged_hums / "hums"


def test_an_unknown_name_is_met_with_the_known_ones(packaged_hums, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match=r"hum: there is no such model; .* packaged model \(hums\); did you mean hums\?"
    ):
        samplecnn.Tagger("hum")
    result = CliRunner().invoke(app, ["models", "show", "birds"])
    assert "birds: there is no such packaged model; the packaged models are hums" in str(result.exception)


def test_the_list(packaged_hums):
    shown = run("models").splitlines()
    assert shown[0].split() == ["model", "classes", "size", "test", "licence", "recognises"]
    assert len(shown) == 2 and shown[1].startswith("hums   3 ")
    assert "accuracy 90.0 % (80.0 to 95.0)  CC0      Hums, beeps and hisses." in shown[1]
    [values] = json.loads(run("models", "--json"))
    assert values["classes"] == ["beep", "hiss", "hum"] and values["score"]["clips"] == 9
    assert values["bytes"] == (packaged_hums / "hums" / "model.safetensors").stat().st_size


def test_an_installation_without_models(monkeypatch, tmp_path):
    monkeypatch.setattr(packaged, "FOLDER", tmp_path)
    assert "no packaged models" in run("models")
    assert json.loads(run("models", "--json")) == []


def test_a_damaged_model_is_named(packaged_hums, tmp_path, monkeypatch):
    shutil.copytree(packaged_hums / "hums", tmp_path / "hums")
    monkeypatch.setattr(packaged, "FOLDER", tmp_path)
    (tmp_path / "hums" / "card.md").unlink()
    with pytest.raises(SampleCNNError, match=r"hums: this packaged model is damaged .* install samplecnn again"):
        packaged.packaged_card("hums")
    (tmp_path / "hums" / "config.json").write_text("[]")
    with pytest.raises(SampleCNNError, match="install samplecnn again"):
        packaged.packaged_models()


def test_the_card_is_shown(packaged_hums):
    card = run("models", "show", "hums")
    assert card.startswith("# hums\n\nHums, beeps and hisses.\n\n    samplecnn tag hums FILE")
    assert card.strip() == (packaged_hums / "hums" / "card.md").read_text().strip()


def test_tagging_by_name_needs_no_torch(packaged_hums, workspace):
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'sklearn', 'matplotlib', 'scipy')))\n"
        "from pathlib import Path; from samplecnn.zoo import packaged; packaged.FOLDER = Path(sys.argv[1])\n"
        "import samplecnn; print(samplecnn.Tagger('hums')(sys.argv[2]).top(1)[0][0])"
    )
    command = [sys.executable, "-c", program, packaged_hums, workspace / "hum.wav"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "hum\n"


def test_models_of_this_installation_are_whole():
    """Every model that is packaged: within its bounds, hash right, classes as listed, card with its scores."""
    total = 0
    for name in packaged.packaged_names():
        model, folder = packaged.packaged_model(name), packaged.packaged_folder(name)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = (folder / "model.safetensors").read_bytes()
        assert config["sha256"] == hashlib.sha256(weights).hexdigest(), name
        assert (
            model.about and model.licence and 0 < model.score["low"] <= model.score["value"] <= model.score["high"] <= 1
        )
        card = packaged.packaged_card(name)
        assert all(text in card for text in (*model.classes, config["sha256"], "## Scores", "## Data", model.licence))
        wave = np.random.default_rng(0).uniform(-0.1, 0.1, model_files.load_stored(name).task.sample_rate)
        scores = samplecnn.Tagger(name, engine="numpy")(wave, len(wave)).scores
        assert scores.shape == (len(model.classes),) and np.isfinite(scores).all()
        total += len(weights)
    assert total <= 15_000_000
