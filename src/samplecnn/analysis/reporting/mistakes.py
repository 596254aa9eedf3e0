"""The worst mistakes in a test, and their sound as data URIs."""

import base64
import io
from dataclasses import dataclass

import numpy as np

from samplecnn.evaluation.metrics import above_threshold
from samplecnn.evaluation.predict import Predictions
from samplecnn.task import Task

MAX_WAV_SECONDS = 3.0  # sound up to this length is embedded as WAV
SHOWN_TAGS = 3  # number of the most probable tags listed for a clip


@dataclass(frozen=True)
class Mistake:
    """A clip with a wrong prediction.

    Args:
        clip: its index in the predictions.
        name: its id.
        true: its classes.
        predicted: the wrongly predicted class with the highest probability; None if classes are only missed.
        missed: the missed true class with the lowest probability; None if there are only false positives.
        scores: (class, probability), most probable first; includes `true`, `predicted` and `missed`.
    """

    clip: int
    name: str
    true: tuple[str, ...]
    predicted: str | None
    missed: str | None
    scores: tuple[tuple[str, float], ...]

    def probability(self, name: str) -> float:
        return dict(self.scores)[name]

    @property
    def tags(self) -> tuple[str, ...]:
        """The classes to explain: the wrongly predicted and the missed one."""
        return tuple(tag for tag in (self.predicted, self.missed) if tag is not None)


def worst_mistakes(predictions: Predictions, task: Task, max_mistakes: int) -> list[Mistake]:
    """The clips with the largest errors, worst first, at most `max_mistakes`.

    In tasks with one label per clip: clips whose most probable class is wrong, by the difference between its
    probability and that of the true class. In multi-label tasks: clips with a probability on the wrong side of the
    threshold, by its largest distance from the label (0 or 1); the first clip of each class precedes the second of any.
    """
    true, prob = predictions.y_true.astype(bool), predictions.y_prob.astype(np.float64)
    rows = np.arange(len(true))
    if task.kind == "multiclass":
        predicted = prob.argmax(axis=1)
        right = np.where(true, prob, -1).argmax(axis=1)
        lead = prob[rows, predicted] - prob[rows, right]
        wrong = np.flatnonzero(~true[rows, predicted] & true.any(axis=1))
        order = wrong[np.argsort(-lead[wrong], kind="stable")][:max_mistakes]
        return [_mistake(predictions, task, clip, predicted[clip], right[clip]) for clip in order.tolist()]
    error = np.where(above_threshold(prob, task) != true, np.abs(prob - true), 0)
    wrong = np.flatnonzero(error.max(axis=1) > 0)
    order = wrong[np.argsort(-error.max(axis=1)[wrong], kind="stable")]
    kinds = error.argmax(axis=1)[order]
    firsts = np.zeros(len(order), dtype=bool)
    firsts[np.unique(kinds, return_index=True)[1]] = True
    order = np.concatenate([order[firsts], order[~firsts]])[:max_mistakes]
    found = []
    for clip in order.tolist():
        extra, lacking = np.where(true[clip], 0, error[clip]), np.where(true[clip], error[clip], 0)
        found.append(
            _mistake(
                predictions,
                task,
                clip,
                int(extra.argmax()) if extra.any() else None,
                int(lacking.argmax()) if lacking.any() else None,
            )
        )
    return found


def _mistake(predictions: Predictions, task: Task, clip: int, predicted: int | None, missed: int | None) -> Mistake:
    prob, true = predictions.y_prob[clip], np.flatnonzero(predictions.y_true[clip]).tolist()
    order = np.argsort(-prob, kind="stable").tolist()
    shown = {*order[:SHOWN_TAGS], *true, *(index for index in (predicted, missed) if index is not None)}
    return Mistake(
        clip=clip,
        name=predictions.ids[clip],
        true=tuple(task.classes[index] for index in true),
        predicted=None if predicted is None else task.classes[predicted],
        missed=None if missed is None else task.classes[missed],
        scores=tuple((task.classes[index], float(prob[index])) for index in order if index in shown),
    )


def sound_uri(wave: np.ndarray, rate: int) -> str:
    """A sound as a data URI for browsers: WAV if it is short, else MP3 if libsndfile can write it, else FLAC.

    Args:
        wave: float32 [samples] in [-1, 1].
        rate: Hz.
    """
    import soundfile

    memory = io.BytesIO()
    if len(wave) <= MAX_WAV_SECONDS * rate:
        soundfile.write(memory, wave, rate, format="WAV", subtype="PCM_16")
        kind = "wav"
    elif "MP3" in soundfile.available_formats() and rate in (
        8000,
        11025,
        12000,
        16000,
        22050,
        24000,
        32000,
        44100,
        48000,
    ):
        soundfile.write(memory, np.clip(wave, -0.99, 0.99), rate, format="MP3", subtype="MPEG_LAYER_III")
        kind = "mpeg"
    else:
        soundfile.write(memory, wave, rate, format="FLAC", subtype="PCM_16")
        kind = "flac"
    return f"data:audio/{kind};base64,{base64.b64encode(memory.getvalue()).decode()}"
