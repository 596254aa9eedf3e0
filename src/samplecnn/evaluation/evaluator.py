"""Evaluates a model on the test split of a built data set: compatibility, predictions, scores."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn.errors import UsageError
from samplecnn.evaluation.engine_comparison import Comparison, compare_predictions
from samplecnn.evaluation.intervals import Intervals
from samplecnn.evaluation.metrics import Scores, score
from samplecnn.evaluation.predict import Predictions, predict
from samplecnn.system.arguments import checked
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.shards import Segments


@dataclass(frozen=True)
class Evaluation:
    """Scores with everything they were computed from.

    Args:
        model: the model's path or name as the user gave it.
        dataset: the data set as the user named it.
        task: the model's task.
        predictions: probabilities of every test clip.
        scores: the scores of these predictions.
        settings: split, shards, device, engine and the other options of the test.
        warnings: remarks for the user, such as skipped damaged records.
        intervals: confidence intervals of the scores, if they were computed.
        comparison: the engine compared with the model itself, if requested.
    """

    model: str
    dataset: str
    task: Task
    predictions: Predictions
    scores: Scores
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    comparison: Comparison | None = None
    intervals: Intervals | None = None

    def to_dict(self) -> dict[str, Any]:
        """Model, data set, settings and scores, for a JSON file."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            "task": self.task.name,
            "segments": int(self.predictions.segments.sum()),
            "settings": self.settings,
            **({} if self.comparison is None else {"comparison": self.comparison.to_dict()}),
            **({} if self.intervals is None else {"intervals": self.intervals.to_dict()}),
            **self.scores.to_dict(),
        }


@checked
def evaluate(
    model: "SampleCNN | str | Path",
    dataset: str,
    data_dir: str | Path = "./data",
    batch_size: int = 23,
    num_readers: int = 8,
    device: str | None = None,
    progress: bool = False,
    skip_corrupt: bool = False,
    fold: str | None = None,
) -> Scores:
    """Scores a model on the test split of a built data set.

    Args:
        model: a SampleCNN, or any argument of `samplecnn.load`.
        dataset: the data set as it was built: a name, a folder or a manifest; or a folder of TFRecords.
        data_dir: folder of the built data sets.
        batch_size: segments per step; the scores do not depend on it.
        num_readers: threads that read ahead.
        device: "cpu", "cuda"; None uses a GPU if there is one (a SampleCNN stays on its device).
        progress: shows a bar on stderr.
        skip_corrupt: skips damaged TFRecords instead of stopping at the first.
        fold: a fold of a cross-validation, as for `train`: its test clips are used instead of the test split.

    Returns:
        Scores of the whole test set and of every class; see `samplecnn.evaluation.metrics` for their definitions.

    Raises:
        UsageError: the data set is not built, there is no such model, or the two are not compatible.
        SampleCNNError: fewer than two test clips, or a model whose probabilities are NaN.

    Example:
        >>> scores = samplecnn.evaluate("log/20261122_101500-sounds-se_multi", "sounds")
        >>> scores.accuracy > 0.8, scores.per_class[0].name
        (True, 'beep')
    """
    return examine(model, dataset, data_dir, batch_size, num_readers, device, progress, skip_corrupt, fold=fold).scores


def examine(
    model: "SampleCNN | str | Path",
    dataset: str,
    data_dir: str | Path = "./data",
    batch_size: int = 23,
    num_readers: int = 8,
    device: str | None = None,
    progress: bool = False,
    skip_corrupt: bool = False,
    engine: str | None = None,
    precision: str | None = None,
    compare_with_model: bool = False,
    segments: "Segments | None" = None,
    model_path: str | Path | None = None,
    fold: str | None = None,
) -> Evaluation:
    """`evaluate`, with the probabilities of every clip and everything else that a report needs.

    Args:
        model, dataset, data_dir, batch_size, num_readers, device, progress, skip_corrupt, fold: as for `evaluate`.
        engine: a name in `samplecnn.inference.ENGINES`, or "auto"; None is the model itself in full precision.
        precision: the engine's precision (of engine torch if none is named); None is the engine's default.
        compare_with_model: also runs the model itself, to report the difference.
        segments: the test split, if it is already open.
        model_path: where a SampleCNN was loaded from; None if `model` is the path or was not loaded from a file.
    """
    from samplecnn.evaluation.probabilities import load_on_device
    from samplecnn.shards.folds import open_built_splits

    if segments is None:
        segments = open_built_splits(dataset, data_dir, fold, ("test",), skip_corrupt)["test"]
    name = str(model) if isinstance(model, str | Path) else "the model"
    loaded = load_on_device(model, device)
    assert loaded.task is not None  # load_on_device has checked it
    check_fit(loaded.task, segments.task, name, str(dataset))
    opened, comparison = None, None
    if engine is not None or precision is not None or compare_with_model:
        from samplecnn.inference import open_engine

        opened = open_engine(loaded, engine or "torch", precision or "auto", segments=len(segments))
    path = model if isinstance(model, str | Path) else model_path
    seen = _seen_clips(path, segments, num_readers)
    predictions = predict(loaded, segments, batch_size, progress, num_readers=num_readers, engine=opened)
    if opened is not None and compare_with_model:
        reference = predict(loaded, segments, batch_size, progress, num_readers=num_readers)
        comparison = compare_predictions(reference, predictions, loaded.task, opened)
    return Evaluation(
        model=name,
        dataset=str(dataset),
        task=loaded.task,
        predictions=predictions,
        scores=score(predictions.y_true, predictions.y_prob, loaded.task),
        settings={
            "split": "test",
            **({} if fold is None else {"fold": fold}),
            "data_dir": str(data_dir),
            "shards": str(segments.folder),
            "records_left_out": len(segments.skipped),
            "batch_size": batch_size,
            "num_readers": num_readers,
            "device": str(next(loaded.parameters()).device),
            "engine": "the model itself" if opened is None else opened.name,
            "precision": "fp32" if opened is None else opened.precision,
        },
        comparison=comparison,
        warnings=[*segments.warnings(), *differences(loaded.task, segments, name, str(dataset)), *seen],
    )


def check_fit(model: Task, data: Task, model_name: str, dataset_name: str) -> None:
    """Raises UsageError, with both values, if a model cannot be tested on a data set.

    Mean, std and threshold may differ: the model's are used. For other differences that are allowed, see
    `differences`.
    """

    def mismatch(what: str, of_model: str, of_data: str) -> UsageError:
        return UsageError(
            f"{model_name} does not fit data set {dataset_name} ({what}): "
            f"the model has {of_model}, the data set {of_data}"
        )

    if model.classes != data.classes:
        if sorted(model.classes) == sorted(data.classes):
            pairs = enumerate(zip(model.classes, data.classes, strict=True), start=1)
            position = next(number for number, (a, b) in pairs if a != b)
            raise mismatch(
                "different order of classes",
                f"{model.classes[position - 1]!r} at position {position}",
                repr(data.classes[position - 1]),
            )
        raise mismatch(
            "different classes",
            _class_summary(model.classes, data.classes),
            _class_summary(data.classes, model.classes),
        )
    if model.kind != data.kind:
        raise mismatch("different kind of task", model.kind, data.kind)
    if (model.sample_rate, model.window) != (data.sample_rate, data.window):
        raise mismatch(
            "different window or sample rate",
            f"{model.window:,} samples at {model.sample_rate:,} Hz",
            f"{data.window:,} samples at {data.sample_rate:,} Hz; build the data set again with the model's",
        )


def differences(model: Task, segments: "Segments", model_name: str, dataset_name: str) -> list[str]:
    """Warnings, one line each, if clips in the shards were cut or padded differently than in tagging with the model.

    Padding matters only if clips were short; shards of earlier versions do not record that.
    """
    from samplecnn.shards.identity import unrecorded_source

    data, record, found = segments.task, segments.record, []
    short = record.short.get(segments.split, 0) if record is not None and record.short is not None else None
    if model.padding != data.padding and short != 0:
        clips = "short clips" if short is None else f"{short:,} short clips"
        found.append(
            f"warning: different padding: {model_name} expects short clips padded by {model.padding}, but "
            f"{dataset_name} has {clips} padded by {data.padding}, so that these scores are not those of `tag`; "
            f"build the data set again with --padding {model.padding}"
        )
    if model.clip_seconds != data.clip_seconds:
        used = ["all" if task.clip_seconds is None else f"the first {task.clip_seconds:g} s" for task in (model, data)]
        found.append(
            f"warning: different length of clips: {model_name} was trained on {used[0]} of a recording, {dataset_name} "
            f"has {used[1]}; build the data set again with the model's --clip-seconds if that is not intended"
        )
    remark = None if record is None else unrecorded_source(dataset_name, record, segments.folder)
    return found if remark is None else [*found, f"note: {remark}"]


def _seen_clips(model: str | Path | None, segments: "Segments", num_readers: int) -> list[str]:
    """A warning if a model is scored on clips that it was trained on."""
    from samplecnn.evaluation.seen_clips import clip_hashes, read_seen

    seen = None if model is None else read_seen(model)
    count = 0 if seen is None else seen.overlap(clip_hashes(segments, num_readers))
    if not count:
        return []
    return [
        f"warning: {model} was trained or validated on {count:,} of these {segments.num_clips:,} clips: their scores "
        "do not show its performance on new recordings"
    ]


def _class_summary(classes: tuple[str, ...], others: tuple[str, ...], max_names: int = 4) -> str:
    """The number of classes, and the first few that are missing from the others."""
    only = [name for name in classes if name not in set(others)]
    names = f" (including {', '.join(only[:max_names])}{', …' if len(only) > max_names else ''})" if only else ""
    return f"{len(classes)}{names}"
