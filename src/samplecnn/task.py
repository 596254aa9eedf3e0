"""A task as data: the classes, the audio a model expects and how its outputs are read."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from samplecnn import parsing
from samplecnn.errors import SampleCNNError
from samplecnn.parsing import Rule, choice, list_of, number, or_null, shown, text, whole

Kind = Literal["multilabel", "multiclass"]
Padding = Literal["tile", "zero", "stretch"]

# Classes for what is none of the others: sound without any of them, and others of their kind.
BACKGROUND, UNKNOWN = "_background_", "_unknown_"

MIN_RATE, MAX_RATE = 100, 768_000  # Hz
MAX_WINDOW = 1 << 31  # samples
MAX_CLIP_SECONDS = 1e6
MAX_CLASSES, MAX_NAME = 100_000, 1_000  # classes, and characters of a name

# What a file or a caller may give for each field.
RULES: dict[str, Rule] = {
    "name": text(MAX_NAME),
    "classes": list_of(text(MAX_NAME, least=1), MAX_CLASSES, least=1),
    "kind": choice(*get_args(Kind)),
    "sample_rate": whole(1, MAX_RATE),
    "window": whole(1, MAX_WINDOW),
    "clip_seconds": or_null(number(0, MAX_CLIP_SECONDS, above=True)),
    "mean": number(-1e6, 1e6),
    "std": number(0, 1e6, above=True),
    "threshold": number(0, 1),
    "padding": choice(*get_args(Padding)),
    "thresholds": or_null(list_of(number(0, 1), MAX_CLASSES)),
}
DESCRIPTION = parsing.fields(RULES, optional=set(RULES) - {"name", "classes"})


def threshold_text(threshold: float, thresholds: tuple[float, ...] | None) -> str:
    """One threshold for all classes, or that each has its own, in words."""
    return f"threshold {threshold:g}" if thresholds is None else "the classes' own thresholds"


@dataclass(frozen=True)
class Task:
    """A classification task.

    Args:
        name: short name, used in folder names ("scd").
        classes: class names in the order of the model's outputs.
        kind: "multilabel" (sigmoid, any number of classes per clip) or "multiclass" (softmax, exactly one).
        sample_rate: Hz.
        window: samples of one segment, the model's input.
        clip_seconds: seconds of each recording that are used, from its start; None uses all of it.
        mean, std: of the waveform over the training segments; inputs are standardised as (wave - mean) / std.
        threshold: probability above which a class counts as present.
        padding: how a recording that is too short is extended ("tile", "zero" or "stretch", see `audio.fit`).
        thresholds: of each class, where they were fitted (`samplecnn eval --fit-thresholds`); None: `threshold`.

    Raises:
        SampleCNNError: a value of the wrong type or out of range, named.
    """

    name: str
    classes: tuple[str, ...]
    kind: Kind = "multiclass"
    sample_rate: int = 22050
    window: int = 22050
    clip_seconds: float | None = None
    mean: float = 0.0
    std: float = 1.0
    threshold: float = 0.5
    padding: Padding = "tile"
    thresholds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes) if isinstance(self.classes, list) else self.classes)
        if isinstance(self.thresholds, list):
            object.__setattr__(self, "thresholds", tuple(self.thresholds))
        name = self.name if isinstance(self.name, str) else ""
        for field, rule in RULES.items():
            problem = rule(getattr(self, field), field)
            if problem:
                raise SampleCNNError(f"task {shown(name)[1:-1]}: {problem}" if name else f"a task's {problem}")
        if len(set(self.classes)) != len(self.classes):
            raise self._error("class names must be all different")
        if self.thresholds is not None and len(self.thresholds) != len(self.classes):
            raise self._error(f"{len(self.thresholds):,} thresholds for {len(self.classes):,} classes")
        if self.clip_seconds is not None and self.clip_samples < self.window:
            raise self._error(f"clips of {self.clip_seconds:g} s are shorter than a window ({self.window} samples)")

    def _error(self, reason: str) -> SampleCNNError:
        return SampleCNNError(f"task {self.name}: {reason}")

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def clip_samples(self) -> int:
        """Samples of each recording that are used; 0 where all of it is."""
        return 0 if self.clip_seconds is None else int(self.clip_seconds * self.sample_rate)

    @property
    def segments_per_clip(self) -> int | None:
        """Segments that every clip is cut into; None where it depends on the recording's length."""
        return None if self.clip_seconds is None else self.clip_samples // self.window

    @property
    def class_thresholds(self) -> tuple[float, ...]:
        """The threshold of each class."""
        return (self.threshold,) * self.num_classes if self.thresholds is None else self.thresholds

    @property
    def threshold_text(self) -> str:
        """The thresholds in words, to follow "at"."""
        return threshold_text(self.threshold, self.thresholds)

    @property
    def activation(self) -> str:
        """Of the model's outputs: "sigmoid" or "softmax"."""
        return "sigmoid" if self.kind == "multilabel" else "softmax"

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; `thresholds` only where there are any, as in earlier versions."""
        values = {**asdict(self), "classes": list(self.classes)}
        thresholds = values.pop("thresholds")
        return values if thresholds is None else values | {"thresholds": list(thresholds)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Task":
        """The inverse of `to_dict`; unknown keys are ignored.

        Raises:
            SampleCNNError: not a description of a task, or a value of the wrong type or out of range.
        """
        problem = DESCRIPTION(values, "")
        if problem:
            raise SampleCNNError(f"not the description of a task: {problem}")
        return cls(**{name: values[name] for name in RULES if name in values})

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """The inverse of `to_json`.

        Raises:
            SampleCNNError: not JSON, or as `from_dict`.

        Example:
            >>> Task.from_json(Task("birds", ("owl", "crow")).to_json()).classes
            ('owl', 'crow')
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SampleCNNError("not the description of a task: not JSON") from error
        return cls.from_dict(values)

    @classmethod
    def read(cls, path: Path, remedy: str, error: type[SampleCNNError] = SampleCNNError) -> "Task":
        """The task in a JSON file. Raises the error, with the file and the remedy, where it holds none."""
        values = parsing.read_object(path, remedy, DESCRIPTION, error)
        try:
            return cls.from_dict(values)
        except SampleCNNError as fault:  # values that do not fit each other
            raise error(f"{path}: {fault}; {remedy}") from fault

    def with_statistics(self, mean: float, std: float) -> "Task":
        """The task with another mean and standard deviation of the waveform."""
        return replace(self, mean=mean, std=std)
