"""A new output layer for the model of an index, from answers and the stored embeddings: no sound and no training run.

It is the old layer plus a linear function of the last hidden layer, held near zero by a prior whose width is chosen by
cross-validation over recordings. One label per recording (softmax): all classes together. Several labels: each class on
its own, and its scores are calibrated first. Classes without enough answers keep what they have.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn import __version__, model_files
from samplecnn.errors import UsageError
from samplecnn.index.packing import unpacked
from samplecnn.index.review.candidates import LEAST
from samplecnn.index.review.estimates import ENOUGH, Estimate, Judged, estimate, lacking
from samplecnn.index.review.logistic import Fitted, fit_calibration, fit_head, sigmoid, softmax
from samplecnn.index.review.state import Review
from samplecnn.models.embedding import HIDDEN
from samplecnn.models.stored import StoredModel
from samplecnn.tagging.provenance import model_digest, scores_digest
from samplecnn.tagging.tags import Tags
from samplecnn.task import Task


@dataclass(frozen=True)
class HeadScore:
    """How well scores agree with the answers, on recordings that were left out of the fit.

    Args:
        name: of the class; "all classes" where they share one fit.
        answers: that it was fitted to.
        loss_before, loss: mean log loss (nats) of the old and the new head.
        spread: of the prior (`logistic.SPREADS`); 0: the embedding adds nothing to the old score.
    """

    name: str
    answers: int
    loss_before: float
    loss: float
    spread: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "class": self.name,
            "answers": self.answers,
            "log_loss_before": self.loss_before,
            "log_loss": self.loss,
            "spread": self.spread,
        }


@dataclass(frozen=True, eq=False)
class NewHead:
    """A model with a new output layer, and what it was made from.

    Args:
        model: with all its weights.
        scores: of the classes that have changed.
        thresholds: of the new scores, for the goal; other classes keep their own.
        kept: classes with answers that keep their threshold, and what they lack.
        record: for the model's config.json.
    """

    model: StoredModel
    scores: list[HeadScore]
    thresholds: dict[str, Estimate]
    kept: dict[str, str]
    record: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        thresholds = {name: found.to_dict() for name, found in self.thresholds.items()}
        return {"classes": [score.to_dict() for score in self.scores], "thresholds": thresholds, "kept": self.kept}

    def lines(self) -> list[str]:
        lines = []
        for score in self.scores:
            what = "" if score.spread else " (calibrated only: embeddings add nothing to the old score)"
            if self.model.task.kind == "multiclass" and not score.spread:
                what = " (unchanged: embeddings add nothing to the old scores)"
            lines.append(
                f"{score.name}: log loss {score.loss_before:.3f} before, {score.loss:.3f} now, cross-validated over "
                f"{score.answers} answers{what}"
            )
        lines += [f"{name}: {found.line(self.record['goal'])}" for name, found in self.thresholds.items()]
        return [*lines, *(f"{name}: threshold as before ({lacks})" for name, lacks in self.kept.items())]


@dataclass(frozen=True, eq=False)
class _Windows:
    """Every window with an answer, and what was said.

    Args:
        embedding: float64 [windows, size].
        logits: of the old head, [windows, classes].
        group: number of the recording, int [windows].
        said: 1, 0 or -1 (nothing), int [windows, classes].
    """

    embedding: np.ndarray
    logits: np.ndarray
    group: np.ndarray
    said: np.ndarray
    rows: dict[tuple[int, int], int]


def new_head(review: Review) -> NewHead:
    """Fits a new output layer to all answers of a review.

    Raises:
        UsageError: embeddings of another layer, a model that is not there or is another one, too few answers.
    """
    index = review.index
    settings = index.settings
    if settings.embedding != HIDDEN:
        raise UsageError(
            f"{index.folder}: holds embeddings of layer {settings.embedding}, and a new head needs those of the last "
            f"hidden layer; make another index with --embedding-layer {HIDDEN}"
        )
    if scores_digest(settings.model, model_digest(settings.model)) != settings.model_sha256:
        raise UsageError(f"{settings.model}: not the model that {index.folder} was made with; put that one back")
    stored = model_files.load_stored(settings.model)
    layer = stored.fold().logit
    old = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
    windows = _windows(review, old)
    fit = _fit_softmax if index.task.kind == "multiclass" else _fit_sigmoid
    weight, bias, held_out, fits = fit(index.task, windows, old)
    lacks = {name: lacking(review.judged(name).right) for name in review.reviewed()}
    if not fits:
        answers = "; ".join(f"{name}: {what}" for name, what in lacks.items()) or "there are no answers"
        raise UsageError(f"{index.folder}: too few answers for a new head ({answers})")
    scores = [
        HeadScore(name or "all classes", answers, before, min(fitted.losses), fitted.spread)
        for name, (fitted, answers, before) in fits.items()
    ]
    found = {name: _estimate(review, name, windows, held_out[:, index.classes.index(name)]) for name in lacks}
    estimates = {name: each for name, each in found.items() if each is not None}
    limits = dict(zip(index.classes, index.task.class_thresholds, strict=True))
    thresholds = [estimates[name].threshold if name in estimates else limits[name] for name in index.classes]
    task = replace(stored.task, thresholds=tuple(thresholds))
    names = [f"{model_files.OUTPUT_LAYER}.{kind}" for kind in ("weight", "bias")]
    values = stored.values | dict(zip(names, (weight.astype(np.float32), bias.astype(np.float32)), strict=True))
    record = {
        "index": str(index.folder.resolve()),
        "model": settings.model,
        "model_sha256": settings.model_sha256,
        "answers": len(review.answers),
        "goal": str(review.goal),
        "samplecnn": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": [score.to_dict() for score in scores],
        "thresholds": {name: each.to_dict() for name, each in estimates.items()},
    }
    kept = {name: what for name, what in lacks.items() if name not in estimates}
    return NewHead(StoredModel(values, stored.config, task), scores, estimates, kept, record)


def _windows(review: Review, old: tuple[np.ndarray, np.ndarray]) -> _Windows:
    index, labels = review.index, review.labels()
    rows: dict[tuple[int, int], int] = {}
    embeddings: list[np.ndarray] = []
    for recording, moment, _, _ in labels:
        if (recording, moment) in rows:
            continue
        row = review.recordings.rows[recording][0]
        tags = index.outcome(row)
        assert isinstance(tags, Tags)  # files with an error have no recording
        at = np.flatnonzero(np.rint(1000 * tags.starts / index.task.sample_rate) == moment)
        if len(at):
            rows[recording, moment] = len(embeddings)
            embeddings.append(unpacked(index.embedding_records(row)[at[:1]])[0])
    said = np.full((len(embeddings), len(index.classes)), -1)
    for recording, moment, name, right in labels:
        if (recording, moment) in rows:
            said[rows[recording, moment], index.classes.index(name)] = right
    stacked = np.array(embeddings, np.float64).reshape(len(embeddings), index.settings.embedding_size)
    group = np.array([recording for recording, _ in rows], np.int64)
    return _Windows(stacked, stacked @ old[0].T + old[1], group, said, rows)


Fits = dict[str, tuple[Fitted, int, float]]  # by class, "" for all: the fit, its examples, the loss before


def _fit_sigmoid(
    task: Task, windows: _Windows, old: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Fits]:
    weight, bias, held_out = old[0].copy(), old[1].copy(), sigmoid(windows.logits)
    fits: Fits = {}
    for number, name in enumerate(task.classes):
        used = np.flatnonzero(windows.said[:, number] >= 0)
        right = windows.said[used, number].astype(bool)
        if lacking(right):
            continue
        logits = windows.logits[used, number]

        def base(inside: np.ndarray, logits: np.ndarray = logits, right: np.ndarray = right) -> np.ndarray:
            scale, shift = fit_calibration(logits[inside], right[inside])
            return (scale * logits + shift)[:, None]

        def gradient(values: np.ndarray, examples: np.ndarray, right: np.ndarray = right) -> np.ndarray:
            return sigmoid(values) - right[examples, None]

        def loss(values: np.ndarray, examples: np.ndarray, right: np.ndarray = right) -> np.ndarray:
            return np.logaddexp(0, np.where(right[examples], -1, 1) * values[:, 0])

        fitted = fit_head(windows.embedding[used], windows.group[used], base, gradient, loss)
        scale, shift = fit_calibration(logits, right)
        weight[number] = scale * old[0][number] + fitted.weight[0]
        bias[number] = scale * old[1][number] + shift + fitted.bias[0]
        held_out[used, number] = sigmoid(fitted.held_out[:, 0])
        fits[name] = fitted, len(used), float(loss(logits[:, None], np.arange(len(used))).mean())
    return weight, bias, held_out, fits


def _fit_softmax(
    task: Task, windows: _Windows, old: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Fits]:
    """Answers that only exclude classes count by the probability that is left for the others."""
    said = windows.said
    used = np.flatnonzero((said >= 0).any(axis=1))
    if len(used) < ENOUGH:
        return *old, softmax(windows.logits), {}
    logits = windows.logits[used]
    is_known = (said[used] == 1).any(axis=1)
    possible = np.where(is_known[:, None], said[used] == 1, said[used] != 0)  # classes that the answers allow

    def gradient(values: np.ndarray, examples: np.ndarray) -> np.ndarray:
        probability = softmax(values)
        allowed = probability * possible[examples]
        return probability - allowed / np.maximum(allowed.sum(axis=1, keepdims=True), LEAST)

    def loss(values: np.ndarray, examples: np.ndarray) -> np.ndarray:
        return -np.log(np.maximum((softmax(values) * possible[examples]).sum(axis=1), 1e-12))

    fitted = fit_head(windows.embedding[used], windows.group[used], lambda inside: logits, gradient, loss)
    held_out = softmax(windows.logits)
    held_out[used] = softmax(fitted.held_out)
    fits = {"": (fitted, len(used), float(loss(logits, np.arange(len(used))).mean()))}
    return old[0] + fitted.weight, old[1] + fitted.bias, held_out, fits


def _estimate(review: Review, name: str, windows: _Windows, score: np.ndarray) -> Estimate | None:
    """The threshold of new scores [windows], each from a fit without its recording."""
    peaks, judged = review.peaks(name), review.judged(name)
    pairs = [(position, answer) for position, answer in review.of_class(name) if answer.right is not None]
    rows = [windows.rows.get((int(peaks.recording[at]), answer.key.milliseconds)) for at, answer in pairs]
    if any(row is None for row in rows):
        return None
    other = Judged(score[np.array(rows, np.int64)], judged.right, judged.bin, judged.group)
    return estimate(name, other, review.peaks_by_bin(name), review.goal)


def save_head(review: Review, head: NewHead, folder: str | Path) -> None:
    """Saves a model with a new head as a folder of its own, with its history in config.json.

    Raises:
        UsageError: the folder is there already.
    """
    folder = Path(folder)
    check_new(folder)
    training = dict(model_files.training_of(review.index.settings.model) or {})
    training["reviews"] = [*training.get("reviews", []), head.record]
    model_files.save(head.model, folder, training)


def check_new(folder: str | Path) -> None:
    """Refuses a folder that holds something."""
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{folder}: exists; name a new folder for the model")
