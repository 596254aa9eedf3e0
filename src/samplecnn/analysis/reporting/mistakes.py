"""The worst mistakes of a test, and their sound."""

import base64
import io
from dataclasses import dataclass

import numpy as np

from samplecnn.evaluation.predict import Predictions
from samplecnn.task import Task

UNCOMPRESSED = 3.0  # seconds up to which sound is kept as WAV
LIKELY = 3  # tags of a clip that are told


@dataclass(frozen=True)
class Mistake:
    """A clip that the model is wrong about.

    Args:
        clip: its place in the predictions.
        name: of the clip.
        true: its classes.
        said: the wrong class that the model is surest of; None where it only misses one.
        missed: the right class that it is furthest from; None where it only says one too many.
        scores: (class, probability), most probable first; those in `true`, `said` and `missed` among them.
    """

    clip: int
    name: str
    true: tuple[str, ...]
    said: str | None
    missed: str | None
    scores: tuple[tuple[str, float], ...]

    def probability(self, name: str) -> float:
        return dict(self.scores)[name]

    @property
    def tags(self) -> tuple[str, ...]:
        """What there is to explain: the class said, and the one missed."""
        return tuple(tag for tag in (self.said, self.missed) if tag is not None)


def worst(predictions: Predictions, task: Task, most: int) -> list[Mistake]:
    """The clips that the model is most wrong about, worst first.

    For one label a clip: clips whose most probable class is wrong, by that class's lead over the right one. For several
    labels: clips with a decision on the wrong side of the threshold, by the probability's distance from the truth, 0 or
    1, where that is largest; of every class, one clip at most until all classes had theirs.
    """
    true, prob = predictions.y_true.astype(bool), predictions.y_prob.astype(np.float64)
    everywhere = np.arange(len(true))
    if task.kind == "multiclass":
        said = prob.argmax(axis=1)
        right = np.where(true, prob, -1).argmax(axis=1)
        lead = prob[everywhere, said] - prob[everywhere, right]
        wrong = np.flatnonzero(~true[everywhere, said] & true.any(axis=1))
        order = wrong[np.argsort(-lead[wrong], kind="stable")][:most]
        return [_mistake(predictions, task, clip, said[clip], right[clip]) for clip in order.tolist()]
    error = np.where((prob > task.threshold) != true, np.abs(prob - true), 0)
    wrong = np.flatnonzero(error.max(axis=1) > 0)
    order = wrong[np.argsort(-error.max(axis=1)[wrong], kind="stable")]
    kinds = error.argmax(axis=1)[order]
    firsts = np.zeros(len(order), dtype=bool)
    firsts[np.unique(kinds, return_index=True)[1]] = True
    order = np.concatenate([order[firsts], order[~firsts]])[:most]
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


def _mistake(predictions: Predictions, task: Task, clip: int, said: int | None, missed: int | None) -> Mistake:
    prob, true = predictions.y_prob[clip], np.flatnonzero(predictions.y_true[clip]).tolist()
    order = np.argsort(-prob, kind="stable").tolist()
    shown = {*order[:LIKELY], *true, *(index for index in (said, missed) if index is not None)}
    return Mistake(
        clip=clip,
        name=predictions.ids[clip],
        true=tuple(task.classes[index] for index in true),
        said=None if said is None else task.classes[said],
        missed=None if missed is None else task.classes[missed],
        scores=tuple((task.classes[index], float(prob[index])) for index in order if index in shown),
    )


def sound_uri(wave: np.ndarray, rate: int) -> str:
    """A sound as a data URI that every browser plays: WAV where it is short, else MP3, where libsndfile writes it, or
    FLAC.

    Args:
        wave: float32 [samples] in [-1, 1].
    """
    import soundfile

    memory = io.BytesIO()
    if len(wave) <= UNCOMPRESSED * rate:
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
