"""A new output layer on a trained network: fitted to what is known, stored as any other model."""

import json

import numpy as np
import pytest
import torch

import samplecnn
from samplecnn import Task, model_files
from samplecnn.errors import OptionError, UsageError
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.shards import open_split
from samplecnn.training.head import activations, fit_head, hidden, with_head

RATE, WINDOW = 8000, 729


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A network with random weights and two classes that have nothing to do with the sounds."""
    torch.manual_seed(0)
    task = Task("other", ("a", "b"), sample_rate=RATE, window=WINDOW, mean=0.0, std=0.2)
    model = SampleCNN(ModelConfig("se", num_blocks=4, num_classes=2, features=8), task)
    folder = tmp_path_factory.mktemp("encoder")
    model_files.save(model, folder)
    return folder


def options(built, tmp_path, encoder):
    return {"data_dir": built / "data", "log_dir": tmp_path, "init_from": encoder, "head_only": True, "device": "cpu"}


@pytest.mark.parametrize(("dataset", "kind"), [("sounds", "multiclass"), ("labels", "multilabel")])
def test_a_head_on_a_network_that_was_not_trained_on_the_data(built, tmp_path, encoder, dataset, kind):
    result = samplecnn.train(dataset, **options(built, tmp_path, encoder))
    model = samplecnn.load(result.run)
    assert model.task.kind == kind and model.task.classes == open_split(dataset, built / "data", "test").task.classes
    assert model.task.std == 0.2  # the network's own
    before = model_files.load_stored(encoder).values
    after = model_files.load_stored(result.run).values
    for name in before:
        if not name.startswith("logit."):
            np.testing.assert_array_equal(after[name], before[name])
    assert result.scores.roc_auc > 0.9  # random features tell tones from noise
    assert result.final.suffix == ".h5" and samplecnn.load(result.final).task.classes == model.task.classes
    assert samplecnn.evaluate(result.run, dataset, built / "data").roc_auc == pytest.approx(result.scores.roc_auc)
    recorded = json.loads((result.run / "config.json").read_text())["training"]
    assert recorded["options"]["head_only"] and recorded["options"]["features"] == 8
    assert recorded["penalty"] > 0 and recorded["data"]["clips"] > 0


def test_activations_are_kept_and_belong_to_network_and_data(built, encoder, monkeypatch):
    model, split = samplecnn.load(encoder), open_split("sounds", built / "data", "val")
    first = activations(model, split, 8, 1)
    assert first.shape == (len(split), 32)
    with torch.no_grad():
        logits = model.logit(torch.from_numpy(first))
        wave = torch.from_numpy((split.waveforms([0]) - model.task.mean) / model.task.std).float()
        torch.testing.assert_close(model(wave)[0], logits[0], atol=1e-5, rtol=1e-4)
    monkeypatch.setattr("samplecnn.training.head.hidden", None)  # would fail if it were called
    np.testing.assert_array_equal(activations(model, split, 8, 1), first)
    monkeypatch.undo()
    with torch.no_grad():
        model.final_fc.weight.mul_(2)
    assert np.abs(activations(model, split, 8, 1) - first).max() > 0
    with torch.no_grad():
        assert hidden(model, wave).shape == (1, 32)


def test_the_penalty_is_chosen_by_the_validation_split():
    """Two features: one tells the classes, fifty others are noise; few clips want a penalty, many do not."""
    rng = np.random.default_rng(0)
    task = Task("two", ("a", "b"))

    def drawn(count):
        labels = rng.integers(0, 2, count)
        x = rng.standard_normal((count, 51)).astype(np.float32)
        x[:, 0] += 3 * labels
        return x * 5 + 7, np.eye(2, dtype=np.uint8)[labels]  # as activations are: of any mean and deviation

    val, test = drawn(500), drawn(2000)
    few, many = (fit_head(*drawn(count), *val, task) for count in (60, 3000))
    assert few.penalty > many.penalty and len(few.losses) == 7
    for head, least in ((few, 0.75), (many, 0.92)):
        assert ((test[0] @ head.weight.T + head.bias).argmax(1) == test[1].argmax(1)).mean() > least
    torch.manual_seed(0)
    model = SampleCNN(
        ModelConfig("basic", num_blocks=3, num_classes=5, features=4), Task("t", tuple("abcde"), window=243)
    )
    assert with_head(model, fit_head(*_fit_for(model), task), task).logit.out_features == 2


def _fit_for(model):
    x = np.random.default_rng(0).standard_normal((20, model.spec.hidden.outputs)).astype(np.float32)
    y = np.eye(2, dtype=np.uint8)[(x[:, 0] > 0).astype(int)]
    return x, y, x, y


def test_what_cannot_be_is_said(built, tmp_path, encoder):
    with pytest.raises(OptionError, match="head_only needs a trained network: name one with --init-from"):
        samplecnn.train("sounds", data_dir=built / "data", log_dir=tmp_path, head_only=True)
    stored = model_files.load_stored(encoder)
    for change, message in (
        (
            {"sample_rate": 16000},
            "takes audio at 16,000 Hz, and sounds is built at 8,000 Hz; build it with --sample-rate 16000",
        ),
    ):
        task = Task("other", ("a", "b"), window=WINDOW, **change)
        model_files.save(type(stored)(stored.values, stored.config, task), tmp_path / "wrong")
        with pytest.raises(UsageError, match=message):
            samplecnn.train("sounds", **{**options(built, tmp_path, encoder), "init_from": tmp_path / "wrong"})
    for change in ({"features": 8}, {"recipe": "original"}, {"precision": "bf16"}, {"lr": 0.1}, {"multi": True}):
        with pytest.raises(OptionError, match=f"{next(iter(change))} does not apply to --head-only"):
            samplecnn.train("sounds", **options(built, tmp_path, encoder), **change)
    assert not list(tmp_path.glob("2*"))  # no run directory is left
