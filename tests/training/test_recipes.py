"""Recipes: defaults of the options, partly chosen from the data set's size; resumed runs equal uninterrupted ones."""

import inspect
import json

import pytest
import torch

import samplecnn
from samplecnn import resume, train
from samplecnn.errors import OptionError, SampleCNNError, UsageError
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.models.layers import BatchNorm
from samplecnn.task import Task
from samplecnn.training import TrainOptions, loop
from samplecnn.training.averaging import Average, estimate_norms, scored_weights, set_norm_update
from samplecnn.training.checkpoint import RunState, load_checkpoint
from samplecnn.training.losses import class_weights, cross_entropy, soft_cross_entropy
from samplecnn.training.options import default_recipe, resolved
from samplecnn.training.recipes import FIELDS, MODERN, ORIGINAL, plan, values_of, values_text
from samplecnn.training.schedule import learning_rate
from samplecnn.training.start import options_for
from samplecnn.training.step import new_optimizer

SMALL = {
    "recipe": "modern", "block": "basic", "features": 4, "max_epochs": 3, "passes": 2, "batch_size": 16,
    "num_readers": 1, "precision": "fp32", "device": "cpu",
}  # fmt: skip


def test_the_original_recipe_is_the_defaults_of_the_options():
    assert values_of("original") == {name: getattr(TrainOptions, name) for name in FIELDS}
    assert resolved({"dataset": "scd"}) == TrainOptions("scd")
    assert not TrainOptions("demo").augments and MODERN.crop and ORIGINAL.optimizer == "sgd"


def test_given_options_win_over_the_recipe_and_the_size_decides_the_rest():
    options = resolved({"dataset": "demo", "recipe": "modern", "lr": 0.5, "gain": 0.0, "seed": None}, 320)
    assert (options.lr, options.gain, options.seed, options.optimizer) == (0.5, 0.0, 0, MODERN.optimizer)
    chosen = plan(320, MODERN.batch_size)
    assert (options.features, options.max_epochs, options.passes) == (32, chosen.max_epochs, chosen.passes)
    assert options.warmup == chosen.warmup > 1
    assert resolved({"dataset": "demo", "recipe": "modern", "max_epochs": 7}, 320).passes == 1
    fixed = resolved({"dataset": "demo", "recipe": "modern", "features": 8, "max_epochs": 2, "passes": 1}, 320)
    assert (fixed.features, fixed.max_epochs, fixed.passes) == (8, 2, 1)
    assert fixed.warmup < 2 * 320 / MODERN.batch_size


@pytest.mark.parametrize(
    ("window", "given", "multi"),
    [
        (729, {}, True),
        (81, {}, True),  # three blocks
        (27, {}, False),  # two blocks
        (81, {"crop": 0.5}, False),
        (729, {"multi": False}, False),
        (729, {"recipe": "original"}, False),
        (27, {"multi": True}, True),  # refused by the network
    ],
)
def test_the_classifier_sees_three_blocks_where_the_window_gives_them(window, given, multi):
    task = Task("sounds", ("a", "b"), "multiclass", sample_rate=16000, window=window)
    assert options_for({"dataset": "sounds", **given}, 100, task).multi == multi


def test_the_recipe_of_a_data_set_for_which_none_is_named(tmp_path):
    (tmp_path / "a.tfrecord").touch()
    assert [default_recipe(name) for name in ("mtt", "scd", "dcs", str(tmp_path))] == ["original"] * 4
    assert [default_recipe(name) for name in ("demo", "sounds", "clips.csv", "/data/birds")] == ["modern"] * 4


def test_the_length_of_a_run_is_said_before_it_begins(built, tmp_path, capsys):
    """And what is timed for it changes nothing."""
    train(str(built / "sounds"), **options_of(built, tmp_path, max_epochs=1, recipe=None))
    lines = capsys.readouterr().out.splitlines()
    said = next(line for line in lines if line.startswith("recipe modern: "))
    count = len(samplecnn_segments(built))
    expected = f"4 features, 1 epoch of 2 passes over {count} segments, {-(-2 * count // 16)} steps of 16: about "
    assert expected in said and lines.index(said) < next(i for i, line in enumerate(lines) if "epoch 1  loss" in line)


def test_small_data_sets_are_seen_more_often_than_large_ones():
    sizes = (40, 320, 3000, 30_000, 300_000)
    plans = [plan(size, 32) for size in sizes]
    times = [chosen.max_epochs * chosen.passes for chosen in plans]
    assert times == sorted(times, reverse=True) and times[-1] >= 10
    seen = [count * size for count, size in zip(times, sizes, strict=True)]
    assert seen == sorted(seen)
    assert all(
        chosen.warmup < chosen.max_epochs * chosen.passes * size / 32 for chosen, size in zip(plans, sizes, strict=True)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": "moderne"}, "recipe 'moderne' is unknown; did you mean modern?"),
        ({"optimizer": "adam"}, "optimizer 'adam' is unknown; did you mean adamw?"),
        ({"schedule": "step"}, "schedule 'step' is unknown"),
        ({"mixing": "cutmix"}, "mixing 'cutmix' is unknown"),
        ({"crop": 1.5}, "crop must be from 0 to 1"),
        ({"norm_update": 0.0}, "norm_update must be above 0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1"),
        ({"gain": float("nan")}, "gain must be 0 or more"),
        ({"passes": 0}, "passes must be at least 1"),
    ],
)
def test_a_wrong_value_is_one_line(change, said):
    with pytest.raises(UsageError) as caught:
        resolved({"dataset": "demo", **change}, 100)
    assert str(caught.value).startswith(said)


def test_the_help_names_the_values_of_every_recipe():
    assert values_text("lr") == f"original: 0.01, modern: {MODERN.lr:g}"
    assert values_text("features") == "original: 128, modern: from the data set's size"
    assert values_text("polarity").startswith("original: no, modern: ")
    assert values_text("background") == "original: none, modern: none"


def test_a_cosine_rises_over_the_warm_up_and_falls_to_zero():
    options = TrainOptions("demo", schedule="cosine", lr=0.1, warmup=10, num_stages=2)
    rates = [learning_rate(options, RunState(stage_steps=step), 110) for step in range(110)]
    assert rates[0] == pytest.approx(0.01) and rates[9] == pytest.approx(0.1) == max(rates)
    assert rates[60] == pytest.approx(0.05) and rates[-1] < 1e-4 and rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(options, RunState(stage=1), 110) == pytest.approx(0.02)  # no second warm-up
    assert learning_rate(options, RunState(stage_steps=500), 110) == 0


def test_adamw_shrinks_matrices_only_and_follows_the_plain_formula():
    model = SampleCNN(ModelConfig(num_blocks=2, num_classes=3, features=8))
    optimizer = new_optimizer(model, TrainOptions("demo", optimizer="adamw", lr=0.1, weight_decay=0.5))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for value in model.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    for name, value in model.named_parameters():
        kept = 1 - 0.1 * 0.5 if value.ndim > 1 else 1.0
        assert torch.allclose(value, before[name] * kept - 0.1, atol=1e-5), name  # the first step is lr * sign


def test_soft_labels_of_one_class_give_the_plain_loss():
    task = samplecnn.Task(name="x", classes=("a", "b", "c"))
    logits, labels = torch.randn(5, 3), torch.eye(3)[[0, 1, 2, 0, 1]]
    assert torch.allclose(soft_cross_entropy(logits, labels, task), cross_entropy(logits, labels, task))
    smooth = 0.9 * labels + 0.1 / 3
    expected = -(smooth * logits.log_softmax(1)).sum(1).mean()
    assert torch.allclose(soft_cross_entropy(logits, labels, task, smoothing=0.1), expected)
    many = samplecnn.Task(name="x", classes=("a", "b", "c"), kind="multilabel")
    assert torch.allclose(soft_cross_entropy(logits, labels, many), cross_entropy(logits, labels, many))
    weights = class_weights(torch.tensor([[1, 0, 0]] * 16 + [[0, 1, 0]] * 4 + [[0, 0, 1]]).numpy())
    assert weights == pytest.approx([weights[2] / 4, weights[2] / 2, weights[2]])
    assert (weights * [16, 4, 1]).sum() == pytest.approx(21)


@pytest.fixture
def model() -> SampleCNN:
    torch.manual_seed(0)
    return SampleCNN(ModelConfig("basic", num_blocks=3, num_classes=3, features=4, dropout=0.0)).train()


def test_estimated_norms_are_the_means_over_the_batches(model):
    batches = [torch.randn(4, 300) * scale for scale in (1.0, 2.0, 3.0)]
    means = []
    for batch in batches:
        set_norm_update(model, 1.0)
        model(batch)
        means.append(model.norm0.running_mean.clone())
    set_norm_update(model, 0.25)
    model.eval()
    estimate_norms(model, [(batch, None) for batch in batches])
    assert torch.allclose(model.norm0.running_mean, torch.stack(means).mean(0), atol=1e-6)
    assert not model.training
    assert {module.UPDATE for module in model.modules() if isinstance(module, BatchNorm)} == {0.25}


def test_averages_follow_the_weights_and_are_there_only_while_scored(model):
    average = Average(model, steps=4)
    values = []
    for number in range(1, 9):
        with torch.no_grad():
            model.logit.bias.fill_(number)
        average.update()
        values.append(float(average.values["logit.bias"][0]))
    assert values[:4] == pytest.approx([1.0, 1.5, 2.0, 2.5])  # the mean of all so far
    assert values[4] == pytest.approx(0.75 * 2.5 + 0.25 * 5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with scored_weights(model, average, [(torch.randn(4, 300), None)]):
        assert float(model.logit.bias[0].detach()) == values[-1]
        assert not torch.equal(model.norm0.running_mean, before["norm0.running_mean"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def options_of(built, tmp_path, **changes):
    return {**SMALL, "data_dir": built / "data", "log_dir": tmp_path, **changes}


@pytest.fixture(scope="module")
def whole(built, tmp_path_factory):
    changes = {"mixing": "between-class", "background": built / "sounds" / "noise", "noise": 0.5}
    return changes, train(str(built / "sounds"), **options_of(built, tmp_path_factory.mktemp("whole"), **changes))


def test_a_modern_run_learns_and_records_all_it_was_made_with(built, whole):
    _, result = whole
    recorded = json.loads((result.run / "config.json").read_text())["training"]["options"]
    assert recorded["recipe"] == "modern" and recorded["mixing"] == "between-class" and recorded["passes"] == 2
    assert set(FIELDS) <= set(recorded) and recorded["warmup"] >= 1
    assert recorded["multi"] and result.run.name.endswith("-sounds-basic_multi")
    rows = [row for row in load_checkpoint(result.run).state.history if row["event"] == "epoch"]
    assert len(rows) == 3 and rows[0]["total_steps"] == -(-2 * len(samplecnn_segments(built)) // 16)


def samplecnn_segments(built):
    from samplecnn.shards import open_split

    return open_split(str(built / "sounds"), built / "data", "train")


def test_a_resumed_modern_run_is_the_uninterrupted_one(built, whole, tmp_path, monkeypatch):
    """Interrupted within an epoch and between two: augmentation, averages and statistics continue bit for bit."""
    changes, result = whole
    steps = []
    original = loop.Step.__call__

    def interrupted(self, *arguments):
        steps.append(1)
        if len(steps) in (5, 25):  # of these, three each time are those that the run's length is estimated from
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(loop.Step, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(str(built / "sounds"), **options_of(built, tmp_path, **changes))
    (run,) = tmp_path.iterdir()
    with pytest.raises(KeyboardInterrupt):
        resume(run)
    again = resume(run)
    assert again.scores == result.scores
    ours, theirs = (samplecnn.load(path).state_dict() for path in (again.run, result.run))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    state = load_checkpoint(run)
    state.options["background"] = str(built / "sounds" / "low")
    loop.save_checkpoint(run, state)
    with pytest.raises(SampleCNNError, match=r"low \(--background\) have changed since the run started; restore them"):
        resume(run, num_stages=2)


def test_a_run_of_an_earlier_version_resumes_as_original(built, tmp_path, monkeypatch):
    """Its checkpoint has none of the new fields."""
    options = {"block": "basic", "features": 4, "num_stages": 1, "max_epochs": 2, "num_readers": 1, "precision": "fp32"}
    places = {"data_dir": built / "data", "device": "cpu"}
    result = train(str(built / "sounds"), recipe="original", log_dir=tmp_path / "a", **places, **options)
    old = set(inspect.signature(train).parameters) - {"recipe", *NEW_FIELDS}
    original = loop.save_checkpoint

    def forgetful(run, checkpoint):
        checkpoint.options = {name: value for name, value in checkpoint.options.items() if name in old}
        original(run, checkpoint)
        if checkpoint.state.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", forgetful)
    with pytest.raises(KeyboardInterrupt):
        train(str(built / "sounds"), recipe="original", log_dir=tmp_path / "b", **places, **options)
    monkeypatch.setattr(loop, "save_checkpoint", original)
    (run,) = (tmp_path / "b").iterdir()
    assert "optimizer" not in load_checkpoint(run).options
    again = resume(run)
    ours, theirs = (samplecnn.load(path).state_dict() for path in (again.run, result.run))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


NEW_FIELDS = set(FIELDS) - {
    "features", "dropout", "batch_size", "lr", "momentum", "weight_decay", "warmup", "lr_decay", "num_stages",
    "max_epochs", "patience",
}  # fmt: skip


def test_the_epochs_of_a_falling_rate_cannot_be_extended(whole):
    _, result = whole
    with pytest.raises(OptionError, match="cannot be raised in a run whose learning rate falls to 0 over 3 epochs"):
        resume(result.run, max_epochs=5)
