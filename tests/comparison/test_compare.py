"""A comparison: what it runs, repeats, resumes and reports."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import samplecnn
from samplecnn.cli.app import app
from samplecnn.comparison import compare
from samplecnn.comparison.grid import checked_grid, label_of, points, read_grid, words_of
from samplecnn.comparison.picture import draw_comparison
from samplecnn.comparison.published import is_published_split, published_roc_auc
from samplecnn.comparison.records import FAILED, FINISHED, NETWORK, Records, RunRecord
from samplecnn.comparison.table import row_of
from samplecnn.datasets.registry import REGISTRY
from samplecnn.errors import OptionError, UsageError
from samplecnn.evaluation.baselines import VERSION
from samplecnn.system.cpu import cpu_name
from samplecnn.system.progress import Progress
from samplecnn.training import loop

SMALL = {
    "recipe": "original", "block": "basic", "features": 4, "num_stages": 1, "max_epochs": 1, "precision": "fp32",
    "num_readers": 1,
}  # fmt: skip


def run_small(built: Path, out: Path, grid: dict | None = None, dataset: str = "sounds", **more):
    options = {"data_dir": built / "data", "out": out, "num_readers": 1, "baselines": False, **more}
    return compare(dataset, {**SMALL, **(grid or {})}, **options)


def runs_in(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "runs").iterdir())


def weights(run: Path) -> dict[str, torch.Tensor]:
    return samplecnn.load(run).state_dict()


def test_a_grid_takes_any_option_by_its_type():
    grid = read_grid(["block=basic,se features=32,64", "--multi=no,yes", "lr=1e-2,0.1", "init-from=none", "device=cpu"])
    assert grid == {
        "block": ["basic", "se"],
        "features": [32, 64],
        "multi": [False, True],
        "lr": [0.01, 0.1],
        "init_from": [None],
        "device": ["cpu"],
    }
    assert len(points(grid)) == 16 and points(grid)[1] == {**points(grid)[0], "lr": 0.1}
    assert checked_grid({"features": 4, "block": ("se",)}) == {"features": [4], "block": ["se"]}
    grid = read_grid(["pool-size+filter-size=2,3 features=8"])
    assert points(grid) == [{"pool_size": size, "filter_size": size, "features": 8} for size in (2, 3)]
    assert [label_of(point, grid) for point in points(grid)] == ["pool-size+filter-size=2", "pool-size+filter-size=3"]
    assert read_grid([words_of(grid)]) == grid


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("blok=se", "train has no option 'blok'; did you mean block"),
        ("features=32,many", "features: 'many' is not an integer"),
        ("lr=fast", "lr: 'fast' is not a number"),
        ("multi=maybe", "multi: 'maybe' is neither yes nor no"),
        ("features=32,32", "features has a value twice"),
        ("features=8 features=16", "features is there twice"),
        ("pool-size+filter-size=2 filter-size=3", "filter_size is there twice"),
        ("pool-size+blok=2", "train has no option 'blok'"),
        ("features+block=8", "block must be a string, not 8"),
        ("features", "expected NAME=VALUE"),
        ("seed=1,2", "seed cannot vary here: use --seeds"),
        ("fold=1/2", "fold cannot vary here: use --folds"),
    ],
)
def test_a_grid_that_cannot_be_read_is_one_line(words, problem):
    with pytest.raises(UsageError, match=problem):
        read_grid([words])


def test_values_of_the_wrong_type_are_refused():
    with pytest.raises(UsageError, match="features must be an integer, not '8'"):
        checked_grid({"features": ["8"]})
    with pytest.raises(UsageError, match="multi must be True or False, not 1"):
        checked_grid({"multi": 1})


def test_a_value_out_of_range_is_found_before_anything_is_trained(built, tmp_path):
    with pytest.raises(OptionError, match="must be at least 1, not 0"):
        run_small(built, tmp_path / "out", {"features": [4, 0]})
    assert not (tmp_path / "out").exists()
    with pytest.raises(OptionError, match="there is nothing to compare"):
        compare("sounds", data_dir=built / "data", baselines=False)
    with pytest.raises(OptionError, match="must be 1 or more, or different numbers"):
        run_small(built, tmp_path / "out", seeds=0)


def test_finished_runs_are_not_repeated_and_a_changed_option_is_another_run(built, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = run_small(built, out, seeds=2, folds=2)
    names = runs_in(out)
    assert len(names) == 4 and len(first.rows) == 1
    row = first.rows[0]
    assert len(row.values) == 4 and row.parameters == 1387 and row.macs > 10_000 and row.segments_per_second > 0
    assert sum(first.clips) == 90 and first.measure == "accuracy"
    assert f"segments/s: in training, on {cpu_name()}." in first.markdown()
    monkeypatch.setattr("samplecnn.training.train", lambda *a, **k: pytest.fail("a finished run was repeated"))
    assert run_small(built, out, seeds=2, folds=2).rows == first.rows and runs_in(out) == names
    second = run_small(built, out, seeds=[1], folds=2)
    assert second.rows[0].values == row.values[2:] and second.command.endswith(" --seeds 1, --folds 2 --no-baselines")
    again = CliRunner().invoke(
        app, ["compare", *second.command.split()[2:], "--data-dir", str(built / "data"), "--out", str(out)]
    )
    assert again.stdout.rstrip() == second.markdown().rstrip() and "run 1 of" not in again.stderr
    moved = tmp_path / "moved"
    moved.symlink_to(built / "data")
    assert run_small(built, out, seeds=2, folds=2, data_dir=moved).rows == first.rows
    monkeypatch.undo()
    wider = run_small(built, out, {"lr": [0.01, 0.02]}, folds=2)
    assert [len(row.values) for row in wider.rows] == [2, 2] and wider.rows[0].values == row.values[:2]
    assert len(runs_in(out)) == 6  # lr 0.01 is the default
    assert [row.label for row in wider.rows] == ["lr=0.01", "lr=0.02"]


def test_an_interrupted_comparison_ends_as_if_it_had_not_been(built, tmp_path, monkeypatch):
    grid = {"lr": [0.01, 0.02], "max_epochs": 2}
    whole = run_small(built, tmp_path / "whole", grid)
    out = tmp_path / "out"
    original, steps = loop.Run.end_epoch, iter(range(100))

    def interrupted(self, figures):
        original(self, figures)
        if next(steps) == 2:  # after the first epoch of the second run
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.Run, "end_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_small(built, out, grid)
    assert len(runs_in(out)) == 2
    partly = json.loads((out / "comparison.json").read_text())
    assert [row["waiting"] for row in partly["rows"]] == [0, 1]
    resumed = run_small(built, out, grid)
    assert len(runs_in(out)) == 2
    assert [row.values for row in resumed.rows] == [row.values for row in whole.rows]
    for one, other in zip(runs_in(tmp_path / "whole"), runs_in(out), strict=True):
        values = weights(tmp_path / "whole/runs" / one), weights(out / "runs" / other)
        assert values[0].keys() == values[1].keys()
        assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])


def test_a_run_that_was_finished_but_not_recorded_is_scored_again(built, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = run_small(built, out)
    for record in (out / "records").glob("*.json"):
        record.write_text("damaged")
    monkeypatch.setattr("samplecnn.training.train", lambda *a, **k: pytest.fail("a finished run was repeated"))
    again = run_small(built, out)
    assert again.rows == first.rows and len(runs_in(out)) == 1
    assert again.runs[0].scores == first.runs[0].scores


def test_a_run_that_fails_is_listed_and_the_others_follow(built, tmp_path):
    """A rate of 1e30 makes weights and loss infinite."""
    words = [f"{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    where = ["--data-dir", str(built / "data"), "--out", str(tmp_path / "out"), "--no-baselines"]
    result = CliRunner().invoke(app, ["compare", "sounds", "--grid", "lr=1e30,0.01", *words, *where, "warmup=0"])
    assert result.exit_code == 1
    assert str(result.exception) == "1 of 2 runs failed; run the same command to try again"
    assert "| lr=1e+30 (1 failed) | –" in result.stdout and "| lr=0.01" in result.stdout
    assert "Failed: lr=1e+30: " in result.stdout and "the loss became nan in stage 1/1 epoch 1" in result.stdout
    assert (
        "Every network: recipe=original block=basic features=4 num-stages=1 max-epochs=1 precision=fp32 num-readers=1 "
        "warmup=0.\n"
    ) in result.stdout
    command = "samplecnn compare sounds --grid lr=1e+30,0.01 recipe=original block=basic features=4 num-stages=1 "
    assert f"`{command}max-epochs=1 precision=fp32 num-readers=1 warmup=0 --no-baselines`" in result.stdout
    assert "run 1 of 2: lr=1e+30, seed 0" in result.stderr and "stage 1/1 epoch 1" in result.stderr
    values = json.loads((tmp_path / "out/comparison.json").read_text())
    assert [run["status"] for run in values["runs"]] == [FAILED, FINISHED]
    with (tmp_path / "out/comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["lr"] for row in rows] == ["1e+30", "0.01"] and rows[0]["mean"] == ""
    assert float(rows[1]["mean"]) == values["rows"][1]["mean"]
    assert (tmp_path / "out/comparison.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out/comparison.md").read_text().rstrip() == result.stdout.rstrip()


def test_the_picture_of_a_comparison_in_which_every_run_failed_says_so(built, tmp_path):
    comparison = run_small(built, tmp_path, {"lr": 1e30, "warmup": 0})
    assert comparison.rows[0].failed == 1
    figure = draw_comparison(comparison)
    axes = figure.axes[0]
    assert axes.get_xlim() == (0, 1) and [text.get_text() for text in axes.texts] == ["no run has finished"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"block": ["basic", "se"]}, "block=se: amplifying ratio 0.125 leaves no hidden unit of 4 features"),
        ({"pool_size": [3, 27], "multi": True}, "pool-size=27: a model with --multi needs 3 blocks, not 1"),
        ({"init_from": [None, "words"]}, r"init-from=words: --init-from words: it has --block se, this run basic"),
        ({"background": [None, "nowhere"]}, "background=nowhere: background nowhere does not exist"),
        ({"precision": ["fp32", "tf32"], "device": "cpu"}, "precision=tf32: precision tf32 is for NVIDIA GPUs"),
    ],
)
def test_a_combination_that_cannot_be_trained_is_found_before_the_first_run(built, tmp_path, changes, problem):
    with pytest.raises(UsageError, match=f"^{problem}"):
        run_small(built, tmp_path / "out", changes)
    assert not (tmp_path / "out").exists()


def test_a_fold_with_too_few_clips_is_found_before_the_first_run(built, tmp_path):
    with pytest.raises(UsageError, match=r"sounds: fold \d+/80 has 1 clip in its test split and needs 2; draw fewer"):
        compare("sounds", folds=80, data_dir=built / "data", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["block=se", "sounds"], "DATASET comes first"),
        (["sounds", "blok=se"], "train has no option 'blok'"),
        (["sounds", "--folds", "many"], "--folds many: expected a number of folds, or column"),
        (["sounds", "--folds", "column"], "sounds has no folds of its own"),
        (["sounds", "--seeds", "a"], "--seeds a: expected a number"),
        (["nothing"], "nothing is not built yet"),
    ],
)
def test_usage_errors_are_one_line(built, tmp_path, arguments, problem):
    where = ["--data-dir", str(built / "data"), "--log-dir", str(tmp_path)]
    result = CliRunner().invoke(app, ["compare", *arguments, *where])
    assert isinstance(result.exception, UsageError) and problem in str(result.exception), result.output


def test_baselines_learn_with_folds_and_several_labels(built, tmp_path, monkeypatch, capsys):
    """What is measured first is shown: of every fold before the first run, of clips when a baseline needs them."""
    monkeypatch.setenv("SAMPLECNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Progress, "LINE_INTERVAL", -1.0)
    result = compare("labels", folds=2, seeds=2, data_dir=built / "data", out=tmp_path / "out", num_readers=1)
    assert [(row.label, len(row.values)) for row in result.rows] == [("logistic regression", 2), ("random forest", 4)]
    said = capsys.readouterr().err
    order = ("fold 1/2: mean and deviation ", "fold 2/2: mean and deviation ", "run 1 of ", "log-mel statistics of ")
    assert sorted(order, key=said.index) == list(order)
    assert "`samplecnn compare labels --seeds 2 --folds 2`" in result.markdown()
    assert result.measure == "pr_auc" and all(row.mean > 0.95 for row in result.rows)
    assert "Baselines learn from means, deviations and maxima of 128 log-mel bands" in result.markdown()
    assert all(run.options["features_version"] == VERSION for run in result.runs)  # other features are another run


def record(value: float, seed: int = 0, fold: str | None = None, **more) -> RunRecord:
    scores = {"accuracy": value, "roc_auc": 0.5, "clips": 40}
    return RunRecord(NETWORK, {"seed": seed, "fold": fold}, "data", FINISHED, scores=scores, **more)


def test_mean_deviation_and_interval_by_hand():
    row = row_of("x", NETWORK, {}, [record(value, seed) for seed, value in enumerate((0.5, 0.6, 0.7))], 4, "accuracy")
    assert row.mean == pytest.approx(0.6) and row.deviation == pytest.approx(0.1) and row.waiting == 1
    assert (row.low, row.high) == pytest.approx((0.6 - 4.302653 * 0.1 / 3**0.5, 0.6 + 4.302653 * 0.1 / 3**0.5))
    folds = [record(0.5 + 0.1 * (fold == "2") + 0.02 * seed, seed, fold) for seed in (0, 1) for fold in ("1", "2")]
    row = row_of("x", NETWORK, {}, folds, 4, "accuracy")  # means of the folds: 0.51 and 0.61
    half = 12.706205 * (0.1 / 2**0.5) / 2**0.5
    assert row.mean == pytest.approx(0.56) and row.high == pytest.approx(min(1, 0.56 + half)) and row.low == 0
    alone = row_of("x", NETWORK, {}, [record(0.9)], 1, "accuracy")
    assert (alone.low, alone.high) == pytest.approx((0.7695, 0.9604), abs=1e-4)  # Wilson's of 36 of 40
    assert math.isnan(alone.deviation)
    same = row_of("x", NETWORK, {}, [record(1.0, seed) for seed in (0, 1)], 2, "accuracy")
    assert same.deviation == 0 and math.isnan(same.low)


def test_recipes_are_compared_by_what_they_set_for_this_data(built, tmp_path):
    """What a recipe leaves to the data's size is part of the record; a value that it sets anyway makes no other run."""
    small = {"block": "basic", "features": 4, "max_epochs": 1, "num_stages": 1, "passes": 1, "precision": "fp32"}
    grid = {"recipe": ["original", "modern"], **small, "num_readers": 1}
    result = compare("sounds", grid, data_dir=built / "data", out=tmp_path, baselines=False)
    assert [row.label for row in result.rows] == ["recipe=original", "recipe=modern"] and not result.failures
    options = {run.options["recipe"]: run.options for run in result.runs}
    assert options["modern"]["optimizer"] == "adamw" and options["modern"]["warmup"] > 0
    assert options["original"]["optimizer"] == "sgd"
    again = compare("sounds", {**grid, "lr": 0.003}, data_dir=built / "data", out=tmp_path, baselines=False)
    assert len(runs_in(tmp_path)) == 3 and again.rows[1].values == result.rows[1].values


def test_builds_with_another_window_and_rate_are_rows(built, tmp_path, monkeypatch):
    monkeypatch.setattr("samplecnn.evaluation.baselines.TREES", 3)
    folders = [str(built / "data"), str(tmp_path / "short")]
    samplecnn.build(str(built / "sounds"), folders[1], sample_rate=4000, window=243, workers=1, progress=False)
    grid = {**SMALL, "data_dir": folders}
    result = compare("sounds", grid, data_dir=tmp_path / "unused", out=tmp_path / "out", num_readers=1)
    labels = [f"data-dir={folder}" for folder in folders]
    names = [f"{name} {label}" for label in labels for name in ("logistic regression", "random forest")]
    assert [row.label for row in result.rows] == labels + names and not result.failures
    assert result.rows[0].macs > 2 * result.rows[1].macs > 0
    trained = [run.folder for run in result.runs if run.kind == NETWORK]
    whole, short = (samplecnn.load(tmp_path / "out/runs" / folder).task for folder in trained)
    assert (whole.sample_rate, whole.window, short.sample_rate, short.window) == (8000, 729, 4000, 243)
    other = tmp_path / "other"
    samplecnn.build(str(built / "sounds"), other, sample_rate=8000, window=729, seed=1, workers=1, progress=False)
    with pytest.raises(UsageError, match=f"^{other}: its test clips of sounds are not those of {folders[0]}; build"):
        compare("sounds", {**SMALL, "data_dir": [folders[0], str(other)]}, out=tmp_path / "out")


def test_published_figures_are_shown_for_their_data_and_split_only():
    assert published_roc_auc("mtt", {"block": "rese2", "multi": True, "features": 32}) == 0.9113
    assert published_roc_auc("scd", {"block": "rese2"}) is None
    assert published_roc_auc("mtt", {"block": "basic", "frontend": "logmel"}) is None
    assert published_roc_auc("mtt", {"block": "basic", "pool_size": 2}) is None
    assert is_published_split("mtt", 4332, None) and is_published_split("scd", 11_000, None)
    assert not is_published_split("mtt", 4332, 5)
    task = REGISTRY["mtt"].task()
    assert is_published_split("mtt", 4332, None, task)
    assert not is_published_split("mtt", 4332, None, replace(task, window=19683))
    assert not is_published_split("mtt", 2000, None) and not is_published_split("sounds", 4332, None)


def test_records_of_a_version_with_fewer_options_are_of_the_same_run(tmp_path):
    records = Records(tmp_path)
    kept = RunRecord(NETWORK, {"block": "se", "seed": 0}, "data", FINISHED)
    records.save(kept)
    read = Records(tmp_path)
    wanted = RunRecord(NETWORK, {"block": "se", "seed": 0, "dropout": 0.5}, "data")
    assert read.find(wanted).status == FINISHED  # 0.5 is the default
    for other in ({"block": "se", "seed": 0, "dropout": 0.4}, {"block": "se", "seed": 1}):
        wanted = RunRecord(NETWORK, other, "data")
        assert read.find(wanted) is wanted
    assert read.find(RunRecord(NETWORK, kept.options, "other data")).status != FINISHED
