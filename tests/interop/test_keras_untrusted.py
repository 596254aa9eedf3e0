"""Keras files of unknown origin: mismatches are named, excessive sizes are refused, and no code is executed."""

import json
import subprocess
import sys
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import samplecnn
from samplecnn import ModelConfig, SampleCNN, Task
from samplecnn.errors import SampleCNNError
from samplecnn.interop.keras import h5, sandbox
from samplecnn.interop.keras.sandbox import read as read_in_child

pytestmark = pytest.mark.usefixtures("in_this_process")


class Intact(NamedTuple):
    """An undamaged file, its model's values by name, and its outputs for one waveform."""

    content: bytes
    values: dict[str, torch.Tensor]
    outputs: np.ndarray

    def __repr__(self) -> str:
        return "Intact()"


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    torch.manual_seed(0)
    config = ModelConfig("se", num_blocks=3, num_classes=3, features=8)
    model = SampleCNN(config, Task("mine", ("a", "b c", "ü"), "multilabel", window=243)).eval()
    for name, value in model.named_buffers():
        value.uniform_(0.5, 1.5) if name.endswith("var") else value.normal_()
    path = tmp_path_factory.mktemp("intact") / "m.h5"
    h5.write(model, path)
    return Intact(path.read_bytes(), model.state_dict(), outputs_of(model))


def outputs_of(model: SampleCNN) -> np.ndarray:
    with torch.no_grad():
        return model(torch.sin(torch.arange(500.0) ** 1.5)[None]).numpy()


@pytest.fixture
def change(intact, tmp_path):
    """change(function of the open file) -> path of the changed model."""

    def apply(function):
        path = tmp_path / "m.h5"
        path.write_bytes(intact.content)
        with h5py.File(path, "r+") as file:
            function(file)
        return path

    return apply


def put(file, place, value, **options):
    """Replaces the values of a weight."""
    del file["model_weights"][place]
    file["model_weights"].create_dataset(place, data=value, **options)


def add_layer(file, name, **weights):
    group = file["model_weights"].create_group(name)
    group.attrs["weight_names"] = [f"{weight}:0".encode() for weight in weights]
    for weight, value in weights.items():
        group[f"{weight}:0"] = value


def external(file):
    del file["model_weights/norm0/norm0/gamma:0"]
    file.create_dataset("model_weights/norm0/norm0/gamma:0", (8,), "f4", external=[("/etc/passwd", 0, 32)])


def virtual(file):
    del file["model_weights/norm0/norm0/gamma:0"]
    layout = h5py.VirtualLayout((8,), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (8,))
    file.create_virtual_dataset("model_weights/norm0/norm0/gamma:0", layout)


def huge(file, **options):
    del file["model_weights/conv0/conv0/kernel:0"]
    file.create_dataset("model_weights/conv0/conv0/kernel:0", dtype="f4", **options)


def names(*of):
    return lambda f: f["model_weights/conv0"].attrs.__setitem__("weight_names", list(of))


def edit_config(edit):
    def apply(file):
        config = json.loads(file.attrs["model_config"])
        edit({layer["name"]: layer for layer in config["config"]["layers"]}, config["config"]["layers"])
        file.attrs["model_config"] = json.dumps(config).encode()

    return apply


GAMMA, KERNEL = "norm0/norm0/gamma:0", "block1_conv/block1_conv/kernel:0"
VARIANCE = "norm0/norm0/moving_variance:0"
REFUSED = {
    "shape": (lambda f: put(f, KERNEL, np.zeros((3, 8, 9), "f4")), r"block1_conv is float32 \[3, 8, 9\].*\[3, 8, 8\]"),
    "rank": (lambda f: put(f, "logit/logit/kernel:0", np.zeros(3, "f4")), r"logit has the shape \[3\]"),
    "not a number": (lambda f: put(f, GAMMA, np.full(8, np.nan, "f4")), "gamma of layer norm0 has values"),
    "infinite": (lambda f: put(f, GAMMA, np.full(8, -np.inf, "f4")), "gamma of layer norm0 has values"),
    "beyond float32": (lambda f: put(f, GAMMA, np.full(8, 1e39)), "gamma of layer norm0 has values"),
    "integers": (lambda f: put(f, GAMMA, np.ones(8, "i4")), r"gamma of layer norm0 is int32 \[8\]"),
    "text": (lambda f: put(f, GAMMA, np.zeros(8, "S4")), "gamma of layer norm0 is"),
    "variable-length texts": (lambda f: put(f, GAMMA, ["x"] * 8, dtype=h5py.string_dtype()), "gamma of layer norm0 is"),
    "references": (lambda f: put(f, GAMMA, [f.ref] * 8, dtype=h5py.ref_dtype), "gamma of layer norm0 is"),
    "records": (lambda f: put(f, GAMMA, np.zeros(8, [("a", "f4"), ("b", "f4")])), "gamma of layer norm0 is"),
    "empty": (lambda f: put(f, GAMMA, h5py.Empty("f4")), "gamma of layer norm0 is not an array"),
    "a type": (lambda f: put_type(f), "gamma of layer norm0 is not an array"),
    "negative variance": (lambda f: put(f, VARIANCE, np.full(8, -0.1, "f4")), "moving_variance of layer norm0 has neg"),
    "external link": (lambda f: replace(f, "final_fc", h5py.ExternalLink("/etc/x.h5", "/x")), "final_fc is a link"),
    "soft link": (lambda f: replace(f, "norm0", h5py.SoftLink("/model_weights/final_norm")), "norm0 is a link"),
    "soft link to weights": (lambda f: replace(f, "norm0/norm0", h5py.SoftLink("/")), "norm0 is a link"),
    "external model": (lambda f: replace(f, "", h5py.ExternalLink("/etc/x.h5", "/")), "model_weights is a link"),
    "external values": (external, "gamma of layer norm0 is stored in another file"),
    "virtual values": (virtual, "gamma of layer norm0 is stored in another file"),
    "huge": (lambda f: huge(f, shape=(3, 1, 1 << 40), chunks=(3, 1, 1024)), "more than"),
    "huge packed": (lambda f: huge(f, shape=(3, 1, 1 << 40), chunks=(3, 1, 1024), compression="gzip"), "more than"),
    "huge chunk": (lambda f: huge(f, shape=(3, 1, 8), maxshape=(3, 1, None), chunks=(3, 1, 1 << 28)), "more than"),
    "up": (names(b"../norm0/norm0/gamma:0"), "'..' is not the name"),
    "from the root": (names(b"/model_weights/norm0/norm0/gamma:0"), "'' is not the name"),
    "no such weight": (names(b"conv0/other:0"), "layer conv0: other:0 is missing"),
    "twice": (names(b"conv0/bias:0", b"conv0/bias:0"), "conv0 has two weights named bias"),
    "a model for several GPUs": (
        lambda f: nest(f), r"layer sample_cnn is a model itself.*multi_gpu_model.*get_layer\('sample_cnn'\)\.save",
    ),
    "many names": (names(*[b"conv0/bias:0"] * 100), "weight_names is longer"),
    "numbers for names": (names(1.0, 2.0), "weight_names is not text"),
    "long names": (names(b"x" * 60000), "conv0"),
    "unknown layer": (lambda f: add_layer(f, "gru", kernel=np.zeros((3, 3), "f4")), "kernel of layer gru has no place"),
    "unknown weight": (lambda f: add_weight(f), "alpha of layer norm0 has no place"),
    "another block's layer": (lambda f: add_layer(f, "block1_conv1", bias=np.zeros(8, "f4")), "layer block1_conv1 has"),
    "missing layer": (lambda f: f["model_weights"].__delitem__("block1_conv"), "block1_conv is missing"),
    "no first layer": (lambda f: f["model_weights"].__delitem__("conv0"), "no layer conv0"),
    "many layers": (lambda f: [f["model_weights"].create_group(f"l{i}") for i in range(1000)], "layers; a"),
    "many blocks": (lambda f: add_layer(f, "block999999_conv", bias=np.zeros(8, "f4")), "1000000 blocks"),
    "other activation": (
        edit_config(lambda by, _: by["block1_relu"]["config"].update(activation="elu")), "block1_relu has activation",
    ),
    "other class": (edit_config(lambda by, _: by["block1_pool"].update(class_name="Average")), "block1_pool is a Av"),
    "code for an activation": (
        edit_config(lambda by, _: by["relu0"]["config"].update(activation={"class_name": "x"})), "relu0 has activ",
    ),
    "no epsilon": (edit_config(lambda by, _: by["norm0"]["config"].update(epsilon="x")), "norm0 has an epsilon of x"),
    "class names": (lambda f: f.attrs.__setitem__("samplecnn_task", "[" * 100_000), "samplecnn_task is damaged"),
    "long description": (lambda f: f.attrs.__setitem__("model_config", "x" * (2 << 20)), "model_config is longer"),
}  # fmt: skip


def nest(file):
    """As `multi_gpu_model` saves: all layers in one, next to layers that split the batch and join the outputs."""
    layers = file["model_weights"]
    names = [name for layer in layers for name in layers[layer].attrs["weight_names"]]
    nested = file.create_group("nested")
    for layer in list(layers):
        file.move(f"model_weights/{layer}/{layer}", f"nested/{layer}") if layer in layers[layer] else None
        del layers[layer]
    nested.attrs["weight_names"] = names
    file.move("nested", "model_weights/sample_cnn")
    for name in ("lambda_1", "lambda_2", "pred"):
        layers.create_group(name).attrs["weight_names"] = np.array([], "S1")


def replace(file, place, link):
    place = f"model_weights/{place}".rstrip("/")
    del file[place]
    file[place] = link


def put_type(file):
    del file[f"model_weights/{GAMMA}"]
    file[f"model_weights/{GAMMA}"] = np.dtype("f4")


def add_weight(file):
    group = file["model_weights/norm0"]
    group.attrs["weight_names"] = [*group.attrs["weight_names"], "norm0/alpha:0"]
    group["norm0/alpha:0"] = np.zeros(8, "f4")


@pytest.mark.parametrize("case", REFUSED)
def test_mismatches_are_refused_and_named(change, case):
    function, message = REFUSED[case]
    path = change(function)
    with pytest.raises(SampleCNNError, match=message) as error:
        samplecnn.load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value) and len(str(error.value)) < 500


def as_dtype(dtype):
    def apply(file):
        for layer in [*file["model_weights"]]:
            for name in file["model_weights"][layer].attrs["weight_names"]:
                put(file, f"{layer}/{name}", file["model_weights"][layer][name][()].astype(dtype))

    return apply


def lambda_layer(by, layers):
    code = "lambda x: __import__('os').abort()"
    layers.insert(1, {"class_name": "Lambda", "name": "evil", "config": {"name": "evil", "function": code}})


@pytest.mark.parametrize(
    ("function", "tolerance"),
    [
        (as_dtype("f8"), 0),
        (as_dtype(">f4"), 0),
        (as_dtype("f2"), 2e-3),
        (lambda f: put(f, GAMMA, f["model_weights"][GAMMA][()], compression="gzip", shuffle=True), 0),
        (lambda f: f["model_weights"].create_group("pool"), 0),
        (lambda f: f["model_weights"].__setitem__("round", f["model_weights"]), 0),
        (lambda f: f["model_weights/conv0"].__setitem__("round", f["/"]), 0),
        (lambda f: f.attrs.__delitem__("model_config"), 0),
        (lambda f: f.attrs.__setitem__("model_config", "[" * 100_000), 0),
        (lambda f: f.attrs.__setitem__("model_config", h5py.Empty("f4")), 0),
    ],
    ids=["float64", "big endian", "float16", "packed", "no weights", "loop", "inner loop", "weights", "deep", "empty"],
)
def test_equivalent_files_are_read(intact, change, function, tolerance):
    model = samplecnn.load(change(function))
    for name, value in model.state_dict().items():
        assert (value - intact.values[name]).abs().max() <= tolerance, name
    assert np.abs(outputs_of(model) - intact.outputs).max() <= 1e-5 + 10 * tolerance


def test_code_in_a_file_is_not_executed(intact, change):
    with pytest.warns(UserWarning, match=r"layer evil \(Lambda\) is left out"):
        model = samplecnn.load(change(edit_config(lambda_layer)))
    assert all(torch.equal(value, intact.values[name]) for name, value in model.state_dict().items())


def test_another_epsilon_is_folded(intact, change):
    """Larger variances with a smaller epsilon: their sums, and so the outputs, are the same."""

    def smaller_epsilon(file):
        group = file["model_weights"]
        for layer in ("norm0", "final_norm"):
            name = f"{layer}/{layer}/moving_variance:0"
            put(file, name, group[name][()] + np.float32(1e-3 - 1e-5))
        edit_config(lambda by, _: [by[n]["config"].update(epsilon=1e-5) for n in ("norm0", "final_norm")])(file)

    path = change(smaller_epsilon)
    assert np.abs(outputs_of(samplecnn.load(path)) - intact.outputs).max() < 1e-5
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    assert np.abs(outputs_of(samplecnn.load(path)) - intact.outputs).max() > 1e-5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
VALUES = st.one_of(
    st.builds(
        lambda shape, dtype, fill: np.full(shape, fill).astype(dtype),
        st.lists(st.integers(0, 9), max_size=4).map(tuple),
        st.sampled_from(["f2", "f4", "f8", ">f4", "i8", "?", "c8"]),
        st.floats(-2, 2, width=16) | st.just(float("nan")),
    ),
    st.binary(max_size=9).map(np.void).filter(lambda v: v.nbytes),
    st.text("ab/.:", max_size=9),
)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_gives_a_model_or_a_single_error(intact, tmp_path, data):
    path = tmp_path / "m.h5"
    path.write_bytes(intact.content)
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]
        for _ in range(data.draw(st.integers(1, 3))):
            layer = data.draw(st.sampled_from([name for name in group if group[name].attrs["weight_names"].size]))
            weight = data.draw(st.sampled_from(list(group[layer].attrs["weight_names"])))
            match data.draw(st.integers(0, 6)):
                case 0 if isinstance(group[layer].get(weight), h5py.Dataset):
                    put(file, f"{layer}/{weight}", data.draw(VALUES))
                case 1 if isinstance(group[layer].get(weight), h5py.Dataset):
                    del group[layer][weight]
                case 2:
                    parts = st.text("ab/.:0_", min_size=1, max_size=9)
                    group[layer].attrs["weight_names"] = [weight, *data.draw(st.lists(parts, max_size=3))]
                case 3:
                    del group[layer]
                case 4 if len(file.attrs["model_config"]) > 1000:
                    layers = json.loads(file.attrs["model_config"])
                    one = data.draw(st.sampled_from(layers["config"]["layers"]))["config"]
                    one[data.draw(st.sampled_from(list(one)))] = data.draw(JSON)
                    file.attrs["model_config"] = json.dumps(layers)
                case 5:
                    file.attrs[data.draw(st.sampled_from(["model_config", "samplecnn_task"]))] = json.dumps(
                        data.draw(JSON)
                    )
                case 6:
                    new = data.draw(st.text("blockconv019_", min_size=1, max_size=12))
                    if new not in group:
                        group.move(layer, new)
    try:
        samplecnn.load(path)
    except SampleCNNError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(8))
def test_flipped_bits_and_truncation_give_a_model_or_a_single_error(monkeypatch, intact, tmp_path, seed):
    """In the file's structure, where a flipped bit can crash the HDF5 library: it is read in a child process."""
    monkeypatch.setattr(h5, "read_contents", read_in_child)
    random = np.random.default_rng(seed)
    copy = bytearray(intact.content)
    structure = [at for at in range(len(copy)) if copy[at - 8 : at + 8].count(0) > 8]
    for at in random.choice(structure, 6 if seed else 0):
        copy[at] = random.integers(256)
    path = tmp_path / "m.h5"
    path.write_bytes(copy if seed % 4 else copy[: random.integers(1, len(copy))])
    try:
        samplecnn.load(path)
    except SampleCNNError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


CODE = "import os, time\ndef answer(path, data, reply):\n    "
HALF = "out = reply.__closure__[0].cell_contents; out.write(bytes(9)); out.flush(); os._exit(0)"
FAILURES = {
    "crash": (CODE + "os.kill(os.getpid(), 11)", "crashes"),
    "half an answer": (CODE + HALF, "crashes"),
    "another answer": (CODE + "reply({'layer': 'a', 'name': 'b', 'dtype': '<f4', 'shape': [3]}, b'abc')", "crashes"),
    "waits": (CODE + "time.sleep(60)", "does not end"),
    "loops": (CODE + "\n    while True: pass", "does not end"),
    "memory": (CODE + "bytes(1 << 30)", "more memory"),
    "no Python": ("raise ImportError('no h5py')", "no h5py"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_failures_of_the_child_process_are_a_single_error(monkeypatch, intact, tmp_path, failure):
    code, message = FAILURES[failure]
    (tmp_path / "failing_child.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sandbox, "CHILD", "failing_child:answer")
    monkeypatch.setattr(sandbox, "SECONDS", 20.0 if failure != "waits" else 2.0)
    monkeypatch.setattr(sandbox, "CPU_SECONDS", 1)
    (tmp_path / "m.h5").write_bytes(intact.content)
    with pytest.raises(SampleCNNError, match=message) as error:
        read_in_child(tmp_path / "m.h5")
    assert str(error.value).startswith(str(tmp_path / "m.h5")) and "\n" not in str(error.value)


def test_memory_is_proportional_to_the_file(tmp_path):
    """A file whose shapes describe a network of gigabytes is refused before memory for it is allocated."""
    group = {f"block{i}_conv": {"bias": np.zeros(1, "f4")} for i in range(20)}
    kernels = {"conv0": (3, 1, 8192), "logit": (8, 3)}
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_group("model_weights")
        for name, weights in group.items():
            add_layer(file, name, **weights)
        for name, shape in kernels.items():
            add_layer(file, name, kernel=np.zeros(shape, "f4"))
    code = (
        "import resource, sys, samplecnn\n"
        "import samplecnn.model_files, torch, samplecnn.interop.keras.h5\n"
        "with torch.device('meta'): samplecnn.SampleCNN(samplecnn.ModelConfig(num_blocks=3))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: samplecnn.load(sys.argv[1])\n"
        "except samplecnn.errors.SampleCNNError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "m.h5"], capture_output=True, text=True, check=True)
    message, kilobytes = done.stdout.splitlines()
    assert "missing" in message or "expected" in message
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(kilobytes) * unit < 20e6
