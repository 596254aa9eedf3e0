"""What a model is asked to do, as data: the classes, the sound it expects and how its outputs are read."""

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from samplecnn.errors import SampleCNNError

Kind = Literal["multilabel", "multiclass"]
Padding = Literal["tile", "zero", "stretch"]


@dataclass(frozen=True)
class Task:
    """A classification task.

    Args:
        name: short name, used in folder names ("scd").
        classes: class names in the order of the model's outputs.
        kind: "multilabel" (sigmoid, any number of classes a clip) or "multiclass" (softmax, exactly one).
        sample_rate: Hz.
        window: samples of one segment, the model's input.
        clip_seconds: seconds of each recording that are used, from its start; None uses all of it.
        mean, std: of the waveform over the training segments; inputs are standardised as (wave - mean) / std.
        threshold: probability above which a class counts as present.
        padding: how a recording shorter than needed is filled up ("tile", "zero" or "stretch", see `audio.fit`).
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
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.kind not in ("multilabel", "multiclass"):
            raise SampleCNNError(f"task {self.name}: kind must be multilabel or multiclass, not {self.kind!r}")
        if self.padding not in ("tile", "zero", "stretch"):
            raise SampleCNNError(f"task {self.name}: padding must be tile, zero or stretch, not {self.padding!r}")
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise SampleCNNError(f"task {self.name}: class names must be present and all different")
        if self.sample_rate <= 0 or self.window <= 0:
            raise SampleCNNError(f"task {self.name}: sample rate and window must be positive")
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise SampleCNNError(f"task {self.name}: mean must be finite and std positive")
        if self.clip_seconds is not None and self.clip_samples < self.window:
            raise SampleCNNError(
                f"task {self.name}: clips of {self.clip_seconds:g} s are shorter than a window ({self.window} samples)"
            )

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def clip_samples(self) -> int:
        """Samples of each recording that are used; 0 where all of it is."""
        return 0 if self.clip_seconds is None else int(self.clip_seconds * self.sample_rate)

    @property
    def segments_per_clip(self) -> int | None:
        """Segments every clip is cut into; None where it depends on the recording's length."""
        return None if self.clip_seconds is None else self.clip_samples // self.window

    @property
    def activation(self) -> str:
        return "sigmoid" if self.kind == "multilabel" else "softmax"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Task":
        known = {key: values[key] for key in cls.__dataclass_fields__ if key in values}
        try:
            return cls(**known)
        except TypeError as error:
            raise SampleCNNError(f"not the description of a task: {error}") from error

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Task":
        return cls.from_dict(json.loads(text))

    def with_statistics(self, mean: float, std: float) -> "Task":
        return replace(self, mean=mean, std=std)
