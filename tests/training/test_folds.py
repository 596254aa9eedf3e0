"""Training on one fold, and the line on quick baselines that follows a training."""

import re

import pytest
import torch

import samplecnn
from samplecnn.errors import OptionError
from samplecnn.evaluation import baselines, predict, score
from samplecnn.evaluation.seen_clips import clip_hashes, read_seen
from samplecnn.shards import open_split
from samplecnn.shards.folds import open_fold
from samplecnn.training import resume, train

SMALL = {
    "recipe": "original", "block": "basic", "features": 4, "num_stages": 1, "max_epochs": 2, "batch_size": 8,
    "precision": "fp32",
}  # fmt: skip


def run_small(built, log, **changes):
    return train("sounds", **{**SMALL, "data_dir": built / "data", "log_dir": log, "num_readers": 1, **changes})


def test_a_fold_is_trained_and_tested_on_its_own_clips(built, tmp_path):
    result = run_small(built, tmp_path, fold="2/3")
    splits = open_fold("sounds", built / "data", "2/3")
    seen = read_seen(result.run)
    assert seen.overlap(clip_hashes(splits["test"])) == 0
    assert seen.overlap(clip_hashes(splits["train"])) == splits["train"].num_clips
    model = samplecnn.load(result.run)
    assert model.task == splits["train"].task != open_split("sounds", built / "data", "train").task
    found = predict(model, splits["test"])
    assert result.scores.clips == 30
    assert score(found.y_true, found.y_prob, model.task).to_dict() == result.scores.to_dict()
    again = samplecnn.evaluate(result.run, "sounds", built / "data", fold="2/3")
    assert again.to_dict() == result.scores.to_dict()
    with pytest.raises(OptionError, match=r"fold '4/3' is not a fold"):
        run_small(built, tmp_path, fold="4/3")


def test_an_interrupted_fold_is_resumed_bit_for_bit(built, tmp_path, interrupted_epoch):
    whole = run_small(built, tmp_path / "whole", fold="1/3").run
    with interrupted_epoch():
        run_small(built, tmp_path / "parts", fold="1/3")
    (run,) = (tmp_path / "parts").iterdir()
    resume(run)
    one, other = samplecnn.load(whole).state_dict(), samplecnn.load(run).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_line_on_baselines_has_the_scores_of_the_validation_clips(built, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(baselines, "FEW_CLIPS", 3000)
    result = run_small(built, tmp_path)
    (line,) = re.findall(r"^validation accuracy of clips: .*$", capsys.readouterr().out, re.MULTILINE)
    model, val = samplecnn.load(result.run), open_split("sounds", built / "data", "val")
    found = predict(model, val)
    own = score(found.y_true, found.y_prob, model.task).accuracy
    train_split = open_split("sounds", built / "data", "train")
    others = []
    for name in baselines.BASELINES:
        guess = baselines.run_baseline(name, [train_split], val)
        others.append(f"{name} {score(guess.y_true, guess.y_prob, model.task).accuracy:.4f}")
    assert line.startswith(f"validation accuracy of clips: this network {own:.4f}; on log-mel statistics ")
    assert ", ".join(others) in line
    run_small(built, tmp_path, baseline=False)
    assert "log-mel" not in capsys.readouterr().out
    monkeypatch.setattr(baselines, "FEW_CLIPS", 80)  # fewer than there are
    run_small(built, tmp_path)
    assert "log-mel" not in capsys.readouterr().out
