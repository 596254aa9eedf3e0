"""What a card says of a model, measured: scores with intervals, accuracy over noise, false alarms, speed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from samplecnn.audio import decode, standardise
from samplecnn.evaluation import Evaluation, Predictions, examine, score
from samplecnn.evaluation.confusion import confusion_counts
from samplecnn.inference import Engine, open_engine
from samplecnn.listening.spliced import loud_power
from samplecnn.model_files import load_graph
from samplecnn.shards import Segments, open_split
from samplecnn.system.cpu import cpu_name
from samplecnn.tagging import Tagger
from samplecnn.task import Task
from samplecnn.zoo.card import wilson

SNRS = (None, 20.0, 10.0, 5.0, 0.0, -5.0)  # dB; None: no noise is added
BATCH = 64
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
HOPS = 4  # windows a window's length, in the search for false alarms


def class_counts(dataset: str, data_dir: Path) -> dict[str, dict[str, int]]:
    """Clips of each class in each split of a built data set."""
    counts: dict[str, dict[str, int]] = {}
    for split in ("train", "val", "test"):
        segments = open_split(dataset, data_dir, split)
        sums = np.asarray(segments.labels)[segments.clip_starts].sum(axis=0, dtype=np.int64)
        for name, count in zip(segments.task.classes, sums.tolist(), strict=True):
            counts.setdefault(name, {})[split] = count
    return counts


def share(name: str, right: np.ndarray) -> dict[str, Any]:
    """A share of clips with its interval, as cards have it; `right` is bool [clips]."""
    low, high = wilson(int(right.sum()), len(right))
    return {"name": name, "value": float(right.mean()), "low": low, "high": high, "clips": len(right)}


def pooled(tests: Sequence[tuple[Path, str, Path]]) -> tuple[Predictions, Task]:
    """Predictions for the test clips of several models of one task, such as those of a cross-validation.

    Args:
        tests: model, data set and data folder of each.
    """
    found = [
        examine(str(model), dataset, data_dir, batch_size=BATCH, device="cpu") for model, dataset, data_dir in tests
    ]
    parts = [result.predictions for result in found]
    arrays = (np.concatenate([getattr(part, name) for part in parts]) for name in ("y_true", "y_prob", "segments"))
    return Predictions([name for part in parts for name in part.ids], *arrays), found[0].task


def one_label_tables(predictions: Predictions, task: Task) -> dict[str, Any]:
    """Table of classes and confusion matrix, as cards have them."""
    counts = confusion_counts(predictions, task)
    return {
        "per_class": score(predictions.y_true, predictions.y_prob, task).to_dict()["per_class"],
        "confusion": {"classes": list(task.classes), "counts": counts.tolist()},
    }


def test_scores(model: Path, dataset: str, data_dir: Path, rejecting: Sequence[str]) -> dict[str, Any]:
    """Accuracy over all classes, over each rejecting class, and of the others among themselves; table and matrix."""
    result: Evaluation = examine(str(model), dataset, data_dir, batch_size=BATCH, device="cpu")
    true, prob, task = result.predictions.y_true.argmax(axis=1), result.predictions.y_prob, result.task
    right = prob.argmax(axis=1) == true
    rows = [share("accuracy", right)]
    if rejecting:
        others = np.array([name not in rejecting for name in task.classes])
        asked = others[true]
        closed = np.where(others, prob, -1)[asked].argmax(axis=1) == true[asked]
        rows.append(share(f"accuracy on the clips of the {others.sum()} classes, these alone as answers", closed))
        rows.append(share(f"accuracy on the clips of the {others.sum()} classes", right[asked]))
        for name in rejecting:
            rows.append(share(f"`{name}` recognised", right[true == task.classes.index(name)]))
    return {"scores": rows, **one_label_tables(result.predictions, task)}


def accuracy_over_snr(
    model: Path, segments: Segments, noises: Sequence[np.ndarray], without: Sequence[str], seed: int = 0
) -> list[dict[str, Any]]:
    """Accuracy on test clips with noise added at each signal-to-noise ratio in SNRS.

    The ratio is that of the clip's mean power where it is loud (10 ms frames above 1 % of the loudest) to the mean
    power of the noise, which is a random part of one of the recordings.

    Args:
        model: folder of the model.
        segments: of the test, one segment a clip.
        noises: recordings at the task's rate, none of which was in the training.
        without: classes whose clips are left out.
        seed: of the choice of noise.
    """
    engine = open_engine(load_graph(model), "auto", "fp32", segments=len(segments) * len(SNRS))
    task = engine.net.task
    true = np.asarray(segments.labels).argmax(axis=1)
    rows = np.flatnonzero(~np.isin(true, [task.classes.index(name) for name in without]))
    found = []
    for snr in SNRS:
        rng = np.random.default_rng(seed)
        hits = 0
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            waves = segments.waveforms(batch)
            if snr is not None:
                waves = np.stack([mixed(wave, noises[rng.integers(len(noises))], snr, task, rng) for wave in waves])
            hits += int((engine(standardise(waves, task)).argmax(axis=1) == true[batch]).sum())
        found.append({"snr": snr, "value": hits / len(rows), "clips": len(rows)})
    return found


def mixed(wave: np.ndarray, noise: np.ndarray, snr: float, task: Task, rng: np.random.Generator) -> np.ndarray:
    """A clip with a random part of a recording of noise, at a ratio in dB; scaled down where it would clip."""
    start = rng.integers(max(len(noise) - len(wave), 0) + 1)
    part = np.resize(noise[start : start + len(wave)], len(wave))
    gain = np.sqrt(loud_power(wave, task.sample_rate) / max(float(np.mean(part**2)), 1e-12) / 10 ** (snr / 10))
    sum_ = wave + gain * part
    return (sum_ / max(1.0, float(np.abs(sum_).max()))).astype(np.float32)


def false_alarms(
    model: Path, what: str, recordings: Iterable[np.ndarray], rejecting: Sequence[str], threshold: float
) -> dict[str, Any]:
    """How often a class is detected in sound that has none: windows that overlap by three quarters.

    An alarm is a run of windows whose most probable class is the same, is not rejecting, and is above the threshold.

    Args:
        model: folder of the model.
        what: the recordings, in words.
        recordings: at the task's rate.
        rejecting: classes that are no alarm.
        threshold: probability above which a class counts.
    """
    task = load_graph(model).task
    tagger = Tagger(model, hop=task.window / HOPS / task.sample_rate, engine="numpy")
    events, samples = 0, 0
    allowed = np.array([name in rejecting for name in task.classes])
    for wave in recordings:
        probabilities = tagger(wave, task.sample_rate).over_time
        best = probabilities.argmax(axis=1)
        heard = np.where((probabilities.max(axis=1) > threshold) & ~allowed[best], best, -1)
        events += int(((heard != -1) & (heard != np.concatenate([[-1], heard[:-1]]))).sum())
        samples += len(wave)
    return {"what": what, "events": events, "hours": samples / task.sample_rate / 3600, "threshold": threshold}


def speed(model: Path, recording: Path) -> list[dict[str, str]]:
    """Seconds of CPU that a command takes from start to end, and that an hour of sound takes; engine numpy, one thread.

    CPU time, unlike the time on the clock, does not depend on what else the machine does.
    """
    command = [sys.executable, "-m", "samplecnn", "tag", str(model), str(recording), "--engine", "numpy"]
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run(command, check=True, capture_output=True, env=os.environ | ONE_THREAD)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    net = load_graph(model)
    engine = open_engine(net, "numpy", "fp32")
    wave = decode(recording, net.task.sample_rate)
    batch = np.resize(wave, (BATCH, net.task.window)).astype(np.float32)
    with threadpool_limits(1):
        best = min(_cpu_seconds(engine, batch) for _ in range(3))
    sound = BATCH * net.task.window / net.task.sample_rate
    return [
        {"what": f"`samplecnn tag` of one recording of {len(wave) / net.task.sample_rate:.3g} s, start included",
         "value": f"{min(times):.2f} s"},
        {"what": "one hour of sound, decoding left out", "value": f"{3600 * best / sound:.1f} s"},
    ]  # fmt: skip


def machine() -> str:
    """The machine that speed is measured on, in a sentence."""
    return f"Seconds of CPU in float32 with engine numpy, one thread of {cpu_name()}."


def _cpu_seconds(engine: Engine, batch: np.ndarray) -> float:
    began = time.process_time()
    engine(batch)
    return time.process_time() - began
