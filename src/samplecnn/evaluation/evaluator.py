"""A model against a built data set: does it fit, what does it say, how good is that."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn.errors import UsageError
from samplecnn.evaluation.engine_comparison import Comparison, compare_predictions
from samplecnn.evaluation.inference import resolve
from samplecnn.evaluation.metrics import Scores, score
from samplecnn.evaluation.predict import Predictions, predict
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN


@dataclass(frozen=True)
class Evaluation:
    """Scores and all that they came from.

    `task` is the model's; `model` is what the user called it; `comparison` is there where an engine was to be held
    against the model itself.
    """

    model: str
    dataset: str
    task: Task
    predictions: Predictions
    scores: Scores
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    comparison: Comparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file: what was tested on what, how, and the scores."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            "task": self.task.name,
            "segments": int(self.predictions.segments.sum()),
            "settings": self.settings,
            **({} if self.comparison is None else {"comparison": self.comparison.to_dict()}),
            **self.scores.to_dict(),
        }


def evaluate(
    model: "SampleCNN | str | Path",
    dataset: str,
    data_dir: str | Path = "./data",
    batch_size: int = 23,
    num_readers: int = 8,
    device: str | None = None,
    progress: bool = False,
    skip_corrupt: bool = False,
) -> Scores:
    """Scores a model on the test split of a built data set.

    Args:
        model: a SampleCNN, or whatever `samplecnn.load` takes.
        dataset: as it was built: a name, a folder or a manifest; or a folder of TFRecords.
        data_dir: the folder of the built data sets.
        batch_size: segments a step; the scores do not depend on it.
        num_readers: threads that read ahead.
        device: "cpu", "cuda"; None uses a GPU where there is one (a SampleCNN at hand stays where it is).
        progress: shows a bar on stderr.
        skip_corrupt: leaves out damaged TFRecords instead of stopping at the first.

    Raises:
        UsageError: the data set is not built, there is no such model, or the two do not fit.
        SampleCNNError: fewer than two test clips, or a model that answers with NaN.
    """
    return examine(model, dataset, data_dir, batch_size, num_readers, device, progress, skip_corrupt).scores


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
    compared: bool = False,
) -> Evaluation:
    """`evaluate`, with the probabilities of every clip and all that a report needs.

    Args:
        engine: a name in `engines.ENGINES`, or "auto"; None is the model itself in full precision.
        precision: of the engine, torch's if none is named; None is the engine's own choice.
        compared: tests the model itself as well, to tell the difference.
    """
    from samplecnn.shards import open_split

    segments = open_split(dataset, data_dir, "test", skip_corrupt)
    name = "the model" if not isinstance(model, str | Path) else str(model)
    loaded = resolve(model, device)
    assert loaded.task is not None  # resolve has seen to it
    check_fit(loaded.task, segments.task, name, str(dataset))
    running, comparison = None, None
    if engine is not None or precision is not None or compared:
        from samplecnn.inference import open_engine

        running = open_engine(loaded, engine or "torch", precision or "auto", segments=len(segments))
    predictions = predict(loaded, segments, batch_size, progress, num_readers=num_readers, engine=running)
    if running is not None and compared:
        plain = predict(loaded, segments, batch_size, progress, num_readers=num_readers)
        comparison = compare_predictions(plain, predictions, loaded.task, running)
    return Evaluation(
        model=name,
        dataset=str(dataset),
        task=loaded.task,
        predictions=predictions,
        scores=score(predictions.y_true, predictions.y_prob, loaded.task),
        settings={
            "split": "test",
            "data_dir": str(data_dir),
            "shards": str(segments.folder),
            "records_left_out": len(segments.skipped),
            "batch_size": batch_size,
            "num_readers": num_readers,
            "device": str(next(loaded.parameters()).device),
            "engine": "the model itself" if running is None else running.name,
            "precision": "fp32" if running is None else running.precision,
        },
        comparison=comparison,
        warnings=segments.warnings(),
    )


def check_fit(model: Task, data: Task, model_name: str, dataset_name: str) -> None:
    """Raises UsageError where a model cannot be tested on a data set, telling both sides.

    Mean, std and threshold may differ: the model's own are used.
    """

    def misfit(what: str, of_model: str, of_data: str) -> UsageError:
        return UsageError(
            f"{model_name} does not fit data set {dataset_name} ({what}): "
            f"the model has {of_model}, the data set {of_data}"
        )

    if model.classes != data.classes:
        if sorted(model.classes) == sorted(data.classes):
            place = next(i for i, (a, b) in enumerate(zip(model.classes, data.classes, strict=True)) if a != b)
            raise misfit(
                "the classes are in another order",
                f"{model.classes[place]!r} in place {place + 1}",
                repr(data.classes[place]),
            )
        raise misfit("other classes", _named(model.classes, data.classes), _named(data.classes, model.classes))
    if model.kind != data.kind:
        raise misfit("another kind of task", model.kind, data.kind)
    if (model.sample_rate, model.window) != (data.sample_rate, data.window):
        raise misfit(
            "another window or rate",
            f"{model.window:,} samples at {model.sample_rate:,} Hz",
            f"{data.window:,} samples at {data.sample_rate:,} Hz; build the data set again with the model's",
        )


def _named(classes: tuple[str, ...], others: tuple[str, ...], most: int = 4) -> str:
    """How many classes there are, and the first few that the other side does not have."""
    only = [name for name in classes if name not in others]
    shown = f", {', '.join(only[:most])}{', …' if len(only) > most else ''} among them" if only else ""
    return f"{len(classes)}{shown}"
