"""Trainings of test_processes.py, which starts this by torchrun: python divided_runs.py DATA LOG.

Also imported by the tests, which train the same in one process.
"""

import os
import signal
import sys
from pathlib import Path

from samplecnn import processes
from samplecnn.evaluation import baselines
from samplecnn.training import logging, loop, resume, train

SMALL = {
    "recipe": "original", "features": 8, "num_stages": 1, "max_epochs": 2, "batch_size": 15, "precision": "fp32",
    "warmup": 0, "lr": 0.0005,
}  # fmt: skip
CASES = {
    "res2": {"block": "res2", "multi": True, "batch_size": 71},  # the last batch of 72 segments has one
    "modern": {
        "recipe": "modern",
        "passes": 1,
        "optimizer": "sgd",  # AdamW would make steps of the rounding errors of gradients that are zero
        "weight_decay": 0.0,
        "mixing": "between-class",
        "mask": 0.2,
        "norm_estimate": 50,
        "class_weights": True,
        "label_smoothing": 0.1,
    },
}
STOPPED_AFTER = 3  # steps


def run_case(name: str, data: Path, log: Path):
    places = {"data_dir": str(data / "data"), "log_dir": str(log)}
    return train(str(data / "sounds"), name, **{**SMALL, **CASES[name], **places})


def stopped_and_resumed(data: Path, log: Path, rank: int) -> None:
    """Trains "modern" once more, with a Ctrl-C that reaches one process only."""
    add_losses = loop.Run.add_losses

    def stop_after(run, losses) -> None:
        add_losses(run, losses)
        if rank == 1 and run.state.total_steps == STOPPED_AFTER:
            os.kill(os.getpid(), signal.SIGINT)

    loop.Run.add_losses = stop_after
    try:
        run_case("modern", data, log / "resumed")
    except KeyboardInterrupt:
        loop.Run.add_losses = add_losses
        processes.join().gather(rank)  # the checkpoint is written
        (run,) = (log / "resumed").glob("*-modern")
        (log / f"stopped-{rank}").write_text(run.name)
        resume(run)


def main(data: Path, log: Path) -> None:
    baselines.FEW_CLIPS = 0
    logging.draw_curves = lambda history, path, title: None
    for name in CASES:
        run_case(name, data, log)
    stopped_and_resumed(data, log, int(os.environ["RANK"]))
    processes.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
