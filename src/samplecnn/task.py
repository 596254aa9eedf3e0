"""A task as data: the classes, the audio a model expects and how its outputs are read."""

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, Literal, get_args

from samplecnn.errors import SampleCNNError

Kind = Literal["multilabel", "multiclass"]
Padding = Literal["tile", "zero", "stretch"]

# Classes for what is none of the others: sound without any of them, and others of their kind.
BACKGROUND, UNKNOWN = "_background_", "_unknown_"

MIN_RATE, MAX_RATE = 100, 768_000  # Hz
MAX_WINDOW = 1 << 31  # samples
MAX_CLIP_SECONDS = 1e6
MAX_CLASSES, MAX_NAME = 100_000, 1_000  # classes, and characters of a name


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

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or len(self.name) > MAX_NAME:
            raise SampleCNNError(f"a task's name must be a text of at most {MAX_NAME:,} characters")
        if not isinstance(self.classes, tuple | list):
            raise self._error("the classes must be a list of names")
        object.__setattr__(self, "classes", tuple(self.classes))
        if not all(isinstance(name, str) and name and len(name) <= MAX_NAME for name in self.classes):
            raise self._error(f"class names must be texts of 1 to {MAX_NAME:,} characters")
        if not self.classes or len(self.classes) > MAX_CLASSES or len(set(self.classes)) != len(self.classes):
            raise self._error("class names must be present and all different")
        for field, kinds in (("kind", Kind), ("padding", Padding)):
            known = get_args(kinds)
            if getattr(self, field) not in known:
                shown = f"{', '.join(known[:-1])} or {known[-1]}"
                raise self._error(f"{field} must be {shown}, not {str(getattr(self, field))[:40]!r}")
        if not _is_whole(self.sample_rate, 1, MAX_RATE) or not _is_whole(self.window, 1, MAX_WINDOW):
            raise self._error("sample rate and window must be positive whole numbers")
        if not (_is_number(self.mean) and _is_number(self.std) and self.std > 0):
            raise self._error("mean must be finite and std positive")
        if not (_is_number(self.threshold) and 0 <= self.threshold <= 1):
            raise self._error("threshold must be a probability between 0 and 1")
        if self.clip_seconds is not None:
            if not (_is_number(self.clip_seconds) and 0 < self.clip_seconds <= MAX_CLIP_SECONDS):
                raise self._error("clip seconds must be a positive number, or none")
            if self.clip_samples < self.window:
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
    def activation(self) -> str:
        """Of the model's outputs: "sigmoid" or "softmax"."""
        return "sigmoid" if self.kind == "multilabel" else "softmax"

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Task":
        """The inverse of `to_dict`; unknown keys are ignored.

        Raises:
            SampleCNNError: not a description of a task, or a value of the wrong type or out of range.
        """
        if not isinstance(values, dict):
            raise SampleCNNError(f"not the description of a task: expected an object, found {type(values).__name__}")
        names = [field.name for field in fields(cls)]
        missing = [name for name in ("name", "classes") if name not in values]
        if missing:
            raise SampleCNNError(f"not the description of a task: {missing[0]} is missing")
        return cls(**{name: values[name] for name in names if name in values})

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

    def with_statistics(self, mean: float, std: float) -> "Task":
        """The task with another mean and standard deviation of the waveform."""
        return replace(self, mean=mean, std=std)


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) <= most


def _is_number(value: Any) -> bool:
    """Whether it is a finite real number; also false for an integer that no float can hold."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
