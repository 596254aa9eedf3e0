"""The final model: every clip, the epochs of the run that it is like, and that run's scores with its name."""

import json
import math
import shutil

import pytest
import torch
from typer.testing import CliRunner

import samplecnn
from samplecnn import model_files
from samplecnn.cli.app import app
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.evaluation.evaluator import examine
from samplecnn.evaluation.fitting import fit
from samplecnn.info import describe
from samplecnn.listening.operating_point import OperatingPoint, operating_point_of
from samplecnn.shards.folds import open_built_splits
from samplecnn.training import loop, resume, train, train_on_all
from samplecnn.training.checkpoint import CHECKPOINT, load_checkpoint
from samplecnn.training.data import every_clip
from samplecnn.training.logging import read_metrics

SETTINGS = {
    "block": "basic", "features": 4, "batch_size": 16, "num_readers": 1, "precision": "fp32", "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def scored(built, tmp_path_factory):
    """A run of two stages, whose best epochs are the second of three and the first of two."""
    losses = iter([0.9, 0.5, 0.7, 0.4, 0.6])
    patch = pytest.MonkeyPatch()
    original = loop.Run.validate
    patch.setattr(loop.Run, "validate", lambda self: {**original(self), "val_loss": next(losses)})
    where = {"data_dir": built / "data", "log_dir": tmp_path_factory.mktemp("scored")}
    run = train("sounds", recipe="original", num_stages=2, patience=1, max_epochs=5, **where, **SETTINGS).run
    patch.undo()
    return run


def epochs(run):
    return [row for row in read_metrics(run) if row["event"] == "epoch"]


def weights(run):
    return samplecnn.load(run).state_dict()


def test_the_final_model_learns_every_clip_for_the_epochs_of_the_best_weights(built, scored, tmp_path, capsys, curves):
    splits = open_built_splits("sounds", built / "data", None)
    count = sum(len(part) for part in splits.values())
    result = train_on_all(scored, log_dir=tmp_path)
    said = capsys.readouterr().out
    assert result.scores is None and f"{count} training segments" in said
    assert f"trained on every clip, like {scored.name}: roc_auc " in said and "validation" not in said
    steps = math.ceil(count / 16)
    rows = epochs(result.run)
    assert [(row["stage"], row["epoch"], row["total_steps"]) for row in rows] == [
        (1, 1, steps), (1, 2, 2 * steps), (2, 1, 3 * steps)
    ]  # fmt: skip
    assert [row["lr"] for row in rows] == [0.01, 0.01, pytest.approx(0.002)]
    assert [row["val_loss"] for row in rows] == [None] * 3 and not [
        row for row in read_metrics(result.run) if row["event"] == "test"
    ]
    assert (result.run / "curves.png").exists() and result.final.name == "final-all.h5"
    test = [row for row in read_metrics(scored) if row["event"] == "test"][-1]
    recorded = json.loads((result.run / "config.json").read_text())["training"]
    assert recorded["trained_on"] == "all" and "val_loss" not in recorded
    by = recorded["scored_by"]
    assert by["run"] == scored.name and by["epochs"] == [2, 1]
    assert by["scores"] == {name: test[name] for name in ("roc_auc", "pr_auc", "accuracy", "f1", "exact_match")}
    assert by["clips"] == {name: part.num_clips for name, part in splits.items()}
    line = next(line for line in describe(str(result.run)).lines() if line.startswith("training"))
    assert f"scored by {scored.name}: roc_auc={test['roc_auc']:.4f}" in line


def test_eval_of_the_final_model_says_that_it_was_trained_on_the_clips(built, scored, tmp_path):
    final = train_on_all(scored, log_dir=tmp_path).run
    for model, warned in ((final, True), (scored, False)):
        found = examine(model, "sounds", built / "data")
        clips = len(found.predictions.ids)
        said = f"warning: {model} was trained or validated on {clips} of these {clips} clips"
        assert any(line.startswith(said) for line in found.warnings) == warned, found.warnings


def test_a_final_model_resumes_bit_for_bit(built, scored, tmp_path, every_checkpoint):
    with every_checkpoint() as copies:
        whole = train_on_all(scored, log_dir=tmp_path).run
    run = tmp_path / "resumed"
    run.mkdir()
    (run / CHECKPOINT).write_bytes(copies[len(copies) // 2])
    assert resume(run).scores is None
    assert all(torch.equal(weights(run)[name], value) for name, value in weights(whole).items())
    assert load_checkpoint(run).scored == load_checkpoint(whole).scored
    with pytest.raises(UsageError, match=f"{scored.name} decides the epochs of this run"):
        resume(run, num_stages=3)
    with pytest.raises(UsageError, match=f"trained on every clip itself, like {scored.name}"):
        train_on_all(whole)


def test_a_fold_and_a_recipe_with_averages_and_crops(built, tmp_path):
    """All clips of the data set, whatever fold the run was scored on; mean and deviation stay those of its task."""
    more = {"recipe": "modern", "fold": "1/3", "max_epochs": 2, "passes": 1, "data_dir": built / "data"}
    first = train("sounds", log_dir=tmp_path, **more, **SETTINGS)
    final = train_on_all(first.run).run
    assert final.parent == tmp_path
    assert len(epochs(final)) == json.loads((first.run / "config.json").read_text())["training"]["epoch"]
    assert model_files.load(final).task == model_files.load(first.run).task
    assert load_checkpoint(final).segments == sum(map(len, open_built_splits("sounds", built / "data", None).values()))
    assert samplecnn.evaluate(final, "sounds", built / "data").roc_auc > 0.4


def test_every_clip_in_the_order_of_the_splits(built):
    splits = open_built_splits("sounds", built / "data", None)
    found = every_clip(splits)
    assert found.ids == [id for part in splits.values() for id in part.ids] and found.record == splits["val"].record
    last = len(found) - 1
    assert (found.gather([0, last])[1] == splits["test"].gather([len(splits["test"]) - 1])[0]).all()


def test_what_cannot_be_is_one_line(built, scored, tmp_path):
    run = tmp_path / "unfinished"
    run.mkdir()
    state = load_checkpoint(scored)
    state.state.finished = False
    loop.save_checkpoint(run, state)
    with pytest.raises(UsageError, match="this run is not finished; finish it with samplecnn train --resume"):
        train_on_all(run)
    state.state.finished, state.scored = True, {"run": "x", "epochs": [1], "scores": {}, "clips": {}}
    loop.save_checkpoint(run, state)
    with pytest.raises(SampleCNNError, match=r"damaged \(it has not the epochs of 2 stages\)"):
        train_on_all(run)
    with pytest.raises(UsageError, match="no such checkpoint; give --like the run"):
        train_on_all(tmp_path)
    both = ["--train-on", "all", "--like", str(scored)]
    for arguments, said in (
        (["--train-on", "all"], "takes --train-on all and --like RUN"),
        (["--like", str(scored)], "takes --train-on all and --like RUN"),
        (["--train-on", "most", "--like", str(scored)], "train_on must be train or all, not most"),
        ([*both, "--lr", "1"], "keeps the settings of the run it is like: omit --lr"),
        ([*both, "--resume", "x"], "leave out --resume"),
    ):
        result = CliRunner().invoke(app, ["train", *arguments])
        assert isinstance(result.exception, UsageError) and said in str(result.exception), result.output


def test_the_final_model_has_the_thresholds_of_the_run_that_it_is_like(
    built, scored, tmp_path, interrupted_epoch, capsys
):
    """Also one that was interrupted, and its operating point; they cannot be fitted to its own clips."""
    run = tmp_path / scored.name
    shutil.copytree(scored, run)
    assert "thresholds" not in capsys.readouterr().out
    fit(run, "sounds", built / "data", "f1")
    OperatingPoint(threshold=0.8, hop=0.1, smooth=6).store(run)
    with interrupted_epoch():
        train_on_all(run, log_dir=tmp_path / "log")
    (final,) = (tmp_path / "log").iterdir()
    resume(final)
    assert f"as in {scored.name}: calibration, thresholds, operating point" in capsys.readouterr().out
    own, other = (json.loads((folder / "config.json").read_text()) for folder in (final, run))
    assert own["task"] == other["task"] and own["task"]["thresholds"] != [0.5] * 3
    assert own["calibration"] == other["calibration"] and own["thresholds"] == other["thresholds"]
    assert operating_point_of(final) == operating_point_of(run) is not None
    assert "fitted" not in own["training"]["scored_by"]
    assert samplecnn.load(final).task.class_thresholds == tuple(other["task"]["thresholds"])
    with pytest.raises(UsageError, match=f"trained on all clips, and none are left to fit to; fit {scored.name}, and"):
        fit(final, "sounds", built / "data", "f1")


def test_the_command(built, scored, tmp_path):
    arguments = ["--train-on", "all", "--like", str(scored), "--log-dir", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(app, ["train", *arguments])
    assert result.exit_code == 0, result.output
    (run,) = tmp_path.iterdir()
    assert run.name.endswith("-sounds-basic-all") and f"next: samplecnn tag {run}" in result.output
