"""samplecnn convert, and what the other commands make of what it wrote."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import samplecnn
from samplecnn.audio import decode, from_int16, to_int16
from samplecnn.cli.app import app
from samplecnn.errors import UsageError
from samplecnn.interop.presets import MTAT, MTT
from samplecnn.model_files import save as save_model
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.task import Task
from samplecnn.training import train


def interop_module(name):
    """A module of tests/interop: there are no test packages to import it from."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / "interop" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


peers = interop_module("third_party_models")
WINDOW = peers.WINDOW


def run(*words) -> str:
    """The command in this process: its output; errors come out as they were raised."""
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False).output


def fails(*words) -> str:
    with pytest.raises(UsageError) as caught:  # exit code 2
        run(*words)
    return str(caught.value)


@pytest.fixture
def plain(tmp_path) -> Path:
    return peers.save(peers.small("SotaPlain").state_dict(), tmp_path / "best_model.pth")


def test_a_recording_gets_the_tags_the_other_program_gives_it(shared, tmp_path):
    """Tagging takes all of a recording and the mean over its windows: theirs, window by window, gives the same."""
    recording = next((shared / "data").glob("*.mp3"))
    for kind, rate, words in (("SotaSE", 16000, []), ("Clmr", 22050, ["--order", "mtt"])):
        net = peers.trained(getattr(peers, kind)(features=8, blocks=8), 19683)
        path = peers.save(net.state_dict(), tmp_path / f"{kind}.pt")
        said = run("convert", path, tmp_path / kind, "--classes", "mtat", *words)
        assert "recognised: SampleCNN" in said and f"{rate:,} Hz" in said
        run("tag", tmp_path / kind, recording, "--precision", "fp32", "-o", tmp_path / "tags", "--format", "json")
        tagged = json.loads((tmp_path / "tags").read_text())["files"][0]["tags"]
        wave = from_int16(to_int16(decode(recording, rate)))  # as tagging and training hear it
        whole = len(wave) // 19683
        assert len(wave) - whole * 19683 >= 0.1 * 19683  # so that the last window is the recording's last samples
        windows = np.concatenate([wave[: whole * 19683].reshape(whole, 19683), wave[None, -19683:]])
        with torch.no_grad():
            theirs = net(torch.from_numpy(windows))
        theirs = theirs if kind == "SotaSE" else torch.sigmoid(theirs)
        expected = dict(zip(MTAT, theirs.mean(0).tolist(), strict=True))
        assert max(abs(tagged[name] - expected[name]) for name in MTAT) < 2e-5
        order = samplecnn.load(tmp_path / kind).task.classes
        assert order == (MTT if words else MTAT) and set(tagged) == set(order)


def assert_same_values(one: SampleCNN, other: SampleCNN) -> None:
    values, others = one.state_dict(), other.state_dict()
    assert list(values) == list(others)
    assert all(torch.equal(value, others[name]) for name, value in values.items())


def test_an_h5_gets_its_class_names_and_sound(shared, tmp_path):
    """The original's file holds neither; for a custom data set they are given once."""
    source = shared / "interop" / "keras" / "scd-se.h5"
    names = tmp_path / "words.txt"
    names.write_text("\n".join(f"word {i}" for i in range(35)))
    said = run(
        "convert", source, tmp_path / "ours", "--classes", names, "--name", "mine", "--sample-rate", 16000,
        "--window", 20000, "--mean", 0.001, "--std", 0.2, "--kind", "multilabel",
    )  # fmt: skip
    assert "word 0, word 1" in said and "16,000 Hz" in said and "mean 0.001" in said
    before, after = samplecnn.load(source), samplecnn.load(tmp_path / "ours")
    task = after.task
    assert task.classes[34] == "word 34" and before.task.classes[34] == "zero"
    assert (task.name, task.kind, task.sample_rate, task.window) == ("mine", "multilabel", 16000, 20000)
    assert (task.mean, task.std) == (0.001, 0.2)
    x = torch.randn(2, 22050)
    assert_same_values(before, after)
    torch.testing.assert_close(before(x), after(x), rtol=1e-5, atol=1e-5)
    run("convert", source, tmp_path / "as it is")
    assert samplecnn.load(tmp_path / "as it is").task == before.task
    run("convert", tmp_path / "as it is", tmp_path / "back.h5")
    assert_same_values(samplecnn.load(tmp_path / "back.h5"), before)


def test_sound_options_apply_to_other_programs_models(plain, tmp_path):
    run("convert", plain, tmp_path / "ours", "--classes", "msd", "--name", "mine", "--sample-rate", 22050,
        "--window", 2187, "--mean", -0.001, "--std", 0.5)  # fmt: skip
    task = samplecnn.load(tmp_path / "ours").task
    assert (task.name, task.sample_rate, task.window, task.mean, task.std) == ("mine", 22050, 2187, -0.001, 0.5)
    assert "std must be a finite number above 0" in fails(
        "convert", plain, tmp_path / "b", "--classes", "msd", "--std", 0
    )
    assert "needs 727 samples or more" in fails("convert", plain, tmp_path / "b", "--classes", "msd", "--window", 726)


def test_order_moves_names_and_outputs_together(plain, tmp_path):
    said = run("convert", plain, tmp_path / "a", "--classes", "mtat")
    assert "guitar, classical" in said
    run("convert", plain, tmp_path / "b", "--classes", "mtat", "--order", "mtt")
    said = run("convert", tmp_path / "a", tmp_path / "c", "--order", "sorted")
    assert "order: the outputs are now in the order of sorted: ambient, beat" in said
    x = peers.sounds(2, WINDOW)
    first = samplecnn.load(tmp_path / "a")
    for other in (samplecnn.load(tmp_path / "b"), samplecnn.load(tmp_path / "c")):
        places = [first.task.classes.index(name) for name in other.task.classes]
        assert places != sorted(places)
        assert torch.equal(first.logit.weight[places], other.logit.weight)
        assert torch.equal(first.logit.bias[places], other.logit.bias)
        torch.testing.assert_close(first(x)[:, places], other(x), rtol=1e-5, atol=1e-5)
    assert samplecnn.load(tmp_path / "b").task.classes == MTT
    assert "'guitar' is in only one of the two" in fails("convert", tmp_path / "a", tmp_path / "d", "--order", "scd")


def test_an_encoder_to_start_training_from(built, tmp_path):
    """The encoder's weights are where training begins; the classes are the data set's."""
    net = peers.trained(peers.ClmrContrastive(peers.Clmr(8, 5, classes=0), peers.TOP).encoder, WINDOW)
    path = peers.save({f"encoder.{name}": value for name, value in net.state_dict().items()}, tmp_path / "a.pt")
    assert "--encoder-only" in fails("convert", path, tmp_path / "body")
    assert "--init-from" in run("convert", path, tmp_path / "body", "--encoder-only")
    made = train(
        "sounds", data_dir=str(built / "data"), log_dir=str(tmp_path / "log"), block="basic", features=8, device="cpu",
        num_stages=1, max_epochs=1, lr=1e-12, num_readers=1, init_from=str(tmp_path / "body"), recipe="original",
    )  # fmt: skip
    ours = samplecnn.load(made.run)
    torch.testing.assert_close(ours.blocks[0].conv.weight, net.sequential[1][0].weight)
    assert ours.task.num_classes == 3


@pytest.mark.parametrize("kind", ["SotaSE", "two dense layers"])
def test_what_cannot_be_trained_or_be_an_h5_is_refused(kind, built, tmp_path):
    net = peers.small("SotaSE") if kind == "SotaSE" else peers.small_linear(two=True)
    path = peers.save(net.state_dict(), tmp_path / "a.pt")
    run("convert", path, tmp_path / "ours", "--classes", "mtat")
    block, says = ("rese2", "rese2-wide cannot be trained") if kind == "SotaSE" else ("basic", "be trained; convert")
    with pytest.raises(UsageError, match=says):
        train("sounds", data_dir=str(built / "data"), block=block, features=8, init_from=str(tmp_path / "ours"))
    assert "cannot express" in fails("convert", path, tmp_path / "ours.h5", "--classes", "mtat")
    assert not (tmp_path / "ours.h5").exists()
    with pytest.raises(UsageError, match="block 'rese2-wide' cannot be trained"):
        train("sounds", data_dir=str(built / "data"), block="rese2-wide")


def test_a_converted_model_is_scored(built, tmp_path):
    """On a data set whose classes it has: the folder's three sounds, sorted."""
    names = tmp_path / "names.txt"
    names.write_text("noise\nlow\nhigh\n")
    path = peers.save(peers.small("Clmr", classes=3).state_dict(), tmp_path / "a.pt")
    run("convert", path, tmp_path / "ours", "--classes", names, "--kind", "multiclass", "--sample-rate", 8000,
        "--order", "sorted")  # fmt: skip
    assert "roc" in run("eval", "sounds", tmp_path / "ours", "--data-dir", built / "data").lower()


def test_wrong_use_is_one_line(plain, tmp_path):
    said = fails("convert", plain, tmp_path / "ours")
    assert said.startswith(f"{plain}: ") and "\n" not in said and not (tmp_path / "ours").exists()
    model = SampleCNN(ModelConfig("basic", num_blocks=3, num_classes=1, features=4), Task("a", ("b",), window=243))
    save_model(model, tmp_path / "whole")
    assert "are for encoders" in fails("convert", tmp_path / "whole", tmp_path / "ours", "--encoder-only")
    assert "no model.safetensors here" in fails("convert", tmp_path, tmp_path / "ours")
    assert "there is no such" in fails("convert", tmp_path / "none.h5", tmp_path / "ours")
    assert "neither a file of class names nor" in fails("convert", plain, tmp_path / "ours", "--classes", "magna")
