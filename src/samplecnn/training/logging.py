"""The log of a run: metrics.jsonl, TensorBoard events and the learning curves as a picture."""

import json
import os
import socket
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.parsing import fields, flag, number, parse_object, read_text, score, text, whole
from samplecnn.shards.tfrecord.frames import frame
from samplecnn.system.files import naming, sweep, write_text
from samplecnn.system.log import is_quiet, show
from samplecnn.system.progress import duration

METRICS, CURVES = "metrics.jsonl", "curves.png"

DRAW_INTERVAL = 20.0  # seconds: a picture takes half a second, as long as some epochs

Row = dict[str, Any]

_COUNT = whole(0, 1 << 62)
_EVENTS = {
    "epoch": fields(
        {"stage": _COUNT, "epoch": _COUNT, "total_steps": _COUNT, "lr": number(), "train_loss": score()}
        | {"val_loss": score(), "best": flag()}
    ),
    "test": fields({"stage": _COUNT, "total_steps": _COUNT}),
}


def metrics_row(value: Any, key: str) -> str:
    """The rule of a row (`parsing.Rule`): its event, the values that belong to that, and numbers for all others."""
    problem = fields({"event": text(100)})(value, key)
    if problem:
        return problem
    if value["event"] not in _EVENTS:  # the record of an extension, or an event of a later version
        return fields({"stage": _COUNT}, optional=["stage"])(value, key)
    others = {name: score() for name, item in value.items() if name != "event" and not isinstance(item, bool)}
    return fields(others)(value, key) or _EVENTS[value["event"]](value, key)


class Events:
    """Scalars for TensorBoard, in a file of its own for each process that takes part in a run.

    PyTorch's SummaryWriter writes in a thread, whose errors, such as a full disk, appear as a traceback and reach the
    program late or never. Here they are an OSError of the call.

    Args:
        run: folder of the file.
        purge_from: first step of which events of earlier files are invalid; None if there are none.
    """

    FLUSH_SECONDS = 60.0
    _numbers = count()

    def __init__(self, run: Path, purge_from: int | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(self._numbers)}"
        self.path = run / name
        self.file = self.path.open("xb")
        self.flushed_at = time.monotonic()
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_from is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=purge_from, session_log=start))
        self.flush()

    def add(self, name: str, value: float, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        self._write(Event(wall_time=time.time(), step=step, summary=summary))
        if time.monotonic() - self.flushed_at > self.FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        self.flushed_at = time.monotonic()
        with naming(self.path):
            self.file.flush()

    def close(self) -> None:
        """Flushes and closes. Does not fail: it is also called after an error, which matters more."""
        with suppress(OSError):
            self.file.close()

    def _write(self, event: Any) -> None:
        with naming(self.path):
            self.file.write(frame(event.SerializeToString()))


class RunLog:
    """Keeps the files of a run up to date with its history.

    `history` is the run's list of rows (epochs and tests). Rows that an interrupted process wrote after its last
    checkpoint are dropped, so that a resumed run leaves the same files as an uninterrupted one.
    """

    def __init__(self, run: Path, history: list[Row], total_steps: int) -> None:
        sweep(run)  # what a killed process was writing
        self.run, self.history = run, history
        self.events = Events(run, total_steps + 1 if total_steps else None)
        self.drawn_at = -DRAW_INTERVAL
        self._write_metrics()

    def step(self, step: int, loss: float, lr: float) -> None:
        """Loss and learning rate of one training step, for TensorBoard only."""
        self.events.add("train/step_loss", loss, step)
        self.events.add("train/lr", lr, step)

    def add(self, row: Row) -> None:
        """The figures of an epoch or a test."""
        row = written(row)
        self.history.append(row)
        for name, value in row.items():
            if isinstance(value, float):
                self.events.add(f"{row['event']}/{name}", value, row["total_steps"])
        self.events.flush()
        self._write_metrics()

    def draw(self, at_once: bool = True) -> None:
        """Draws the curves; unless `at_once`, at most once every DRAW_INTERVAL seconds."""
        if not at_once and time.monotonic() - self.drawn_at < DRAW_INTERVAL:
            return
        self.drawn_at = time.monotonic()
        draw_curves(self.history, self.run / CURVES, title=self.run.name)

    def close(self) -> None:
        self.events.close()

    def _write_metrics(self) -> None:
        write_text(self.run / METRICS, "".join(json.dumps(row) + "\n" for row in self.history))


class Unwritten(RunLog):
    """The log of a process that writes no files, only the history of the run."""

    def __init__(self, history: list[Row]) -> None:
        self.history = history

    def step(self, step: int, loss: float, lr: float) -> None:
        pass

    def add(self, row: Row) -> None:
        self.history.append(written(row))

    def draw(self, at_once: bool = True) -> None:
        pass

    def close(self) -> None:
        pass


def run_log(run: Path, history: list[Row], total_steps: int, writes: bool) -> RunLog:
    """The log of a run, for the process that writes its files or for another."""
    return RunLog(run, history, total_steps) if writes else Unwritten(history)


def written(row: Row) -> Row:
    """A row as JSON has it, which has no NaN."""
    return {key: None if value != value else value for key, value in row.items()}


def log(text: str) -> None:
    """Reports the progress of a training on stdout, unless --quiet."""
    if not is_quiet():
        show(text)


def epoch_line(position: str, row: Row, seconds: float, left: tuple[int, int]) -> str:
    """An epoch's figures and the remaining time, for people.

    Args:
        position: of the epoch.
        row: of the epoch; its "val_loss" is None if there is no validation.
        seconds: that it took.
        left: the fewest and the most epochs until the run ends.
    """
    accuracy = f"  accuracy {row['val_accuracy']:.4f}" if "val_accuracy" in row else ""
    validation = ""
    if row["val_loss"] is not None:
        validation = f"  validation: loss {row['val_loss']:.4f}{accuracy}  ROC-AUC {row['val_roc_auc']:.4f}"
    best = "  best" if row["best"] and validation else ""
    speed = f"{row['segments_per_second']:.1f} segments/s  {duration(seconds)}"
    line = f"{position}  loss {row['train_loss']:.4f}{validation}  {speed}{best}"
    if not left[1]:
        return line
    bounds = dict.fromkeys(duration(epochs * seconds) for epochs in left)
    return f"{line}  {' to '.join(bounds)} left"


def read_metrics(run: Path) -> list[Row]:
    """The rows of a run's metrics.jsonl.

    Raises:
        SampleCNNError: it is not there, or a line that is not such a row, named.
    """
    path, remedy = run / METRICS, "remove it to leave the training out"
    lines = enumerate(read_text(path, remedy).split("\n"), start=1)
    return [parse_object(line, f"{path}, line {at}", remedy, metrics_row) for at, line in lines if line.strip()]


def draw_curves(history: list[Row], path: Path, title: str) -> None:
    """Losses and validation scores by epoch, stages next to each other, every stage's test score at its end."""
    from matplotlib.ticker import MaxNLocator

    from samplecnn.system.plotting import FONT, LIGHT, drawable, new_figure, save_figure, tidy

    epochs = [row for row in history if row["event"] == "epoch"]
    if not epochs:
        return
    x = range(1, len(epochs) + 1)
    ends = [i for i, row in enumerate(epochs, 1) if i < len(epochs) and epochs[i]["stage"] != row["stage"]]
    validated = epochs[0]["val_loss"] is not None
    figure = new_figure(4.2, 10 if validated else 5)
    loss = figure.add_subplot(1, 2 if validated else 1, 1)
    loss.plot(x, [row["train_loss"] for row in epochs], "o-", ms=3, color=LIGHT.muted, label="training")
    loss.set(ylabel="loss", title="loss")
    panels = [loss, _draw_validation(figure, loss, epochs, history)] if validated else [loss]
    for axes in panels:
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes)
        for end in ends:
            axes.axvline(end + 0.5, color=LIGHT.rule, lw=1, ls="--")
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(drawable(title), fontsize=FONT, parse_math=False)
    save_figure(figure, path)


def _draw_validation(figure: Any, loss: Any, epochs: list[Row], history: list[Row]) -> Any:
    """Adds the validation losses to the axes `loss`, and new axes with the scores, which are returned."""
    from samplecnn.system.plotting import LIGHT

    x, score = range(1, len(epochs) + 1), figure.add_subplot(1, 2, 2)
    loss.plot(x, [row["val_loss"] for row in epochs], "o-", ms=3, color=LIGHT.blue, label="validation")
    best = [i for i, row in enumerate(epochs, 1) if row["best"]]
    loss.plot(
        best, [epochs[i - 1]["val_loss"] for i in best], "o", ms=7, mfc="none", color=LIGHT.blue, label="best so far"
    )
    metric = "accuracy" if "val_accuracy" in epochs[0] else "roc_auc"
    shown = metric.replace("_", " ").replace("roc auc", "ROC-AUC")
    values = np.array([row[f"val_{metric}"] for row in epochs], float)  # None becomes NaN, a gap in the curve
    score.plot(x, values, "o-", ms=3, color=LIGHT.blue, label="validation (segments)")
    tests = [
        (sum(r["stage"] <= row["stage"] for r in epochs), row[metric]) for row in history if row["event"] == "test"
    ]
    if tests:
        score.plot(
            *zip(*tests, strict=True), "D", ms=6, color=LIGHT.orange, label="test (clips), best weights of the stage"
        )
    score.set(ylabel=shown, title=shown)
    return score
