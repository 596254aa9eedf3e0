"""False alarms and misses of a listening model over thresholds, and the operating point that follows from them.

Utterances are the test clips of a data set, spliced into streams with gaps, without noise and at several ratios of
signal to noise. False alarms an hour are counted on recordings that hold none of the classes. A stream is scored once;
the detector then replays the scores with every threshold.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.audio import decode
from samplecnn.datasets import open_dataset
from samplecnn.errors import AudioError, UsageError
from samplecnn.listening.detector import Detector, DetectorRules, is_rejection
from samplecnn.listening.listener import Listener
from samplecnn.listening.operating_point import RULES, OperatingPoint
from samplecnn.listening.spliced import outcome, spliced
from samplecnn.system import log
from samplecnn.system.cpu import cpu_name
from samplecnn.tagging.find import find_files
from samplecnn.tagging.provenance import model_digest
from samplecnn.zoo.card import poisson_rate

THRESHOLDS = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.97, 0.98, 0.99, 0.995)
BLOCK_SECONDS = 1.0


class WaveSource:
    """A waveform, mono, as a source."""

    name, channels, live, lost = "stream", 1, False, 0.0

    def __init__(self, wave: np.ndarray, rate: int) -> None:
        self.wave, self.rate = wave, rate

    def blocks(self) -> Iterator[np.ndarray]:
        size = round(BLOCK_SECONDS * self.rate)
        for first in range(0, len(self.wave), size):
            yield self.wave[first : first + size, None]


def bench_listen(
    dataset: str,
    model: str,
    without: Sequence[str],
    noise: Sequence[str] = (),
    snr: Sequence[float] = (20.0, 10.0),
    utterances: int = 400,
    target: float = 1.0,
    split: str = "test",
    hop: float | None = None,
    smooth: int = 3,
    background_odds: float = 1.0,
    refractory: float = 0.5,
    settle: float = 0.2,
    data_dir: str = "./data",
    seed: int = 0,
) -> dict[str, Any]:
    """Measures a model's misses and false alarms.

    Args:
        dataset: with the classes of the model; clips of other classes, and of classes like _unknown_, are what must not
            be heard.
        model: whatever `samplecnn.Tagger` takes.
        without: recordings, or folders of them, without any of the classes.
        noise: recordings to mix with the utterances; by default those of `without`.
        snr: signal-to-noise ratios in dB, in addition to none.
        utterances: of a stream at most, drawn from the clips.
        target: false alarms an hour that the operating point may have.
        split: whose clips are the utterances.
        hop, smooth, background_odds, refractory, settle: as for `samplecnn listen`.
        data_dir: of a registered data set.
        seed: of all that is drawn.

    Raises:
        UsageError: no recordings, or no clip of a class of the model.
    """
    rules = DetectorRules(smooth=smooth, background_odds=background_odds, refractory=refractory, settle=settle)
    listener = Listener(model, hop, rules)
    task = listener.task
    clips = _clips(dataset, data_dir, split, listener, utterances, seed)
    files = find_files(list(without)).files
    noises = [_decoded(file, task.sample_rate) for file in (find_files(list(noise)).files if noise else files)[:200]]
    streams = []
    for ratio in (None, *snr):
        wave, truth = spliced(clips, [each for each in noises if each is not None], ratio, task.sample_rate, seed)
        name = "no noise" if ratio is None else f"{ratio:g} dB"
        log.note(f"{name}: {len(truth):,} utterances in {len(wave) / task.sample_rate / 60:.1f} min")
        streams.append((name, _scores(listener, wave), truth))
    silent, samples = [], 0
    for file in files:
        heard = _decoded(file, task.sample_rate)
        if heard is not None and len(heard):
            silent.append(_scores(listener, heard))
            samples += len(heard)
    hours = samples / task.sample_rate / 3600
    log.note(f"{len(silent):,} recordings without any of the classes: {hours:.2f} hours")
    rows = [_row(threshold, listener, streams, silent, hours) for threshold in THRESHOLDS]
    point = next((row for row in rows if row["false_alarms"] <= target), None)
    return {
        "bench": "listen",
        "model": model,
        "model_sha256": model_digest(model),
        "dataset": dataset,
        "split": split,
        "seed": seed,
        "hop": listener.hop / task.sample_rate,
        "rules": asdict(rules),
        "target": target,
        "hours": hours,
        "utterances": len(clips),
        "machine": cpu_name(),
        "rows": rows,
        "operating_point": None if point is None else asdict(_point(point, listener, hours, len(clips))),
    }


def _clips(
    dataset: str, data_dir: str, split: str, listener: Listener, most: int, seed: int
) -> list[tuple[str, np.ndarray]]:
    table = open_dataset(dataset, data_dir).table()
    known = {name for name in listener.task.classes if not is_rejection(name)}
    found = []
    for clip in table.clips:
        if clip.split == split:
            names = [table.task.classes[index] for index in clip.labels]
            if "_background_" not in names:
                found.append((next((name for name in names if name in known), ""), clip.path))
    if not any(label for label, _ in found):
        raise UsageError(f"{dataset}: no {split} clip of a class of this model; give a data set of its classes")
    order = np.random.default_rng(seed).permutation(len(found))[:most]
    decoded = [(found[index][0], _decoded(str(found[index][1]), listener.task.sample_rate)) for index in order]
    return [(label, wave) for label, wave in decoded if wave is not None]


def _decoded(file: str | Path, rate: int) -> np.ndarray | None:
    try:
        return decode(str(file), rate)
    except AudioError as error:
        log.warn(f"{error}; left out")
        return None


def _scores(listener: Listener, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the windows of a stream, float32 [windows, classes], and their ends in seconds."""
    moments = list(listener.listen(WaveSource(wave, listener.task.sample_rate)))
    return np.array([moment.scores for moment in moments]), np.array([moment.time for moment in moments])


def _replayed(listener: Listener, threshold: float, scored: tuple[np.ndarray, np.ndarray]) -> list[Any]:
    limits = np.full(listener.task.num_classes, threshold)
    hop = listener.hop / listener.task.sample_rate
    return Detector(listener.task, limits, listener.detector.rules, hop).replay(*scored)


def _row(
    threshold: float, listener: Listener, streams: list[tuple[str, Any, Any]], silent: list[Any], hours: float
) -> dict[str, Any]:
    found = {name: outcome(truth, _replayed(listener, threshold, scored)) for name, scored, truth in streams}
    alarms = sum(sum(each.kind == "event" for each in _replayed(listener, threshold, scored)) for scored in silent)
    rate, low, high = poisson_rate(alarms, hours) if hours else (0.0, 0.0, 0.0)
    return {
        "threshold": threshold,
        "misses": {name: 1 - each.heard / each.utterances for name, each in found.items()},
        "wrong": {name: each.wrong / each.utterances for name, each in found.items()},
        "unknown": {name: each.alarms / each.others if each.others else None for name, each in found.items()},
        "between": {name: each.between for name, each in found.items()},
        "false_alarms": rate,
        "false_alarms_low": low,
        "false_alarms_high": high,
    }


def _point(row: dict[str, Any], listener: Listener, hours: float, utterances: int) -> OperatingPoint:
    rules = listener.detector.rules
    return OperatingPoint(
        threshold=row["threshold"],
        hop=listener.hop / listener.task.sample_rate,
        **{name: getattr(rules, name) for name in RULES},
        false_alarms=row["false_alarms"],
        misses=row["misses"]["no noise"],
        hours=hours,
        utterances=utterances,
    )


def print_table(result: dict[str, Any]) -> None:
    """Prints a row for every threshold, and the operating point."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    names = list(result["rows"][0]["misses"])
    missed = [f"missed, {name}" for name in names]
    for head in ("threshold", "false alarms/h", "95 %", *missed, "wrong", "others heard"):
        table.add_column(head, justify="right")
    for row in result["rows"]:
        others = row["unknown"]["no noise"]
        table.add_row(
            f"{row['threshold']:g}",
            f"{row['false_alarms']:.1f}",
            f"{row['false_alarms_low']:.1f} to {row['false_alarms_high']:.1f}",
            *(f"{100 * row['misses'][name]:.1f} %" for name in names),
            f"{100 * row['wrong']['no noise']:.1f} %",
            "–" if others is None else f"{100 * others:.1f} %",
        )
    console = Console(width=110, highlight=False, file=sys.stdout)
    console.print(table)
    rules = result["rules"]
    console.print(
        f"{result['utterances']:,} utterances ({result['split']}), {result['hours']:.2f} hours without the classes; "
        f"hop {result['hop']:g} s, mean of {rules['smooth']} windows, odds of background times "
        f"{rules['background_odds']:g}, refractory time {rules['refractory']:g} s"
    )
    point = result["operating_point"]
    if point is None:
        console.print(f"no threshold has {result['target']:g} false alarms an hour or fewer")
    else:
        console.print(
            f"operating point: threshold {point['threshold']:g}, {point['false_alarms']:.1f} false alarms an hour, "
            f"{100 * point['misses']:.1f} % missed"
        )


def draw(result: dict[str, Any], path: str) -> None:
    """Misses against false alarms an hour, a curve for each noise level (needs Matplotlib)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name in result["rows"][0]["misses"]:
        points = [(max(row["false_alarms"], 0.1), 100 * row["misses"][name]) for row in result["rows"]]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    point = result["operating_point"]
    if point is not None:
        axes.axvline(max(point["false_alarms"], 0.1), color="gray", linestyle=":", linewidth=1)
        place = max(point["false_alarms"], 0.1), axes.get_ylim()[1]
        axes.annotate(f"threshold {point['threshold']:g}", place, fontsize=8, va="top")
    title = f"{result['model']}: utterances missed"
    axes.set(xscale="log", xlabel="false alarms an hour", ylabel="missed (%)", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(title="noise")
    figure.savefig(path, dpi=150)
