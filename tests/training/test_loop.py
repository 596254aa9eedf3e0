"""The stage schedule, exact resume, and how a run can end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import samplecnn
from samplecnn import model_files
from samplecnn.cli.process import os_error_message
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.models import BLOCKS
from samplecnn.training import TrainOptions, loop, resume, train
from samplecnn.training.checkpoint import CHECKPOINT, load_checkpoint
from samplecnn.training.logging import read_metrics

SMALL = {
    "recipe": "original", "block": "basic", "features": 4, "num_stages": 2, "max_epochs": 2, "batch_size": 8,
    "precision": "fp32",
}  # fmt: skip


def run_small(built: Path, log: Path, dataset: str = "sounds", **changes):
    settings = {**SMALL, "data_dir": str(built / "data"), "log_dir": str(log), **changes}
    return train(str(built / dataset), **settings)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return samplecnn.load(run).state_dict()


def same(a: Path, b: Path) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


def epochs(run: Path) -> list[dict]:
    return [row for row in read_metrics(run) if row["event"] == "epoch"]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_learns_real_sounds(built, tmp_path, block):
    result = run_small(
        built,
        tmp_path,
        block=block,
        features=8,
        max_epochs=20,
        lr=0.02,
        num_stages=1,
        patience=20,
        warmup=30,
        batch_size=4,
    )
    assert result.scores.roc_auc > 0.8
    assert epochs(result.run)[-1]["train_loss"] < epochs(result.run)[0]["train_loss"]


def test_a_run_directory_holds_what_it_should(built, tmp_path, curves):
    result = run_small(built, tmp_path, name="first")
    names = {path.name for path in result.run.iterdir()}
    assert {"model.safetensors", "config.json", "metrics.jsonl", "checkpoint.pt", "curves.png"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    scores = result.scores
    assert result.final.name == f"final-auc_{scores.roc_auc:.6f}-acc_{scores.accuracy:.6f}-f1_{scores.f1:.6f}.h5"
    assert result.run.name[15:] == "-sounds-first" and result.run.name[8] == "_"
    assert (result.run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not [name for name in names if name.endswith(".part")]
    final, folder = samplecnn.load(result.final), samplecnn.load(result.run)
    assert final.task == folder.task and final.task.classes == ("high", "low", "noise")
    assert all(
        torch.equal(a, b) for a, b in zip(final.state_dict().values(), folder.state_dict().values(), strict=True)
    )
    again = samplecnn.evaluate(result.run, str(built / "sounds"), built / "data")
    assert again.to_dict() == scores.to_dict()


def test_tensorboard_reads_the_events(built, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = run_small(built, tmp_path, num_stages=1).run
    events = EventAccumulator(str(run))
    events.Reload()
    losses = [event.value for event in events.Scalars("epoch/val_loss")]
    assert np.allclose(losses, [row["val_loss"] for row in epochs(run)])
    assert len(events.Scalars("train/step_loss")) == epochs(run)[-1]["total_steps"]


def test_stages_start_from_the_best_weights_with_a_smaller_rate(built, tmp_path):
    run = run_small(built, tmp_path, num_stages=3, lr=0.02, lr_decay=0.5, max_epochs=3, patience=1).run
    rows = read_metrics(run)
    assert sorted({row["lr"] for row in rows if row["event"] == "epoch"}) == [0.005, 0.01, 0.02]
    assert [row["stage"] for row in rows if row["event"] == "test"] == [1, 2, 3]
    for stage in (1, 2, 3):
        losses = [row["val_loss"] for row in epochs(run) if row["stage"] == stage]
        best = [row["best"] for row in epochs(run) if row["stage"] == stage]
        assert best[0] and best == [loss < min([np.inf, *losses[:i]]) for i, loss in enumerate(losses)]
        assert all(best[:-1])  # with a patience of 1 the first worse epoch is the last


def test_patience_ends_a_stage(built, tmp_path, monkeypatch):
    """Validation losses by hand: best at the second epoch, so patience 2 ends the stage after the fourth."""
    losses = iter([0.5, 0.4, 0.45, 0.4, 0.1])
    original = loop.Run.validate
    monkeypatch.setattr(loop.Run, "validate", lambda self: {**original(self), "val_loss": next(losses)})
    run = run_small(built, tmp_path, num_stages=1, max_epochs=9).run
    assert [row["best"] for row in epochs(run)] == [True, True, False, False]


def test_a_patience_of_zero_ends_a_stage_at_the_first_worse_epoch(built, tmp_path, monkeypatch):
    """As Keras's EarlyStopping does, which counts the epoch before it compares: the same as 1."""
    losses = iter([0.5, 0.4, 0.45, 0.1])
    original = loop.Run.validate
    monkeypatch.setattr(loop.Run, "validate", lambda self: {**original(self), "val_loss": next(losses)})
    run = run_small(built, tmp_path, num_stages=1, max_epochs=9, patience=0).run
    assert [row["best"] for row in epochs(run)] == [True, True, False]


def test_an_amplifying_ratio_of_zero_leaves_residual_blocks_without_excitation(built, tmp_path):
    run = run_small(built, tmp_path, block="rese1", amplifying_ratio=0.0, num_stages=1, max_epochs=1).run
    model = model_files.load(run)
    assert model.config.block == "res1" and not any("_ex" in name for name in model.state_dict())
    with pytest.raises(UsageError, match=r"leaves no hidden unit .* the blocks basic, res1 and res2"):
        run_small(built, tmp_path, block="se", amplifying_ratio=0.0)


def test_the_first_lines_name_what_is_counted(built, tmp_path, capsys):
    model = model_files.load(run_small(built, tmp_path, num_stages=1, max_epochs=1).run)
    trained = sum(value.numel() for value in model.parameters())
    measured = model.num_values() - trained
    assert f": {trained:,} trainable weights and {measured:,} batch-norm statistics, " in capsys.readouterr().out


def test_same_seed_same_weights_and_another_seed_others(built, tmp_path):
    runs = [run_small(built, tmp_path, block="rese2", features=8, num_stages=1, seed=seed).run for seed in (5, 5, 6)]
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resume_from_every_checkpoint_gives_the_same_weights(built, tmp_path, monkeypatch, precision):
    """A checkpoint after every step, copied aside; a run resumed from any of them ends bit for bit the same."""
    copies: list[bytes] = []
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", -1.0)
    original = loop.save_checkpoint

    def keep(run: Path, checkpoint) -> None:
        original(run, checkpoint)
        copies.append((run / CHECKPOINT).read_bytes())

    monkeypatch.setattr(loop, "save_checkpoint", keep)
    whole = run_small(built, tmp_path, block="rese2", features=8, precision=precision).run
    monkeypatch.setattr(loop, "save_checkpoint", original)
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 1e9)
    points = len(copies) - 1  # the last is that of the finished run
    assert points > 20
    chosen = {0, 1, points // 4, points // 2, points // 2 + 1, points - 2, points - 1}
    for index in sorted(chosen if precision == "fp32" else {0, points // 2, points - 1}):
        run = tmp_path / f"resumed{index}"
        run.mkdir()
        (run / CHECKPOINT).write_bytes(copies[index])
        (run / "metrics.jsonl").write_text('{"event": "epoch", "stage": 9}\n')  # written after the checkpoint
        resume(run)
        assert same(whole, run), index
        timing = ("seconds", "segments_per_second")
        rows = [[{k: v for k, v in row.items() if k not in timing} for row in read_metrics(r)] for r in (whole, run)]
        assert rows[0] == rows[1]


@pytest.mark.slow
def test_killed_processes_resume_to_the_same_weights(built, tmp_path):
    """kill -9 at arbitrary moments, again and again, then to the end."""
    changes = {"block": "se", "features": 8, "max_epochs": 4, "batch_size": 4}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in {**SMALL, **changes}.items()]
    command = [sys.executable, "-m", "samplecnn", "train"]
    start = [*command, str(built / "sounds"), "--data-dir", str(built / "data"), *options]
    killed = tmp_path / "killed"
    process = subprocess.Popen([*start, "--log-dir", str(killed)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(killed.glob(f"*/{CHECKPOINT}")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.kill()
    process.wait()
    (run,) = killed.iterdir()
    for delay in (0.2, 0.9):
        process = subprocess.Popen([*command, "--resume", str(run)], stdout=subprocess.PIPE, text=True)
        for line in process.stdout or ():
            if line.startswith("run "):
                break
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    if not load_checkpoint(run).state.finished:
        resume(run)
    assert same(run_small(built, tmp_path / "whole", **changes).run, run)


@pytest.mark.slow
def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_resume(built, tmp_path):
    command = [sys.executable, "-m", "samplecnn", "train", str(built / "sounds"), "--data-dir", str(built / "data")]
    command += ["--log-dir", str(tmp_path), "--features", "8", "--batch-size", "2", "--max-epochs", "1000"]
    command += ["--patience", "1000", "--recipe", "original"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.05)
        runs = list(tmp_path.glob(f"*/{CHECKPOINT}"))
        if runs and load_checkpoint(runs[0].parent).state.total_steps:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    (run,) = tmp_path.iterdir()
    assert process.returncode == 130 and "Traceback" not in err
    assert f"--resume {run}" in out
    assert load_checkpoint(run).state.total_steps > 0


def test_a_loss_that_is_not_finite_ends_with_one_line_and_a_good_checkpoint(built, tmp_path):
    with pytest.raises(SampleCNNError, match=r"loss became (nan|inf).*smaller --lr") as caught:
        run_small(built, tmp_path, lr=1e30, max_epochs=5)
    assert "\n" not in str(caught.value)
    (run,) = tmp_path.iterdir()
    kept = load_checkpoint(run)
    assert all(value.isfinite().all() for value in kept.weights.values())


def test_a_full_disk_keeps_the_last_good_checkpoint_and_has_one_remedy(built, tmp_path, monkeypatch, capsys):
    import errno

    original, calls = loop.save_checkpoint, []

    def full(run: Path, checkpoint) -> None:
        calls.append(run)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run / CHECKPOINT))
        original(run, checkpoint)

    monkeypatch.setattr(loop, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space") as caught:
        run_small(built, tmp_path)
    monkeypatch.setattr(loop, "save_checkpoint", original)
    (run,) = tmp_path.iterdir()
    assert os_error_message(caught.value) == (
        f"{run / CHECKPOINT}: No space left on device; free some space and continue from the last good checkpoint: "
        f"samplecnn train --resume {run}"
    )
    assert "checkpoint" not in capsys.readouterr().out  # there is no second advice
    calls += [run] * 2  # the next one cannot write its first checkpoint
    monkeypatch.setattr(loop, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space") as caught:
        run_small(built, tmp_path)
    assert os_error_message(caught.value).endswith("free some space and run the same command again")
    monkeypatch.setattr(loop, "save_checkpoint", original)
    assert list(tmp_path.iterdir()) == [run]  # nothing is left of a run that saved nothing
    result = resume(run)
    assert same(result.run, run_small(built, tmp_path / "whole").run)


@pytest.mark.parametrize("kind", ["dangling link", "file", "below a file"])
def test_a_log_dir_that_cannot_be_a_folder_is_one_line(built, tmp_path, kind):
    log = tmp_path / "log"
    if kind == "dangling link":
        log.symlink_to(tmp_path / "nowhere")
    else:
        log.write_text("")
    with pytest.raises(UsageError, match=r"log_dir .* is (a link to something that does not exist|not a folder)"):
        run_small(built, log / "deeper" if kind == "below a file" else log)


def test_checkpoints_of_earlier_versions_are_resumed(built, tmp_path):
    """They call the number of epochs without improvement `waited`."""
    run = run_small(built, tmp_path, num_stages=1, max_epochs=1).run
    values = torch.load(run / CHECKPOINT, weights_only=True)
    values["state"]["waited"] = values["state"].pop("bad_epochs") + 1
    torch.save(values, run / CHECKPOINT)
    assert load_checkpoint(run).state.bad_epochs == 1


def test_an_empty_split_is_named(built, tmp_path):
    """A manifest whose test recordings are all missing."""
    rows = [f"{built}/sounds/low/{i}.wav,{'ab'[i % 2]},{'train' if i < 8 else 'val'}" for i in range(12)]
    rows += [f"gone{i}.wav,{'ab'[i % 2]},test" for i in range(4)]
    (tmp_path / "only.csv").write_text("\n".join(["path,labels,split", *rows]))
    samplecnn.build(str(tmp_path / "only.csv"), tmp_path / "data", workers=1, sample_rate=8000, window=729)
    with pytest.raises(UsageError, match="test split"):
        train(str(tmp_path / "only.csv"), data_dir=str(tmp_path / "data"), log_dir=str(tmp_path / "log"))
    assert not (tmp_path / "log").exists()


def test_a_finished_run_and_no_run_cannot_be_resumed(built, tmp_path):
    run = run_small(built, tmp_path, num_stages=1, max_epochs=1).run
    with pytest.raises(UsageError, match=r"finished.*--init-from"):
        resume(run)
    with pytest.raises(UsageError, match="no such checkpoint; give --resume the run"):
        resume(tmp_path)
    (run / CHECKPOINT).write_bytes((run / CHECKPOINT).read_bytes()[:1000])
    with pytest.raises(SampleCNNError, match="damaged"):
        resume(run)


def test_many_labels(built, tmp_path, curves):
    result = run_small(built, tmp_path, "labels.csv", block="se", features=8, max_epochs=6, lr=0.05, num_stages=1)
    assert samplecnn.load(result.run).task.kind == "multilabel"
    assert samplecnn.load(result.run).task.classes == ("high", "low", "noise", "tonal")
    assert "val_accuracy" not in epochs(result.run)[0]
    assert (result.run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_init_from_copies_the_layers_and_resets_the_last_one_for_other_classes(built, tmp_path, capsys):
    first = run_small(built, tmp_path, num_stages=1, max_epochs=1)
    body, head = "blocks.0.conv.weight", "logit.weight"
    same_task = run_small(built, tmp_path, num_stages=1, max_epochs=1, lr=1e-12, init_from=str(first.run))
    assert torch.allclose(weights(first.run)[head], weights(same_task.run)[head], atol=1e-6)
    capsys.readouterr()
    other = run_small(built, tmp_path, "labels.csv", num_stages=1, max_epochs=1, lr=1e-12, init_from=str(first.run))
    assert torch.allclose(weights(first.run)[body], weights(other.run)[body], atol=1e-6)
    assert "fresh: logit" in capsys.readouterr().out
    with pytest.raises(UsageError, match="it has --block basic, this run se; leave --block out"):
        run_small(built, tmp_path, block="se", features=8, init_from=str(first.run))


def test_weight_decay_is_an_l2_penalty_on_convolution_kernels(built, tmp_path):
    """One step of plain SGD with and without the penalty differs by lr * 2 * wd * w, on kernels alone."""
    changes = {"num_stages": 1, "max_epochs": 1, "momentum": 0.0, "batch_size": 100, "lr": 0.1, "dropout": 0.0}
    changes["warmup"] = 0
    states = []
    for decay in (0.0, 0.01):
        run = run_small(built, tmp_path, weight_decay=decay, **changes).run
        states.append(weights(run))
    trained = samplecnn.load(run)
    torch.manual_seed(0)  # of the run
    begin = samplecnn.SampleCNN(trained.config, trained.task).state_dict()
    for name, value in states[0].items():
        expected = value
        if name == "conv0.weight" or (name.startswith("blocks") and "conv" in name and name.endswith("weight")):
            expected = value - 0.1 * 2 * 0.01 * begin[name]
        torch.testing.assert_close(states[1][name], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"momentum": 1.0}, {"weight_decay": -1.0}, {"patience": -1},
     {"seed": -1}, {"num_readers": 0}, {"dropout": 1.0}, {"block": "se9"}, {"precision": "fp8"}, {"name": "a/b"}],
)  # fmt: skip
def test_settings_out_of_range_are_named(changes):
    (option,) = changes
    with pytest.raises(UsageError) as caught:
        TrainOptions(dataset="scd", **changes)
    assert str(caught.value).startswith(f"{option} ")
    name = "NAME" if option == "name" else f"--{option.replace('_', '-')}"
    assert caught.value.on_command_line == str(caught.value).replace(option, name, 1)


def test_metrics_are_plain_json(built, tmp_path):
    run = run_small(built, tmp_path, num_stages=1, max_epochs=1).run
    for line in (run / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(word))
    assert json.loads((run / model_files.CONFIG).read_text())["task"]["classes"] == ["high", "low", "noise"]
