"""Checkpoints of other programs: the converted model gives the outputs of a plain re-creation of their network."""

import argparse
import gzip
from collections import OrderedDict

import numpy as np
import pytest
import third_party_models as peers
import torch
from torch import nn

import samplecnn
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.interop.convert import ConvertOptions, convert
from samplecnn.interop.presets import JAMENDO, MSD, MTAT, PRESETS
from samplecnn.interop.third_party import weights

WINDOW, TOP = peers.WINDOW, peers.TOP
small, small_linear, save = peers.small, peers.small_linear, peers.save
TAGS = ConvertOptions(classes="mtat")


def assert_same_outputs(model, net, window=WINDOW, logits=False, off=1e-5):
    x = peers.sounds(3, window, seed=2)
    with torch.no_grad():
        theirs, ours = net(x), model.probabilities(x)
    theirs = torch.sigmoid(theirs) if logits else theirs
    assert theirs.std(0).max() > 0.01 and theirs.std(1).min() > 0.02  # the outputs depend on the input and the class
    assert (theirs - ours).abs().max() <= off


# The outputs


@pytest.mark.parametrize("kind", ["SotaPlain", "SotaSE", "Clmr"])
def test_published_sizes_have_the_same_outputs_after_conversion(kind, tmp_path):
    net = peers.trained(getattr(peers, kind)())
    done = convert(save(net.state_dict(), tmp_path / "best_model.pth"), tmp_path / "ours", TAGS)
    model = samplecnn.load(tmp_path / "ours")
    assert_same_outputs(model, net, 59049, logits=kind == "Clmr")
    task = model.task
    assert (task.classes, task.kind, task.window, task.mean, task.std) == (MTAT, "multilabel", 59049, 0.0, 1.0)
    assert task.sample_rate == (22050 if kind == "Clmr" else 16000)
    assert task.segments_per_clip == (10 if kind == "Clmr" else 7)
    assert done.lines[-1] == f"next: samplecnn tag {tmp_path / 'ours'} RECORDING"


@pytest.mark.parametrize("kind", ["SotaPlain", "SotaSE"])
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"model": state},
        lambda state: {"epoch": 3, "state_dict": OrderedDict(state), "optimizer": {"state": {}}},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {
            f"_orig_mod.module.{name}": nn.Parameter(v.double(), v.dtype.is_complex) for name, v in state.items()
        },
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_all_common_forms_of_a_state_dict(kind, wrapped, zipped, tmp_path):
    net = small(kind)
    path = save(wrapped(net.state_dict()), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert_same_outputs(convert(path, tmp_path / "ours", TAGS).model, net)


@pytest.mark.parametrize("number", [torch.float16, torch.bfloat16])
def test_half_precision(number, tmp_path):
    net = small("SotaPlain").to(number).float()
    path = save({name: value.to(number) for name, value in net.state_dict().items()}, tmp_path / "a.pth")
    assert_same_outputs(convert(path, tmp_path / "ours", TAGS).model, net)


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    net = small("SotaSE")
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    assert_same_outputs(convert(tmp_path / "a.safetensors", tmp_path / "ours", TAGS).model, net)
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-100])
    with pytest.raises(SampleCNNError, match="damaged, or not safetensors"):
        convert(tmp_path / "a.safetensors", tmp_path / "other", TAGS)


@pytest.mark.parametrize("kind", ["Clmr", "ClmrOlder"])
def test_clmr_trained_with_labels(kind, tmp_path):
    net = small(kind)
    for number, state in enumerate(
        (
            net.state_dict(),
            {f"encoder.{name}": value for name, value in net.state_dict().items()},
            {f"{holder}.{name}": v for holder in ("encoder", "model") for name, v in net.state_dict().items()},
        )
    ):
        path = save(state, tmp_path / f"{number}.pt")
        assert_same_outputs(convert(path, tmp_path / f"ours{number}", TAGS).model, net, logits=True)


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("files", [1, 2])
def test_clmr_encoder_with_a_separately_trained_head(two, files, tmp_path):
    net = small_linear(two)
    if files == 1:
        path, head = (
            save({"state_dict": net.state_dict(), "pytorch-lightning_version": "1.2"}, tmp_path / "a.ckpt"),
            None,
        )
    else:
        contrastive = peers.ClmrContrastive(net.encoder, TOP)
        path = save({"state_dict": contrastive.state_dict()}, tmp_path / "a.ckpt")
        head = save(net.model.state_dict(), tmp_path / "finetuner_checkpoint_200.pt")
    model = convert(path, tmp_path / "ours", TAGS, head).model
    assert_same_outputs(model, net, logits=True)
    assert model.config.tail == two
    loaded = samplecnn.load(tmp_path / "ours")
    assert_same_outputs(loaded, net, logits=True)
    assert loaded.eval()(torch.zeros(1, 5000)).isfinite().all()  # any input length, as for every model


def test_clmr_head_in_a_separate_lightning_file(tmp_path):
    net = small_linear()
    encoder = save(net.encoder.state_dict(), tmp_path / "a.pt")
    head = save({"state_dict": net.state_dict(), "hyper_parameters": {"dataset": "magnatagatune"}}, tmp_path / "b.ckpt")
    assert_same_outputs(convert(encoder, tmp_path / "ours", head=head).model, net, logits=True)


def test_epsilon_and_padding_change_the_outputs(tmp_path, monkeypatch):
    """With the wrong epsilon or first padding the outputs differ, so the tests above would fail."""
    net = small("SotaPlain")
    path = save(net.state_dict(), tmp_path / "a.pth")
    with monkeypatch.context() as patched, pytest.raises(AssertionError):
        patched.setattr(weights, "EPSILON", 1e-3)
        assert_same_outputs(convert(path, tmp_path / "a", TAGS).model, net, off=1e-2)
    model = convert(path, tmp_path / "b", TAGS).model
    model.conv0.kind = "same"
    with pytest.raises(AssertionError):
        assert_same_outputs(model, net, off=1e-3)


# What the file does not state


def test_an_encoder_alone_is_refused_or_converted_as_untrained(tmp_path):
    net = small_linear()
    encoder = net.encoder
    state = {
        **encoder.state_dict(),
        "fc.weight": torch.zeros(50, TOP),
        "fc.bias": torch.zeros(50),
    }  # an unused output layer
    for path in (
        save(state, tmp_path / "a.pt"),
        save(peers.ClmrContrastive(encoder, TOP).state_dict(), tmp_path / "b.pt"),
    ):
        with pytest.raises(UsageError, match=r"without an output layer.*--head.*--encoder-only"):
            convert(path, tmp_path / "ours", TAGS)
        done = convert(path, tmp_path / f"ours-{path.stem}", encoder_only=True)
        assert done.model.task.classes == ("untrained",)
        assert (done.model.probabilities(peers.sounds(3, WINDOW)) == 0.5).all()
        assert any("untrained" in line for line in done.lines) and "--init-from" in done.lines[-1]
        body = encoder.sequential[:-1](peers.sounds(3, WINDOW)[:, None]).squeeze(-1)
        torch.testing.assert_close(done.model.features(peers.sounds(3, WINDOW))[-1][:, 0], body, rtol=1e-3, atol=1e-3)
    with pytest.raises(UsageError, match="contradict"):
        convert(path, tmp_path / "c", head=path, encoder_only=True)
    with pytest.raises(UsageError, match="no trained output layer"):
        convert(path, tmp_path / "c", TAGS, head=path)
    with pytest.raises(UsageError, match="omit --classes"):
        convert(path, tmp_path / "c", TAGS, encoder_only=True)


def test_classes_are_required_unless_the_file_identifies_them(tmp_path):
    net = small("SotaPlain")
    path = save(net.state_dict(), tmp_path / "best_model.pth")
    presets = r"mtat, msd, jamendo, mtt, mtt-numpy-1\.25"
    with pytest.raises(UsageError, match=f"50 classes; pass --classes with one of {presets}, or a file"):
        convert(path, tmp_path / "ours")
    for name in ("mtat", "msd", "jamendo"):
        theirs = tmp_path / "models" / name / "sample" / "best_model.pth"
        theirs.parent.mkdir(parents=True)
        path.rename(theirs)
        done = convert(theirs, tmp_path / name)
        assert done.model.task.classes == PRESETS[name].classes and done.model.task.name == name
        assert f"classes: {name} (from the folder models/{name})" in "\n".join(done.lines)
        path = theirs
    state = small("Clmr").state_dict()
    for dataset, name in (("magnatagatune", "mtat"), ("msd", "msd")):
        saved = save(
            {"state_dict": state, "hyper_parameters": {"dataset": dataset, "sample_rate": 16000}}, tmp_path / "c.ckpt"
        )
        task = convert(saved, tmp_path / f"c-{name}").model.task
        assert task.classes == PRESETS[name].classes and task.sample_rate == 16000


def test_class_names_from_a_file_and_the_kind_of_outputs(tmp_path):
    state = small("Clmr", classes=3).state_dict()
    path = save({"state_dict": state}, tmp_path / "a.ckpt")
    names = tmp_path / "genres.txt"
    names.write_text("blues\njazz\n\nrock\n")
    with pytest.raises(UsageError, match="--kind multilabel"):
        convert(path, tmp_path / "a", ConvertOptions(classes=str(names)))
    task = convert(path, tmp_path / "a", ConvertOptions(classes=str(names), kind="multiclass")).model.task
    assert (task.name, task.classes, task.kind) == ("genres", ("blues", "jazz", "rock"), "multiclass")
    save({"state_dict": state, "hyper_parameters": argparse.Namespace(dataset="gtzan")}, path)
    assert convert(path, tmp_path / "b", ConvertOptions(classes=str(names))).model.task.kind == "multiclass"
    for text, message in (("blues\njazz", "2 names, but .* has 3 outputs"), ("a\nb\na", "duplicate class name 'a'")):
        names.write_text(text)
        with pytest.raises(UsageError, match=message):
            convert(path, tmp_path / "c", ConvertOptions(classes=str(names)))
    with pytest.raises(UsageError, match=r"50 names, but .* has 3 outputs"):
        convert(path, tmp_path / "c", TAGS)


def test_class_lists(shared):
    """MagnaTagATune's follows the published counts; ties are in the order of an argsort without vector instructions."""
    with gzip.open(shared / "data" / "magnatagatune-annotations_final.csv.gz", "rt") as file:
        rows = file.read().splitlines()
    header = [name.strip('"') for name in rows[0].split("\t")]
    counts = sum(np.array([cell == '"1"' for cell in row.split("\t")], dtype=int) for row in rows[1:])
    count_of = dict(zip(header, counts, strict=True))
    assert [count_of[tag] for tag in MTAT] == sorted(counts, reverse=True)[:50]
    assert MTAT[:3] == ("guitar", "classical", "slow") and MTAT[-3:] == ("metal", "female voice", "choral")
    for tags in (MTAT, MSD, JAMENDO):
        assert len(tags) == len(set(tags)) == 50
    assert list(JAMENDO) == sorted(JAMENDO)
    assert sum(name.startswith("genre---") for name in JAMENDO) == 31
