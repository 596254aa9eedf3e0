"""Training with several processes, started by torchrun: the same steps as one process, also after an interruption."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import samplecnn
from samplecnn import processes
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.processes import Processes
from samplecnn.training import resume
from samplecnn.training.checkpoint import load_checkpoint, resume_call
from samplecnn.training.draws import Picked, Position, picked
from samplecnn.training.logging import read_metrics
from samplecnn.training.options import TrainOptions

RUNS = Path(__file__).with_name("divided_runs.py")
_spec = importlib.util.spec_from_file_location("divided_runs", RUNS)
divided_runs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(divided_runs)
CASES, SMALL, run_case = divided_runs.CASES, divided_runs.SMALL, divided_runs.run_case

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}


@pytest.fixture(scope="module")
def two(built, tmp_path_factory) -> Path:
    """The log folder of two processes' trainings."""
    log = tmp_path_factory.mktemp("two")
    script = [str(RUNS), str(built), str(log)]
    done = subprocess.run([*TORCHRUN, *script], capture_output=True, text=True, timeout=240, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    (log / "stdout").write_text(done.stdout)
    return log


def only_run(log: Path, name: str) -> Path:
    (run,) = log.glob(f"*-{name}")
    return run


def epochs(run: Path) -> list[dict]:
    return [row for row in read_metrics(run) if row["event"] == "epoch"]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(built, two, tmp_path, name):
    alone, together = run_case(name, built, tmp_path).run, only_run(two, name)
    for own, divided in zip(epochs(alone), epochs(together), strict=True):
        for figure in ("train_loss", "val_loss", "val_roc_auc"):
            assert divided[figure] == pytest.approx(own[figure], abs=1e-5)
    one, other = samplecnn.load(alone).state_dict(), samplecnn.load(together).state_dict()
    for key, value in one.items():
        assert torch.allclose(value, other[key], atol=1e-5, rtol=1e-5), key
    assert any(not torch.equal(one[key], other[key]) for key in one)  # sums were divided
    tests = [[row for row in read_metrics(run) if row["event"] == "test"] for run in (alone, together)]
    assert tests[0][0]["roc_auc"] == pytest.approx(tests[1][0]["roc_auc"], abs=1e-3)


def test_only_the_first_process_prints(two):
    lines = (two / "stdout").read_text().splitlines()
    assert sum("in each of 2 processes" in line for line in lines) == len(CASES) + 2
    assert sum(line.startswith("final scores:") for line in lines) == len(CASES) + 1


def test_a_run_that_one_process_stops_is_resumed_bit_for_bit(two):
    names = [(two / f"stopped-{rank}").read_text() for rank in (0, 1)]
    assert names[0] == names[1]  # both stopped, though one was asked to
    whole, resumed = only_run(two, "modern"), only_run(two / "resumed", "modern")
    one, other = samplecnn.load(whole).state_dict(), samplecnn.load(resumed).state_dict()
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    for own, divided in zip(epochs(whole), epochs(resumed), strict=True):
        assert own["train_loss"] == divided["train_loss"] and own["val_loss"] == divided["val_loss"]


def test_another_number_of_processes_resumes_and_says_so(two, tmp_path, capsys):
    run = only_run(two, "res2").rename(tmp_path / "20261122_101500-sounds-res2")
    assert load_checkpoint(run).processes == 2
    resume(run, max_epochs=3, patience=3)
    assert "the run had 2 processes, now 1" in capsys.readouterr().out
    assert len(epochs(run)) == 3 and load_checkpoint(run).processes == 1


def test_a_killed_process_ends_the_others_with_one_line(built, tmp_path):
    options = {**SMALL, "max_epochs": 100, "patience": 100, "block": "basic", "log_dir": tmp_path / "log"}
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    command = ["-m", "samplecnn", "train", str(built / "sounds"), "--data-dir", str(built / "data"), *words]
    process = subprocess.Popen(
        [*TORCHRUN, *command], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, ended = [], None
        for line in process.stdout:
            output.append(line)
            if "epoch 2" in line and ended is None:  # both are at work
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                ended = max(int(child) for child in children)
                os.kill(ended, signal.SIGKILL)
        status = process.wait(timeout=60)
    finally:
        process.kill()
    text = "".join(output)
    assert status != 0 and ended is not None
    lines = [line for line in output if line.startswith(("error:", "terminated"))]
    assert len(lines) == 1, text
    if lines[0].startswith("error:"):  # else torchrun noticed it first
        assert "another process of this training ended" in lines[0]
        assert "continue with: torchrun --nproc-per-node 2 -m samplecnn train --resume" in lines[0]
    assert not re.search(r"^Traceback(?s:.)*samplecnn/training", text.split("torch/distributed")[0], re.MULTILINE)
    (run,) = (tmp_path / "log").iterdir()
    assert load_checkpoint(run).state.epoch >= 1


# ---- without other processes


def test_the_command_that_continues_a_run_starts_as_many_processes(monkeypatch):
    run = Path("log/my run")
    assert resume_call(run) == "samplecnn train --resume 'log/my run'"
    started = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    assert resume_call(run) == "torchrun --nproc-per-node 4 -m samplecnn train --resume 'log/my run'"
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    assert "on every machine, with -m samplecnn train --resume" in resume_call(run)


@pytest.mark.parametrize(("samples", "count"), [(23, 2), (7, 3), (5, 5), (2, 4)])
def test_shares_divide_a_batch(samples, count):
    shares = [Processes(rank, count).share(samples) for rank in range(count)]
    assert sum(share.weight for share in shares) == pytest.approx(1)
    if samples >= count:
        assert np.concatenate([share.rows for share in shares]).tolist() == list(range(samples))
        assert {share.largest for share in shares} == {max(share.count for share in shares)}
    else:
        assert all(share.count == samples and not share.divided for share in shares)
    assert Processes().share(samples) is None


def test_a_process_reads_its_share_and_what_is_mixed_with_it():
    options, position = TrainOptions("demo", mixing="mixup", gain=3.0), Position(0, 0, 0, 1)
    parts = [picked(options, position, Processes(rank, 2).share(9).rows, 9) for rank in range(2)]
    assert [part.rows[: part.own].tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    assert all(len(set(part.rows.tolist())) == len(part.rows) <= 9 for part in parts)
    assert Picked(np.array([3, 1]), 1, 4).local(np.array([1, 3, 0])).tolist() == [1, 0, -1]


def test_an_error_is_printed_by_the_first_process_that_fails(monkeypatch):
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    known = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**known, "MASTER_PORT": str(store.port)}.items():
        monkeypatch.setenv(name, value)
    assert [processes.reports_failure() for _ in range(3)] == [True, False, False]
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert processes.reports_failure()


def test_what_several_processes_cannot_do_is_refused(built):
    from samplecnn.training.setup import check_batch

    with pytest.raises(UsageError, match=r"batch_size must be at least the number of processes, 4"):
        check_batch(TrainOptions("demo", batch_size=3), Processes(0, 4))
    with pytest.raises(UsageError, match="start it without torchrun"):
        check_batch(TrainOptions("demo", head_only=True, init_from="x"), Processes(0, 2))


def test_the_timeout_is_a_number(monkeypatch):
    monkeypatch.setenv(processes.TIMEOUT_VARIABLE, "soon")
    with pytest.raises(SampleCNNError, match="SAMPLECNN_PROCESS_TIMEOUT=soon: must be a number of seconds"):
        processes._timeout()
