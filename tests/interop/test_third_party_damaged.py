"""Checkpoints that cannot be converted: a single clear error, no code run, nothing written, little memory."""

import argparse
import functools
import importlib
import io
import os
import pickle
import resource
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import third_party_models as peers
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.interop.convert import ConvertOptions, convert
from samplecnn.interop.third_party import recognise
from samplecnn.interop.third_party.checkpoint import read

small, save = peers.small, peers.save
TAGS = ConvertOptions(classes="mtat")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer3.bn.running_mean"), r"layer3\.bn\.running_mean is missing"),
        (
            lambda s: s.update({"layer3.conv.weight": torch.zeros(8, 8, 5)}),
            r"layer3\.conv\.weight .*\[8, 8, 5\].*\[8, 8, 3\]",
        ),
        (
            lambda s: s.update({"layer7.conv.weight": torch.zeros(32, 32, 3)}),
            r"layer7.*\[32, 32, 3\], expected \[32, 32, 1\]",
        ),
        (lambda s: s.update({"dense.weight": torch.zeros(50)}), r"dense\.weight has the shape \[50\], expected 2"),
        (lambda s: s.update({"layer9.conv.weight": torch.zeros(8, 8, 3)}), r"layer6\.conv\.weight has the shape"),
        (lambda s: s.update({"attention.weight": torch.zeros(2)}), r"attention\.weight is not part of a SampleCNN"),
        (lambda s: s["layer2.bn.running_var"].mul_(-1), r"layer2\.bn\.running_var holds negative"),
        (lambda s: s["layer4.conv.bias"].fill_(float("nan")), r"layer4\.conv\.bias holds values that are not finite"),
        (lambda s: s.update({"dense.bias": torch.zeros(50, dtype=torch.int64)}), r"dense\.bias is torch\.int64"),
        (lambda s: s.update({"dense.bias": torch.zeros(50).to_sparse()}), r"dense\.bias is not a plain tensor"),
        (
            lambda s: s.update({"layer2.conv.bias": torch.zeros(1).expand(10**12)}),
            r"layer2\.conv\.bias has the shape \[1000000000000\], more than",
        ),
        (lambda s: s.update({"layer999.conv.bias": torch.zeros(1)}), r"999 layers of 8 features"),
        (lambda s: s.update({"spec_bn.weight": torch.zeros(1)}), r"a spectrogram model of minzwon"),
        (lambda s: [s.pop(name) for name in list(s) if name.startswith("layer1.")], r"not a SampleCNN of minzwon"),
    ],
)
def test_mismatching_values_are_named(change, message, tmp_path):
    state = small("SotaPlain").state_dict()
    change(state)
    path = save(state, tmp_path / "a.pth")
    with pytest.raises(SampleCNNError, match=message) as caught:
        convert(path, tmp_path / "ours", TAGS)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "ours").exists()


def test_clmr_of_another_size_is_named(tmp_path):
    state = small("Clmr").state_dict()
    state["sequential.2.0.weight"] = torch.zeros(16, 8, 3)  # as in its larger version
    with pytest.raises(
        SampleCNNError, match=r"sequential\.2\.0\.weight has the shape \[16, 8, 3\], expected \[8, 8, 3\]"
    ):
        convert(save(state, tmp_path / "a.pt"), tmp_path / "ours", TAGS)
    head = save({"0.weight": torch.ones(50, 100), "0.bias": torch.ones(50)}, tmp_path / "head.pt")
    with pytest.raises(SampleCNNError, match=r"head\.pt: 0\.weight has the shape \[50, 100\], expected \[50, 32\]"):
        convert(save(small("Clmr").state_dict(), tmp_path / "a.pt"), tmp_path / "ours", TAGS, head)
    with pytest.raises(UsageError, match="are for encoders"):
        convert(save(small("SotaPlain").state_dict(), tmp_path / "b.pt"), tmp_path / "ours", TAGS, head)


class Trap:
    """An object whose unpickling opens a file for writing."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def repacked(whole: bytes, compression=zipfile.ZIP_STORED, change=lambda pickled: pickled) -> bytes:
    """The same zip with another compression or another pickle in it, all checksums correct."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(file, "w", compression) as archive:
        for name in source.namelist():
            content = source.read(name)
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return file.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_never_executed(zipped, tmp_path):
    mark = tmp_path / "executed"
    state = {**small("SotaPlain").state_dict(), "more": Trap(mark)}
    path = save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(SampleCNNError, match=r"io\.open, which is code; save the weights alone in the program that"):
        convert(path, tmp_path / "ours", TAGS)
    assert not mark.exists()


class Call:
    """Unpickles as a call of any function with any arguments."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HOSTILE = {
    "system": Call(os.system, "true"),
    "eval": Call(eval, "1"),
    "attribute": Call(getattr, 1, "real"),
    "import": Call(importlib.import_module, "os"),
    "nested": {"a": [Call(subprocess.Popen, "true")]},
    "partial": functools.partial(os.system, "true"),
    "trusted name": Call(pickle.loads, b"weights_only=False, if you trust the source"),
    "numpy": Call(np.load, "x.npy"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("case", HOSTILE)
def test_no_message_advises_to_run_the_code_of_a_file(case, zipped, tmp_path):
    path = save({"state_dict": HOSTILE[case]}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(SampleCNNError) as caught:
        convert(path, tmp_path / "ours", TAGS)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert not any(word in message for word in ("weights_only", "trust", "add_safe_globals", "torch.load"))


def test_pickles_that_only_the_unpickler_refuses_get_no_advice_either(tmp_path):
    """Operations that are allowed by name and refused on execution."""
    whole = torch_bytes({"a": torch.zeros(2)})
    pickles = (
        b"\x80\x02cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02]\x93.",
        b"\x80\x02ctorch\nload\n)R.",
        b"\x80\x04\x8c\x01a\x93.",
    )
    for pickled in pickles:
        path = tmp_path / "a.pth"
        for content in (repacked(whole, change=lambda _, pickled=pickled: pickled), pickled):
            path.write_bytes(content)
            with pytest.raises(SampleCNNError) as caught:
                convert(path, tmp_path / "ours", TAGS)
            assert not any(word in str(caught.value) for word in ("weights_only", "trust", "safe_globals"))


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_model_is_refused_with_the_remedy(zipped, tmp_path):
    path = save(nn.Sequential(nn.Conv1d(1, 2, 3)), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(SampleCNNError, match=r"torch\.nn\.modules.*which is code; save the weights alone"):
        convert(path, tmp_path / "ours", TAGS)


def test_objects_of_a_training_framework_are_ignored(tmp_path, monkeypatch):
    """Its objects are values and keys next to the weights; the framework is not needed and none of its code runs."""
    ran = []
    framework = types.ModuleType("pytorch_lightning")
    framework.Callback = type(
        "Callback", (), {"__module__": "pytorch_lightning", "__setstate__": lambda *_: ran.append(1)}
    )
    monkeypatch.setitem(sys.modules, "pytorch_lightning", framework)
    callback = framework.Callback()
    callback.best = 0.5
    net = small("Clmr")
    path = save(
        {
            "state_dict": net.state_dict(),
            "callbacks": {framework.Callback: {"best": callback}},
            "hyper_parameters": argparse.Namespace(dataset="magnatagatune", path=Path("data")),
            "loops": np.float64(3.5),
        },
        tmp_path / "a.ckpt",
    )
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    x = peers.sounds(2, peers.WINDOW)
    ours = convert(path, tmp_path / "ours").model.probabilities(x)
    torch.testing.assert_close(ours, torch.sigmoid(net(x)), rtol=0, atol=1e-5)
    assert not ran


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_files_that_are_not_checkpoints(tmp_path):
    path, state = tmp_path / "a.pth", small("SotaPlain").state_dict()
    whole = save(state, tmp_path / "whole.pth").read_bytes()
    old = save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False).read_bytes()
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("clmr_checkpoint_10000.pt", whole)
    (tmp_path / "small.zip").write_bytes(repacked(whole, zipfile.ZIP_DEFLATED))
    script = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), script)
    cases = {
        b"": "not a PyTorch checkpoint",
        b"just text": "not a PyTorch checkpoint",
        b"\x80\x02": "damaged, or not",
        b"PK\x03\x04nothing": "damaged, or not",
        whole[: len(whole) // 2]: "damaged, or not",
        whole[:-1]: "damaged, or not",
        old[: len(old) // 2]: "damaged, or not",
        old[:-1]: "damaged, or not",
        old + b"more": "data after its end",
        whole.replace(state["dense.bias"].numpy().tobytes(), b"\1" * 200): "wrong checksum of",
        (tmp_path / "packed.zip").read_bytes(): r"holds clmr_checkpoint_10000\.pt; unpack it",
        (tmp_path / "small.zip").read_bytes(): "compressed records",
        script.getvalue(): "TorchScript",
        torch_bytes([1, 2]): "holds a list, not a state dict",
        torch_bytes({"a": 1}): "holds no tensors",
        torch_bytes({"best": None, "random_state": torch.zeros(1), "weights": {}}): "the run's directory",
    }
    for content, message in cases.items():
        path.write_bytes(content)
        with pytest.raises(SampleCNNError, match=message) as caught:
            convert(path, tmp_path / "ours", TAGS)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no such file"):
        convert(tmp_path / "none.pth", tmp_path / "ours", TAGS)


def torch_bytes(value) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def test_existing_output_is_not_overwritten(tmp_path):
    path = save(small("SotaPlain").state_dict(), tmp_path / "a.pth")
    convert(path, tmp_path / "ours", TAGS)
    before = (tmp_path / "ours" / "model.safetensors").read_bytes()
    (tmp_path / "file").write_text("precious")
    for out in ("ours", "file"):
        with pytest.raises(UsageError, match="exists already"):
            convert(path, tmp_path / out, TAGS)
    assert (tmp_path / "ours" / "model.safetensors").read_bytes() == before
    assert (tmp_path / "file").read_text() == "precious"


TINY = {"features": 4, "blocks": 3, "classes": 2}


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    net = peers.trained(peers.SotaPlain(**TINY), 81)
    return {
        "zip": save(net.state_dict(), folder / "a").read_bytes(),
        "old": save(net.state_dict(), folder / "b", _use_new_zipfile_serialization=False).read_bytes(),
    }


@settings(max_examples=250, deadline=2000, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_damage_is_a_single_error_or_harmless(whole_files, tmp_path_factory, data):
    """Flipped bits and truncation, in both formats, and in a zip's pickle under a correct checksum."""
    kind = data.draw(st.sampled_from(["zip", "pickle", "old", "old start"]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def damaged(content: bytes) -> bytes:
        content = bytearray(content)
        reach = min(len(content), 2500) if kind == "old start" else len(content)  # the pickle
        for place in data.draw(st.lists(st.integers(0, reach * 8 - 1), min_size=1, max_size=3)):
            content[place // 8] ^= 1 << place % 8
        return bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])

    whole = whole_files["zip" if kind in ("zip", "pickle") else "old"]
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(repacked(whole, change=damaged) if kind == "pickle" else damaged(whole))
    try:
        model = recognise(read(path)).model
    except SampleCNNError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert all(value.isfinite().all() for value in model.state_dict().values())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000  # kB
