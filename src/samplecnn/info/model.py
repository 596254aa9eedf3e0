"""A trained model: architecture, task, size, receptive field, training, hash. Read without PyTorch."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from samplecnn.model_files import WEIGHTS, load_stored, read_description
from samplecnn.models import ModelConfig
from samplecnn.models.spec import network_spec
from samplecnn.task import Task
from samplecnn.zoo.packaged import resolved

STATISTICS = ("running_mean", "running_var")  # batch-norm values that are not trained
SHOWN_CLASSES = 12


@dataclass(frozen=True)
class ModelDescription:
    """A model file.

    Args:
        path: the file with the weights.
        config: the architecture.
        task: the model's task.
        trained_parameters: number of trainable parameters.
        statistics: number of batch-norm statistics.
        receptive_field: samples that one frame of the last block depends on.
        hop: samples from one such frame to the next.
        sha256: hash of the file.
        recorded_sha256: the hash in config.json; "" if it has none.
        training: record of the training in config.json; empty if there is none.
    """

    path: Path
    config: ModelConfig
    task: Task
    trained_parameters: int
    statistics: int
    receptive_field: int
    hop: int
    sha256: str
    recorded_sha256: str
    training: dict[str, Any]

    @classmethod
    def of(cls, path: Path) -> "ModelDescription":
        """Raises UsageError if there is no model, SampleCNNError if its files are damaged."""
        path = resolved(path)
        stored = load_stored(path)
        file = path / WEIGHTS if path.is_dir() else path
        with file.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        statistics = sum(value.size for name, value in stored.values.items() if name.endswith(STATISTICS))
        recorded = _recorded(file)
        spec = network_spec(stored.config)
        return cls(
            path=file,
            config=stored.config,
            task=stored.task,
            trained_parameters=sum(value.size for value in stored.values.values()) - statistics,
            statistics=statistics,
            receptive_field=spec.receptive_field,
            hop=spec.hop,
            sha256=sha256,
            recorded_sha256=str(recorded.get("sha256") or ""),
            training=recorded.get("training") or {},
        )

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        return {"kind": "model", **values, "path": str(self.path), "task": self.task.to_dict()}

    def lines(self) -> list[str]:
        task, config = self.task, self.config
        rate = task.sample_rate
        classes = ", ".join(task.classes[:SHOWN_CLASSES])
        more = f" and {task.num_classes - SHOWN_CLASSES} more" if task.num_classes > SHOWN_CLASSES else ""
        several = "several classes in a recording" if task.kind == "multilabel" else "one class in a recording"
        trained = "" if not self.recorded_sha256 else ", as config.json says"
        if self.recorded_sha256 and self.recorded_sha256 != self.sha256:
            trained = f", but config.json says {self.recorded_sha256[:16]}…: the two files do not belong together"
        return [
            f"model         {self.path}",
            f"architecture  {config.signature}: {config.num_blocks} blocks, {config.features} features in the first"
            + (f"; {config.variant}" if config.variant else ""),
            f"parameters    {self.trained_parameters:,} trainable weights, {self.statistics:,} batch-norm statistics",
            f"frames        receptive field {_span(self.receptive_field, rate)}, hop {_span(self.hop, rate)}",
            f"input         {rate:,} Hz, window {_span(task.window, rate)}, mean {task.mean:.6g}, std {task.std:.6g}",
            f"task          {task.name}, {task.kind} ({several}), {task.threshold_text}",
            f"classes       {task.num_classes}: {classes}{more}",
            f"training      {_training(self.training)}",
            f"sha256        {self.sha256}{trained}",
        ]


def _recorded(file: Path) -> dict[str, Any]:
    """The content of config.json next to a .safetensors, which has been validated before; {} for other files."""
    return read_description(file) if file.suffix == ".safetensors" else {}


def _span(samples: int, rate: int) -> str:
    return f"{samples:,} samples ({samples / rate:.3g} s)"


NESTED = ("options", "data", "extended", "scored_by", "reviews")


def _training(record: dict[str, Any]) -> str:
    """The record in one line, as key=value."""
    if not record:
        return "not recorded in this file"
    options = record.get("options") or {}
    parts = [f"{name.replace('_', ' ')} {value}" for name, value in record.items() if name not in NESTED]
    data = record.get("data")
    if isinstance(data, dict):
        parts.append(f"data {str(data.get('fingerprint'))[:12]} ({data.get('clips')} clips)")
    for review in filter(lambda each: isinstance(each, dict), record.get("reviews") or []):
        parts.append(f"output layer fitted to {review.get('answers')} answers in {review.get('index')}")
    scored = record.get("scored_by")
    if isinstance(scored, dict):
        parts.append(f"scored by {scored.get('run')}: {_scores(scored.get('scores'))}")
    return "; ".join([*parts, " ".join(f"{name}={value}" for name, value in options.items() if value is not None)])


def _scores(scores: Any) -> str:
    """Scores as name=value, without those that are not defined."""
    known = scores if isinstance(scores, dict) else {}
    return " ".join(f"{name}={value:.4f}" for name, value in known.items() if isinstance(value, float))
