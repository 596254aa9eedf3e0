"""Models of the original code: outputs, names of layers, and damaged or foreign files."""

import json
import os

import h5py
import numpy as np
import pytest
import torch

import samplecnn
from samplecnn import ModelConfig, SampleCNN, Task, model_files
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.interop.keras import h5
from samplecnn.models import BLOCKS


@pytest.mark.parametrize("name", ["scd-se", "scd-rese2_multi", "mtt-se_multi"])
def test_outputs_are_the_originals(shared, name):
    model = samplecnn.load(shared / "interop" / "keras" / f"{name}.h5")
    expected = np.load(shared / "interop" / "keras" / f"{name}.npz")
    assert model.task.name == name.split("-")[0]
    assert model.config.signature == name.split("-")[1]
    with torch.no_grad():
        found = model.probabilities(torch.from_numpy(expected["x"])).numpy()
    assert np.abs(found - expected["y"]).max() < 1e-5


def make(block="se", multi=False, classes=("a", "b c", "ü"), **changes) -> SampleCNN:
    torch.manual_seed(0)
    config = {"block": block, "multi": multi, "num_blocks": 3, "num_classes": len(classes), "features": 16, **changes}
    task = Task(name="mine", classes=classes, kind="multilabel", window=100, mean=0.1, std=0.3, threshold=0.2)
    return SampleCNN(ModelConfig(**config), task).eval()


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("multi", [False, True])
def test_written_files_are_read_back_bit_for_bit(tmp_path, block, multi):
    model = make(block, multi, dropout=0.25 if multi else 0.0)
    h5.write(model, tmp_path / "m.h5")
    again = samplecnn.load(tmp_path / "m.h5")
    assert again.task == model.task
    assert again.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("ratio", [0.0625, 0.125, 0.13, 0.5, 1.0, 2.0, 4.0])
def test_amplifying_ratios_are_derived_from_shapes(tmp_path, ratio):
    model = make(amplifying_ratio=ratio)
    h5.write(model, tmp_path / "m.h5")
    again = h5.read(tmp_path / "m.h5").module()
    assert [v.shape for v in again.state_dict().values()] == [v.shape for v in model.state_dict().values()]


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(("classes", "features"), [(1, 1), (2, 3), (70, 24)])
@pytest.mark.parametrize("num_blocks", [1, 2, 11])
def test_sizes_are_derived_from_shapes(tmp_path, classes, features, num_blocks):
    names = tuple(f"c{i}" for i in range(classes))
    model = make("rese1", num_blocks=num_blocks, features=features, amplifying_ratio=1.5, classes=names)
    h5.write(model, tmp_path / "m.h5")
    again = samplecnn.load(tmp_path / "m.h5")
    assert again.config == model.config and again.task == model.task


def test_first_padding_valid_is_kept(tmp_path):
    model = make(first_padding="valid")
    h5.write(model, tmp_path / "m.h5")
    assert samplecnn.load(tmp_path / "m.h5").config == model.config


@pytest.mark.parametrize("beyond", [{"first_padding": "centred"}, {"tail": True}])
def test_architectures_that_keras_cannot_represent_are_not_written(tmp_path, beyond):
    with pytest.raises(UsageError, match=r"m\.h5: the original's Keras network cannot express"):
        h5.write(make(**beyond), tmp_path / "m.h5")
    assert not list(tmp_path.iterdir())


def text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def test_names_are_the_originals(shared, tmp_path):
    """Every layer and weight is written with the name and at the path that the original uses."""
    for name in ("scd-se", "scd-rese2_multi", "mtt-se_multi"):
        source = shared / "interop" / "keras" / f"{name}.h5"
        h5.write(h5.read(source), tmp_path / "m.h5")
        with h5py.File(source) as theirs, h5py.File(tmp_path / "m.h5") as ours:
            theirs, ours = theirs["model_weights"], ours["model_weights"]
            assert list(map(text, ours.attrs["layer_names"])) == list(map(text, theirs.attrs["layer_names"]))
            for layer in map(text, theirs.attrs["layer_names"]):
                names = [text(n) for n in theirs[layer].attrs["weight_names"]]
                assert [text(n) for n in ours[layer].attrs["weight_names"]] == names
                for weight in names:
                    assert np.array_equal(ours[layer][weight], theirs[layer][weight])


SET_BY = {
    "class_name", "name", "filters", "kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias",
    "units", "epsilon", "momentum", "pool_size", "rate", "target_shape", "batch_input_shape",
}  # fmt: skip


def test_the_description_is_the_originals(shared, tmp_path):
    """Same layers, order, inputs and settings; initial values and penalties are not described."""
    for name in ("scd-se", "scd-rese2_multi", "mtt-se_multi"):
        source = shared / "interop" / "keras" / f"{name}.h5"
        h5.write(h5.read(source), tmp_path / "m.h5")
        theirs, ours = (
            json.loads(h5py.File(path).attrs["model_config"])["config"] for path in (source, tmp_path / "m.h5")
        )
        for key in ("name", "input_layers", "output_layers"):
            assert ours[key] == theirs[key]
        for mine, original in zip(ours["layers"], theirs["layers"], strict=True):
            assert mine["inbound_nodes"] == original["inbound_nodes"]
            for settings in (mine, original):
                settings.update(settings.pop("config"))
            assert {k: mine[k] for k in SET_BY if k in mine} == {k: original[k] for k in SET_BY if k in original}


def test_texts_are_bytes_for_keras_2_1(tmp_path):
    """Keras 2.1 calls decode on them; h5py of 2018 returned bytes for ASCII and str for UTF-8."""
    h5.write(make(), tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        for place in (file, file["model_weights"]):
            for name in {"model_config", "backend", "keras_version"} & set(place.attrs):
                kind = place.attrs.get_id(name).get_type()
                assert kind.get_class() == h5py.h5t.STRING and kind.get_cset() == h5py.h5t.CSET_ASCII


def test_weights_only_files_are_read(tmp_path):
    h5.write(make(classes=tuple(f"w{i}" for i in range(35))), tmp_path / "whole.h5")
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "weights.h5", "w") as weights:
        for layer in whole["model_weights"]:
            whole.copy(f"model_weights/{layer}", weights)
    model = h5.read(tmp_path / "weights.h5").module()
    assert model.task.name == "scd"


def test_damaged_and_foreign_files(tmp_path):
    h5.write(make(), tmp_path / "m.h5")
    whole = (tmp_path / "m.h5").read_bytes()
    for name, content in (("half", whole[: len(whole) // 2]), ("empty", b""), ("text", b"not a model" * 100)):
        path = tmp_path / f"{name}.h5"
        path.write_bytes(content)
        with pytest.raises(SampleCNNError, match=str(path)):
            samplecnn.load(path)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["model_weights/dense/kernel:0"] = np.zeros((3, 3))
    with pytest.raises(SampleCNNError, match="not a SampleCNN"):
        samplecnn.load(tmp_path / "foreign.h5")


def test_a_saved_folder_is_complete(tmp_path):
    model = make("rese2", multi=True)
    model_files.save(model, tmp_path)
    for path in (tmp_path, tmp_path / model_files.WEIGHTS):
        again = samplecnn.load(path)
        assert again.task == model.task and again.config == model.config and not again.training
        assert all(torch.equal(a, b) for a, b in zip(*(m.state_dict().values() for m in (model, again)), strict=True))


def test_missing_and_damaged_models_are_a_single_line(tmp_path):
    with pytest.raises(UsageError, match="there is no such model"):
        samplecnn.load(tmp_path / "no.h5")
    with pytest.raises(UsageError, match=r"no model\.safetensors"):
        samplecnn.load(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UsageError, match="not a model"):
        samplecnn.load(tmp_path / "x.txt")
    model_files.save(make(), tmp_path)
    weights = tmp_path / model_files.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(SampleCNNError, match="damaged"):
        samplecnn.load(tmp_path)
    (tmp_path / model_files.CONFIG).write_text("{}")
    with pytest.raises(SampleCNNError, match=r"config\.json: format_version is missing; .* copy it"):
        samplecnn.load(tmp_path)
    (tmp_path / model_files.CONFIG).unlink()
    with pytest.raises(SampleCNNError, match="class names"):
        samplecnn.load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    model_files.save(make(), tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
        with pytest.raises(SampleCNNError, match=f"{name}: not a regular file"):
            model_files.load_graph(tmp_path)
    os.mkfifo(tmp_path / "m.h5")
    with pytest.raises(UsageError, match="not a regular file"):
        model_files.load_graph(tmp_path / "m.h5")
