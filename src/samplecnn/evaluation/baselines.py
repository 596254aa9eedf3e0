"""Quick baselines: statistics of a clip's log-mel spectrogram, classified by scikit-learn in seconds.

A clip is described by the mean, the standard deviation and the maximum over time of each of 128 log-mel bands. A
logistic regression on standardised features and a random forest learn from that. On small data they are hard to beat:
what a network reaches there means little without them.
"""

import io
import json
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.evaluation.metrics import Scores, score
from samplecnn.evaluation.predict import Predictions, clips_of, predict
from samplecnn.mel import filterbank
from samplecnn.system.cache import cache_dir
from samplecnn.system.files import write_bytes
from samplecnn.system.progress import Progress
from samplecnn.system.read_ahead import map_ahead

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.shards import Segments

BANDS = 128
FRAME_SECONDS = 0.08  # a frame is the nearest power of two, at most a quarter of a window; hops are half as long
FLOOR = 1e-12  # of the power, where full scale is 1: -120 dB
PENALTY = 5.0  # of the squared weights of a logistic regression, 1 / C in scikit-learn
AT_ONCE_SAMPLES = 1 << 20  # of a clip; longer ones are processed in pieces
VERSION = 1  # of the features; increased when they change
TREES = 300
FEW_VALUES = 1 << 24  # features times classes
FEW_CLIPS = 3000  # up to so many, training reports the baselines
FEW_SAMPLES = 3000 * 10 * 22050


def clip_statistics(segments: "Segments", num_readers: int = 8) -> np.ndarray:
    """Mean, standard deviation and maximum over time of each band of a clip's log-mel spectrogram.

    They are kept in the user's cache folder, by the fingerprint of the data set's build.

    Args:
        segments: of a built data set, as decoded: they are not standardised.
        num_readers: threads.

    Returns:
        float32 [clips, 3 * BANDS], in the order of the clips.
    """
    from threadpoolctl import threadpool_limits

    starts = segments.clip_starts
    ids = [segments.ids[start] for start in starts]
    fingerprint = "" if segments.record is None else segments.record.fingerprint
    known = _recall(fingerprint)
    missing = [index for index, id in enumerate(ids) if id not in known]
    ends = np.append(starts[1:], len(segments))
    describe = _describer(segments)
    computed = map_ahead(lambda index: describe(int(starts[index]), int(ends[index])), missing, num_readers)
    bar = Progress(len(missing), f"log-mel statistics of {segments.split}", "clips")
    with bar, threadpool_limits(1):  # a clip's products are too small for threads of their own
        for index, row in zip(missing, computed, strict=True):
            known[ids[index]] = row
            bar.advance()
    if missing:
        _remember(fingerprint, known)
    return np.array([known[id] for id in ids], np.float32).reshape(len(ids), 3 * BANDS)


def logistic_regression(x: np.ndarray, y: np.ndarray, kind: str, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """Learns from features [clips, features] and labels 0 or 1 [clips, classes].

    Args:
        x, y: of the training clips.
        kind: "multiclass", or "multilabel": one regression for each class.
        seed: has no effect: the solution is unique.

    Returns:
        Features -> probabilities, float64 [clips, classes].
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    scaler = StandardScaler().fit(x)
    scaled = scaler.transform(x)

    def fitted(labels: np.ndarray) -> Any:
        small = scaled.size * y.shape[1] < FEW_VALUES  # threads would spend more time on waiting than on such products
        with warnings.catch_warnings(), threadpool_limits(1) if small else nullcontext():
            warnings.simplefilter("ignore", ConvergenceWarning)  # close enough after so many steps
            return LogisticRegression(C=1 / PENALTY, max_iter=500).fit(scaled, labels)

    if kind == "multiclass":
        labels = y.argmax(axis=1)
        if (labels == labels[0]).all():  # a single class, which scikit-learn refuses
            return lambda features: np.tile(np.eye(y.shape[1])[labels[0]], (len(features), 1))
        model = fitted(labels)
        return lambda features: _spread(model.predict_proba(scaler.transform(features)), model.classes_, y.shape[1])
    models = [fitted(column) if 0 < column.sum() < len(column) else None for column in y.T]
    shares = y.mean(axis=0)

    def probabilities(features: np.ndarray) -> np.ndarray:
        found = scaler.transform(features)
        columns = [
            np.full(len(found), share) if model is None else model.predict_proba(found)[:, 1]
            for model, share in zip(models, shares, strict=True)
        ]
        return np.stack(columns, axis=1)

    return probabilities


def random_forest(x: np.ndarray, y: np.ndarray, kind: str, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """The same with a random forest, whose trees are drawn from `seed`."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(TREES, random_state=seed, n_jobs=-1)
    if kind == "multiclass":
        forest.fit(x, y.argmax(axis=1))
        return lambda features: _spread(forest.predict_proba(features), forest.classes_, y.shape[1])
    forest.fit(x, y)

    def probabilities(features: np.ndarray) -> np.ndarray:
        found = forest.predict_proba(features)
        found = found if isinstance(found, list) else [found]  # a list if there are several classes
        classes = forest.classes_ if isinstance(forest.classes_, list) else [forest.classes_]
        return np.stack([_spread(part, known, 2)[:, 1] for part, known in zip(found, classes, strict=True)], axis=1)

    return probabilities


BASELINES = {"logistic regression": logistic_regression, "random forest": random_forest}


def run_baseline(
    name: str, train: "list[Segments]", test: "Segments", seed: int = 0, num_readers: int = 8
) -> Predictions:
    """Trains a baseline and gives its probabilities for every test clip.

    Args:
        name: in BASELINES.
        train: splits to learn from.
        test: split to predict.
        seed: of the forest's trees.
        num_readers: threads that read.
    """
    x = np.concatenate([clip_statistics(part, num_readers) for part in train])
    y = np.concatenate([clips_of(part).labels for part in train])
    probabilities = BASELINES[name](x, y, test.task.kind, seed)
    return clips_of(test).predicted(probabilities(clip_statistics(test, num_readers)))


def main_score(scores: Scores) -> tuple[str, float]:
    """The score that matters most for the kind of task, by name: accuracy or PR-AUC."""
    return ("PR-AUC", scores.pr_auc) if scores.kind == "multilabel" else ("accuracy", scores.accuracy)


def baseline_remark(
    model: "SampleCNN", splits: "dict[str, Segments]", num_readers: int = 8, batch_size: int = 23
) -> str:
    """A line with the model's score on the validation clips and that of each baseline; "" if there are many clips.

    Args:
        model: with its task.
        splits: of its training.
        num_readers: threads that read.
        batch_size: segments per step of the model.
    """
    train, val = splits["train"], splits["val"]
    samples = (len(train) + len(val)) * train.task.window
    if train.num_clips + val.num_clips > FEW_CLIPS or samples > FEW_SAMPLES:
        return ""
    began = time.monotonic()
    task = train.task
    found = predict(model, val, batch_size, num_readers=num_readers)
    measure, own = main_score(score(found.y_true, found.y_prob, task))
    parts = []
    for name in BASELINES:
        guess = run_baseline(name, [train], val, num_readers=num_readers)
        parts.append(f"{name} {main_score(score(guess.y_true, guess.y_prob, task))[1]:.4f}")
    return (
        f"validation {measure} of clips: this network {own:.4f}; on log-mel statistics {', '.join(parts)} "
        f"({time.monotonic() - began:.1f} s)"
    )


def _describer(segments: "Segments") -> Callable[[int, int], np.ndarray]:
    """(first segment, last + 1) of a clip -> its statistics."""
    task = segments.task
    longest = max(task.window // 4, 1).bit_length() - 1
    size = 1 << max(min(round(np.log2(FRAME_SECONDS * task.sample_rate)), longest), 0)
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    filters = filterbank(BANDS, size, task.sample_rate).T / np.square(window).sum() / size
    hop, at_once = max(size // 2, 1), max(1, AT_ONCE_SAMPLES // task.window)

    def describe(first: int, end: int) -> np.ndarray:
        count, total, squares = 0, np.zeros(BANDS), np.zeros(BANDS)
        highest, rest = np.full(BANDS, -np.inf), np.zeros(0, np.float32)
        for start in range(first, end, at_once):
            wave = np.append(rest, segments.waveforms(np.arange(start, min(start + at_once, end))))
            frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop]
            rest = wave[len(frames) * hop :]  # where the next piece's first frame begins
            power = np.square(np.abs(np.fft.rfft(frames * window, axis=1)))
            bands = np.log(power @ filters + FLOOR).astype(np.float64)
            count += len(bands)
            total += bands.sum(axis=0)
            squares += np.square(bands).sum(axis=0)
            highest = np.maximum(highest, bands.max(axis=0))
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return np.concatenate([mean, deviation, highest]).astype(np.float32)

    return describe


def _spread(found: np.ndarray, known: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities of the classes that were learned, as columns of all classes."""
    spread = np.zeros((len(found), classes))
    spread[:, known.astype(int)] = found
    return spread


def _cache_file(fingerprint: str) -> Path | None:
    folder = cache_dir()
    return folder / f"logmel-{fingerprint[:32]}-{VERSION}.npz" if folder and fingerprint else None


def _recall(fingerprint: str) -> dict[str, np.ndarray]:
    """The statistics that are kept, by clip; empty if there are none, or a damaged file."""
    path = _cache_file(fingerprint)
    if path is None:
        return {}
    with suppress(Exception):  # whatever is wrong with it, the statistics are computed again
        with np.load(path, allow_pickle=False) as file:
            ids, rows = json.loads(str(file["ids"])), file["rows"]
        if rows.shape == (len(ids), 3 * BANDS) and rows.dtype == np.float32 and np.isfinite(rows).all():
            return dict(zip(ids, rows, strict=True))
    return {}


def _remember(fingerprint: str, known: dict[str, np.ndarray]) -> None:
    path = _cache_file(fingerprint)
    if path is None:
        return
    memory = io.BytesIO()
    np.savez(memory, ids=np.array(json.dumps(list(known))), rows=np.array(list(known.values()), np.float32))
    with suppress(OSError):  # not writable, or full
        write_bytes(path, memory.getbuffer())
