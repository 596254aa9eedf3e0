"""Starting from a trained network: frozen blocks, rates by depth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import samplecnn
from samplecnn import Task, model_files
from samplecnn.errors import OptionError, UsageError
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.models.layers import BatchNorm
from samplecnn.models.logmel import LogMel
from samplecnn.training import TrainOptions, resume, train
from samplecnn.training.averaging import Average, estimate_norms
from samplecnn.training.checkpoint import CHECKPOINT
from samplecnn.training.depth import by_depth, description, freeze
from samplecnn.training.options import resolved
from samplecnn.training.recipes import MODERN
from samplecnn.training.step import Step, new_optimizer

TASK = Task("sounds", ("high", "low", "noise"), sample_rate=8000, window=729, mean=0.01, std=0.3)
FEW = {"freeze": 2, "init_from": "x"}


def network(block: str = "se", features: int = 8, **more) -> SampleCNN:
    torch.manual_seed(0)
    return SampleCNN(ModelConfig(block, num_blocks=5, num_classes=3, features=features, **more), TASK).train()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A network with random weights, whose batch norms have seen noise."""
    model = network()
    for number in range(20):
        torch.manual_seed(number)
        model(torch.randn(8, 729))
    folder = tmp_path_factory.mktemp("encoder")
    model_files.save(model, folder)
    return folder


def settings(built, tmp_path, encoder, **more):
    return {
        "data_dir": built / "data", "log_dir": tmp_path, "init_from": encoder, "device": "cpu", "precision": "fp32",
        "recipe": "modern", "features": 8, "max_epochs": 2, "batch_size": 16, "num_readers": 1, "num_stages": 2, **more,
    }  # fmt: skip


@pytest.mark.parametrize("block", ["se", "rese2"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_changes_nothing_of_frozen_blocks(block, optimizer):
    options = TrainOptions("sounds", optimizer=optimizer, weight_decay=0.1, lr=0.1, **FEW)
    model = network(block)
    freeze(model, options)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    average = Average(model, 2)
    step, chosen = Step(model, TASK), new_optimizer(model, options)
    for _ in range(3):
        step(chosen, torch.randn(8, 729), torch.eye(3)[torch.arange(8) % 3], 0.1)
        average.update()
    average.load_into(model)
    estimate_norms(model, [(torch.randn(8, 729), None)])
    fixed = ("conv0.", "norm0.", "blocks.0.", "blocks.1.")
    normed = {name for name in before if "conv" in name and name.endswith("bias")}  # by a batch norm: no gradient
    for name in before.keys() - normed:
        assert torch.equal(model.state_dict()[name], before[name]) == name.startswith(fixed), name
    assert not any(name.startswith(fixed) for name in average.values)


@pytest.mark.parametrize(("precision", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("block", ["basic", "se", "res2", "rese2"])
def test_frozen_blocks_give_what_they_give_in_evaluation(block, precision, most, monkeypatch):
    """By the compiled passes of training, with stored statistics; as close as rounding lets PyTorch's kernels come."""
    monkeypatch.setattr("samplecnn.kernels.threads.MIN_KERNEL_VALUES", 0)
    model = network(block, features=32)
    for _ in range(3):
        model(3 * torch.randn(4, 729) + 1)  # statistics that are not those of any one batch
    x = torch.randn(4, 729)
    model.compute_dtype = precision
    with torch.no_grad():
        expected = model.eval().features(x)[:4]
    freeze(model.train(), TrainOptions("sounds", freeze=4, init_from="x"))
    found = model.features(x)[:4]
    assert not any(level.requires_grad for level in found)
    assert model.training and not model.blocks[3].training and model.blocks[4].training
    for one, other in zip(found, expected, strict=True):
        assert (one - other).float().norm() < most * other.float().norm()
    same = model.eval().features(x)[:4]  # validation computes what training does
    assert all(torch.equal(one, other) for one, other in zip(found, same, strict=True))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_step_does_less_the_more_is_frozen(precision):
    """Backward stops where everything before is fixed: counted are the operations of its graph."""
    counts = []
    for blocks in (0, 1, 3, "all"):
        model = network(features=32)
        freeze(model, TrainOptions("sounds", freeze=blocks, init_from="x"))
        model.compute_dtype = precision
        nodes, left = set(), [model(torch.randn(4, 2187)).sum().grad_fn]
        while left:
            node = left.pop()
            if node is not None and node not in nodes:
                nodes.add(node)
                left += [parent for parent, _ in node.next_functions]
        counts.append(len(nodes))
    assert counts == sorted(set(counts), reverse=True) and counts[-1] < counts[0] / 2


def test_rates_fall_from_the_classifier_to_the_first_layer():
    """A step of plain SGD moves each weight by its part's rate times its gradient."""
    options = TrainOptions("sounds", momentum=0.0, lr=0.1, depth_rate=0.5, init_from="x")
    model = network(dropout=0.0)
    before = [value.detach().clone() for _, values in by_depth(model) for value in values]
    step, optimizer = Step(model, TASK), new_optimizer(model, options)
    step(optimizer, torch.randn(8, 729), torch.eye(3)[torch.arange(8) % 3], 0.1)
    names = [name for name, _ in by_depth(model)]
    assert names == ["classifier", "block 5", "block 4", "block 3", "block 2", "block 1", "first layer"]
    after = [(value, depth) for depth, (_, values) in enumerate(by_depth(model)) for value in values]
    assert len(after) == len(list(model.parameters()))
    for old, (new, depth) in zip(before, after, strict=True):
        torch.testing.assert_close(new.detach(), old - 0.1 * 0.5**depth * new.grad, atol=1e-6, rtol=1e-4)
    assert description(model, options) == [
        "rates: classifier 0.1, block 5 0.05, block 4 0.025, block 3 0.0125, block 2 0.00625, block 1 0.00313, "
        "first layer 0.00156"
    ]


def test_a_frozen_run_resumes_bit_for_bit_and_says_what_is_frozen(built, tmp_path, encoder, every_checkpoint, capsys):
    with every_checkpoint() as copies:
        whole = train("sounds", **settings(built, tmp_path, encoder, freeze=2, depth_rate=0.5)).run
    lines = capsys.readouterr().out.splitlines()
    stored, found = model_files.load(encoder), model_files.load(whole)
    fixed = sum(
        value.numel() for part in (stored.conv0, stored.norm0, *stored.blocks[:2]) for value in part.parameters()
    )
    at = next(i for i, line in enumerate(lines) if line.startswith("frozen: "))
    assert lines[at] == (f"frozen: first layer and blocks 1 to 2 of 5, {fixed:,} of {stored.num_trainable():,} weights")
    assert (
        lines[at + 1] == "rates: classifier 0.003, block 5 0.0015, block 4 0.00075, block 3 0.000375"
        and "epoch 1" in lines[at + 3]
    )
    for name, value in found.state_dict().items():
        if name.startswith(("conv0.", "norm0.", "blocks.0.", "blocks.1.")):
            assert torch.equal(value, stored.state_dict()[name]), name
    assert (found.task.mean, found.task.std) == (TASK.mean, TASK.std)  # waveforms as the frozen blocks learned them
    for index in (1, len(copies) // 2):
        run = tmp_path / f"resumed{index}"
        run.mkdir()
        (run / CHECKPOINT).write_bytes(copies[index])
        resume(run)
        again = model_files.load(run).state_dict()
        assert all(torch.equal(again[name], value) for name, value in found.state_dict().items()), index
    assert samplecnn.evaluate(whole, "sounds", built / "data").accuracy == pytest.approx(
        samplecnn.evaluate(run, "sounds", built / "data").accuracy
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"freeze": 2}, "freeze needs a trained network: name one with --init-from"),
        ({"depth_rate": 0.5}, "depth_rate needs a trained network: name one with --init-from"),
        ({"freeze": "most", "init_from": "x"}, "freeze must be a number of blocks or all, not most"),
        ({"freeze": -1, "init_from": "x"}, "freeze must be a number of blocks or all, not -1"),
        ({"depth_rate": 0.0, "init_from": "x"}, "depth_rate must be above 0 and at most 1, not 0"),
        ({"depth_rate": float("nan"), "init_from": "x"}, "depth_rate must be above 0 and at most 1, not nan"),
        ({"freeze": 1, "head_only": True, "init_from": "x"}, "freeze does not apply to --head-only"),
        ({"depth_rate": 0.5, "head_only": True, "init_from": "x"}, "depth_rate does not apply to --head-only"),
        ({"freeze": "all", "depth_rate": 0.5, "init_from": "x"}, "depth_rate does not apply to --freeze all"),
    ],
)
def test_options_that_do_not_apply_are_one_line(change, said):
    with pytest.raises(OptionError) as caught:
        TrainOptions("sounds", **change)
    assert str(caught.value).startswith(said)
    assert TrainOptions("sounds", freeze="3", init_from="x").freeze == 3


def test_what_cannot_be_frozen_is_one_line(built, tmp_path, encoder):
    with pytest.raises(OptionError, match="freeze must be at most 5, the network's blocks, or all; not 6"):
        train("sounds", **settings(built, tmp_path, encoder, freeze=6))
    shallow = SampleCNN(ModelConfig("se", num_blocks=4, num_classes=3, features=8), TASK)
    model_files.save(shallow, tmp_path / "shallow")
    with pytest.raises(UsageError, match=r"it has no blocks\.3\.conv of this network's size.*has 4 blocks, this run 5"):
        train("sounds", **settings(built, tmp_path, tmp_path / "shallow", freeze="all"))
    other = SampleCNN(ModelConfig("se", num_blocks=5, num_classes=3, features=8), replace(TASK, sample_rate=16000))
    model_files.save(other, tmp_path / "other")
    with pytest.raises(UsageError, match="takes audio at 16,000 Hz, and the data set is built at 8,000 Hz; build"):
        train("sounds", **settings(built, tmp_path, tmp_path / "other", freeze=1))
    assert not list(tmp_path.glob("2*"))  # no run directory is left


def test_a_run_has_block_and_sizes_of_the_network_that_it_starts_from(tmp_path):
    model = network("rese1", 4, amplifying_ratio=0.25, multi=True, pool_size=2, filter_size=5, pooling="strided")
    model_files.save(model, tmp_path / "a")
    given = {"dataset": "sounds", "recipe": "modern", "init_from": tmp_path / "a"}
    chosen = resolved(given, 100)
    assert (chosen.block, chosen.features, chosen.amplifying_ratio, chosen.multi) == ("rese1", 4, 0.25, True)
    assert (chosen.pool_size, chosen.filter_size, chosen.first_size, chosen.pooling) == (2, 5, None, "strided")
    assert chosen.dropout == MODERN.dropout and chosen.max_epochs > 1  # of the recipe, as before
    other = resolved({**given, "features": 8, "block": "se", "multi": False}, 100)
    assert (other.block, other.features, other.multi, other.pool_size) == ("se", 8, False, 2)
    frames = LogMel(8000, 256, 81, 12)
    model_files.save(network(logmel=frames), tmp_path / "frames")
    given["init_from"] = tmp_path / "frames"
    chosen, other = resolved(given, 100), resolved({**given, "frontend": "waveform"}, 100)
    assert (chosen.frontend, chosen.mels, other.frontend, other.mels) == ("logmel", 12, "waveform", None)


def test_another_sample_rate_or_size_than_that_of_the_weights_is_said(built, tmp_path, encoder, capsys):
    other = SampleCNN(ModelConfig("se", num_blocks=5, num_classes=3, features=4, amplifying_ratio=0.25), TASK)
    other.task = replace(TASK, sample_rate=16000)
    model_files.save(other, tmp_path / "other")
    chosen = settings(built, tmp_path, tmp_path / "other", num_stages=1, max_epochs=1)
    with pytest.raises(UsageError, match="it has --features 4, this run 8; leave --features out"):
        train("sounds", **chosen)
    train("sounds", **{**chosen, "features": None})
    said = capsys.readouterr().out
    assert "fresh: nothing\nthey were trained at 16,000 Hz, and the data set is built at 8,000 Hz" in said
    train("sounds", **settings(built, tmp_path, encoder, num_stages=1, max_epochs=1))
    assert "they were trained at" not in capsys.readouterr().out


def test_batch_norms_of_all_frozen_blocks_keep_their_statistics(built, tmp_path, encoder):
    result = train("sounds", **settings(built, tmp_path, encoder, freeze="all", num_stages=1))
    stored, found = model_files.load(encoder), model_files.load(result.run)
    norms = [(a, b) for a, b in zip(stored.modules(), found.modules(), strict=True) if isinstance(a, BatchNorm)]
    changed = [not np.array_equal(a.running_mean, b.running_mean) for a, b in norms]
    assert changed == [False] * 6 + [True]  # the classifier's alone
