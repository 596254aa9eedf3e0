"""Every option of `train` has its documented effect; an option without a test here fails."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import samplecnn
from samplecnn import build
from samplecnn.cli.app import app
from samplecnn.cli.train import train
from samplecnn.errors import UsageError
from samplecnn.system import log
from samplecnn.training import feed, loop
from samplecnn.training.checkpoint import load_checkpoint
from samplecnn.training.logging import read_metrics

BASE = {
    "recipe": "original", "block": "se", "features": "8", "num-stages": "2", "max-epochs": "1", "batch-size": "16",
    "precision": "fp32", "num-readers": "1",
}  # fmt: skip


def run_train(built: Path, log: Path, *flags: str, **changes: str) -> Path:
    settings = {**BASE, "data-dir": str(built / "data"), "log-dir": str(log)}
    settings |= {key.replace("_", "-"): value for key, value in changes.items()}
    words = [word for key, value in settings.items() for word in (f"--{key}", value)]
    result = CliRunner().invoke(app, ["train", str(built / "sounds"), *words, *flags], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return max(log.iterdir())


@pytest.fixture(scope="module")
def base(built, tmp_path_factory) -> Path:
    return run_train(built, tmp_path_factory.mktemp("base"))


def model_of(run: Path) -> dict:
    return json.loads((run / "config.json").read_text())["model"]


def other_weights(a: Path, b: Path) -> bool:
    values = zip(samplecnn.load(a).state_dict().values(), samplecnn.load(b).state_dict().values(), strict=True)
    return any(not torch.equal(x, y) for x, y in values)


def rows(run: Path, event: str) -> list[dict]:
    return [row for row in read_metrics(run) if row["event"] == event]


EFFECTS = {
    "block": ("res2", lambda a, b: model_of(b)["block"] == "res2" and b.name.endswith("-res2")),
    "amplifying-ratio": (
        "0.5",
        lambda a, b: samplecnn.load(b).state_dict()["blocks.0.excitation.ex0.weight"].shape == (4, 8),
    ),
    "batch-size": ("8", lambda a, b: rows(b, "epoch")[0]["total_steps"] == 2 * rows(a, "epoch")[0]["total_steps"] - 1),
    "momentum": ("0.5", other_weights),
    "lr": ("0.02", lambda a, b: rows(b, "epoch")[0]["lr"] == 0.02 and other_weights(a, b)),
    "warmup": ("0", other_weights),
    "lr-decay": ("0.5", lambda a, b: [row["lr"] for row in rows(b, "epoch")] == [0.01, 0.005] and other_weights(a, b)),
    "dropout": ("0.1", lambda a, b: model_of(b)["dropout"] == 0.1 and other_weights(a, b)),
    "weight-decay": ("0.01", other_weights),
    "pool-size": ("2", lambda a, b: (model_of(b)["num_blocks"], model_of(b)["pool_size"]) == (8, 2)),
    "filter-size": ("5", lambda a, b: samplecnn.load(b).state_dict()["blocks.0.conv.weight"].shape == (8, 8, 5)),
    "first-size": ("9", lambda a, b: samplecnn.load(b).state_dict()["conv0.weight"].shape == (8, 1, 9)),
    "pooling": ("strided", lambda a, b: model_of(b)["pooling"] == "strided" and other_weights(a, b)),
    "frontend": ("logmel", lambda a, b: model_of(b)["logmel"]["hop"] == 81 and not list(b.glob("*.h5"))),
    "num-stages": ("1", lambda a, b: len(rows(b, "test")) == 1),
    "features": ("16", lambda a, b: samplecnn.load(b).num_values() > 2 * samplecnn.load(a).num_values()),
    "max-epochs": ("2", lambda a, b: len(rows(b, "epoch")) == 4),
    "precision": ("bf16", lambda a, b: load_checkpoint(b).precision == "bf16" and other_weights(a, b)),
    "seed": ("1", other_weights),
    "recipe": ("modern", lambda a, b: load_checkpoint(b).options["optimizer"] == "adamw" and other_weights(a, b)),
    "optimizer": ("adamw", other_weights),
    "schedule": ("cosine", other_weights),
    "passes": ("2", lambda a, b: rows(b, "epoch")[0]["total_steps"] >= 2 * rows(a, "epoch")[0]["total_steps"] - 1),
    "average": ("1", other_weights),
    "norm-update": ("0.1", other_weights),
    "norm-estimate": ("20", other_weights),
    "label-smoothing": ("0.1", other_weights),
    "crop": ("0.9", other_weights),
    "shift": ("0.1", other_weights),
    "speed": ("0.2", other_weights),
    "gain": ("6", other_weights),
    "filter": ("6", other_weights),
    "noise": ("0.5", other_weights),
    "reverb": ("0.3", other_weights),
    "mask": ("0.3", other_weights),
    "mixing": ("mixup", other_weights),
}
TESTED_BELOW = {
    "data-dir",
    "log-dir",
    "multi",
    "mels",
    "patience",
    "num-readers",
    "device",
    "init-from",
    "head-only",  # in tests/training/test_head.py
    "freeze",  # in tests/training/test_transfer.py, as is the next
    "depth-rate",
    "resume",
    "train-on",  # in tests/training/test_final.py, as is the next
    "like",
    "skip-corrupt",
    "compile",  # in tests/training/test_step.py
    "fold",  # in tests/training/test_folds.py, as is the next
    "baseline",
    "class-weights",
    "polarity",
    "background",
    "mixing-share",
}


def test_every_option_is_tested():
    options = {name.replace("_", "-") for name in inspect.signature(train).parameters}
    assert options - {"context", "dataset", "name"} == {*EFFECTS, *TESTED_BELOW}


@pytest.mark.parametrize("option", EFFECTS)
def test_option_has_its_effect(built, base, tmp_path, option):
    value, effect = EFFECTS[option]
    assert effect(base, run_train(built, tmp_path, **{option: value}))


def test_options_from_a_file_and_the_environment_are_recorded(built, tmp_path, monkeypatch):
    """The run remembers the options in effect, wherever they come from, so that a resumed run has the same."""
    config = tmp_path / "samplecnn.toml"
    config.write_text("[train]\nseed = 5\nmomentum = 0.5\nlr = 0.5\n")
    monkeypatch.setenv("SAMPLECNN_TRAIN_LR", "0.25")
    monkeypatch.setenv("SAMPLECNN_TRAIN_DROPOUT", "0.25")
    options = load_checkpoint(
        run_train(built, tmp_path / "log", "--config", str(config), "--dropout", "0.125", num_stages="1")
    ).options
    chosen = {name: options[name] for name in ("seed", "momentum", "lr", "dropout", "batch_size", "weight_decay")}
    assert chosen == {"seed": 5, "momentum": 0.5, "lr": 0.25, "dropout": 0.125, "batch_size": 16, "weight_decay": 0.0}


def test_log_mel_frames_from_training_to_tags(built, tmp_path):
    """Trained, scored, described and tagged as any other; Keras has no file for it, which is said at the start."""
    run = run_train(built, tmp_path, frontend="logmel", mels="12", num_stages="1")
    assert model_of(run)["logmel"] == {"sample_rate": 8000, "frame": 256, "hop": 81, "bands": 12}
    assert run.name.endswith("-sounds-se_logmel") and model_of(run)["num_blocks"] == 2
    assert not list(run.glob("*.h5"))
    result = samplecnn.evaluate(run, str(built / "sounds"), built / "data")
    assert result.roc_auc == pytest.approx(rows(run, "test")[0]["roc_auc"])
    said = CliRunner().invoke(app, ["info", str(run)]).output
    assert "se_logmel: 2 blocks" in said and "log-mel frames of 256 samples every 81, 12 bands" in said
    tags = samplecnn.Tagger(str(run), precision="fp32")(built / "sounds" / "low" / "0.wav")
    assert tags.classes == ("high", "low", "noise") and np.isfinite(tags.scores).all()
    summary = CliRunner().invoke(app, ["analyze", str(run), "summary", "--output", str(tmp_path / "out")])
    assert summary.exit_code == 0 and "logmel" in summary.output
    refused = CliRunner().invoke(app, ["export", str(run), str(tmp_path / "m.h5"), "--to", "keras-h5"])
    assert refused.exit_code != 0 and not (tmp_path / "m.h5").exists()


def test_mels_are_for_log_mel_frames(built, tmp_path):
    words = ["train", str(built / "sounds"), "--data-dir", str(built / "data"), "--log-dir", str(tmp_path)]
    result = CliRunner().invoke(app, [*words, "--mels", "12"])
    assert isinstance(result.exception, UsageError) and "--frontend logmel" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_the_same_options_give_the_same_weights(built, base, tmp_path):
    """So that a difference above is the option's."""
    assert not other_weights(base, run_train(built, tmp_path))


def test_multi(built, tmp_path):
    run = run_train(built, tmp_path, "--multi")
    assert model_of(run)["multi"] and run.name.endswith("-se_multi")


def test_flags_and_options_that_need_others(built, base, tmp_path):
    """The classes are equally frequent, so weights make no difference; the rest does."""
    assert other_weights(base, run_train(built, tmp_path / "a", "--polarity"))
    assert other_weights(base, run_train(built, tmp_path / "b", background=str(built / "sounds" / "noise")))
    words = ["train", str(built / "sounds"), "--data-dir", str(built / "data"), "--background", str(tmp_path / "none")]
    missing = CliRunner().invoke(app, words).exception
    assert isinstance(missing, UsageError) and f"{tmp_path / 'none'} does not exist; give a folder" in str(missing)
    mixed = [run_train(built, tmp_path / share, mixing="mixup", mixing_share=share) for share in ("0.1", "1")]
    assert other_weights(*mixed)
    weighted = run_train(built, tmp_path / "c", "--class-weights")
    assert load_checkpoint(weighted).options["class_weights"] and not load_checkpoint(base).options["class_weights"]


def test_name(built, tmp_path):
    assert run_train(built, tmp_path, "mine").name.endswith("-sounds-mine")


def test_patience(built, tmp_path, monkeypatch):
    original = loop.Run.validate
    counts = []
    for patience in ("1", "3"):
        losses = iter(range(100))
        monkeypatch.setattr(
            loop.Run, "validate", lambda self, it=losses: {**original(self), "val_loss": float(next(it))}
        )
        run = run_train(built, tmp_path / patience, patience=patience, max_epochs="9", num_stages="1")
        counts.append(len(rows(run, "epoch")))
    assert counts == [2, 4]  # the first epoch is the best


def test_num_readers(built, tmp_path, monkeypatch):
    seen = set()
    original = feed.batches
    monkeypatch.setattr(feed, "batches", lambda *a, **k: (seen.add(a[3]), original(*a, **k))[1])
    run_train(built, tmp_path, num_readers="3")
    assert seen == {3}


def test_device(built, base, tmp_path):
    assert not other_weights(base, run_train(built, tmp_path, device="cpu"))
    words = ["train", str(built / "sounds"), "--data-dir", str(built / "data"), "--device", "quantum"]
    result = CliRunner().invoke(app, words)
    assert "quantum" in str(result.exception)


def test_skip_corrupt(built, tmp_path):
    """Of TFRecords; with them and without, the same sounds in the same order give the same weights."""
    build(str(built / "sounds"), tmp_path / "data", sample_rate=8000, window=729, format="tfrecord", progress=False)
    runs = [run_train(built, tmp_path / "whole", data_dir=str(tmp_path / "data")), run_train(built, tmp_path / "arrow")]
    assert not other_weights(*runs)
    path = next((tmp_path / "data" / "sounds" / "tfrecord").glob("train-*.tfrecord"))
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    words = ["train", str(built / "sounds"), "--data-dir", str(tmp_path / "data"), "--log-dir", str(tmp_path / "log")]
    said = str(CliRunner().invoke(app, [*words, "--features", "8"]).exception)
    assert f"{path}: damaged record at byte 0" in said and "--skip-corrupt" in said
    run = run_train(built, tmp_path / "log", "--skip-corrupt", data_dir=str(tmp_path / "data"))
    assert load_checkpoint(run).segments == load_checkpoint(runs[0]).segments - 1


def test_init_from(built, base, tmp_path):
    changes = {"num_stages": "1", "lr": "1e-12"}
    fresh, warm = (
        run_train(built, tmp_path / "a", **changes),
        run_train(built, tmp_path / "b", init_from=str(base), **changes),
    )
    assert rows(warm, "epoch")[0]["train_loss"] != rows(fresh, "epoch")[0]["train_loss"]
    name = "blocks.0.conv.weight"
    assert torch.allclose(samplecnn.load(warm).state_dict()[name], samplecnn.load(base).state_dict()[name], atol=1e-6)


def test_resume_takes_no_settings(base, tmp_path):
    for words in (["--lr", "0.1"], ["--block", "se"], ["--seed", "0"]):
        result = CliRunner().invoke(app, ["train", "--resume", str(base), *words])
        assert f"omit {words[0]}" in str(result.exception)
    config = tmp_path / "samplecnn.toml"
    config.write_text("[train]\nlr = 0.1\nblock = 'basic'\ndata-dir = 'elsewhere'\n")
    for words, env in ((["--config", str(config)], {}), ([], {"SAMPLECNN_TRAIN_LR": "0.1"})):
        result = CliRunner().invoke(app, ["train", "--resume", str(base), *words], env=env)
        assert "this run is finished" in str(result.exception)  # the file and the environment are for new runs
    assert "omit DATASET" in str(CliRunner().invoke(app, ["train", "scd", "--resume", str(base)]).exception)
    assert "finished" in str(CliRunner().invoke(app, ["train", "--resume", str(base), "--device", "cpu"]).exception)


def test_quiet_leaves_the_result_and_normal_says_what_comes_next(built, tmp_path):
    words = ["train", str(built / "sounds"), "--data-dir", str(built / "data"), "--log-dir", str(tmp_path / "a log")]
    words += ["--features", "8", "--num-stages", "1", "--max-epochs", "1", "--recipe", "original"]
    try:
        quiet = CliRunner().invoke(app, [*words, "--quiet"], catch_exceptions=False)
    finally:
        log.set_verbosity(log.Verbosity.NORMAL)
    lines = quiet.output.splitlines()
    assert [line.split(":")[0] for line in lines] == ["final scores", "final model"]
    normal = CliRunner().invoke(app, words, catch_exceptions=False)
    run = max((tmp_path / "a log").iterdir())
    assert "stage 1/1 epoch 1  loss" in normal.stdout
    assert normal.stdout.splitlines()[-1] == f"next: samplecnn tag '{run}' RECORDING"
