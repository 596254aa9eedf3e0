"""A run whose scores are known, and which decides how long the final model is trained."""

from dataclasses import asdict, dataclass
from typing import Any

from samplecnn.parsing import fields, file_name, list_of, score, table_of, text, whole

SCORES = ("roc_auc", "pr_auc", "accuracy", "f1", "exact_match")  # of the row of a test in a run's history

RULE = fields(
    {
        "run": file_name(),
        "epochs": list_of(whole(1, 1 << 62)),
        "scores": table_of(score(), text(100)),
        "clips": table_of(whole(0, 1 << 62), text(100)),
    }
)


@dataclass(frozen=True)
class ScoredRun:
    """The run that a final model is like.

    Args:
        run: name of its directory.
        epochs: of its best weights, for each stage.
        scores: of these on its test split, by name.
        clips: of its splits.
    """

    run: str
    epochs: list[int]
    scores: dict[str, float | None]
    clips: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        known = {name: value for name, value in self.scores.items() if value is not None}
        shown = ", ".join(f"{name} {value:.6f}" for name, value in known.items())
        return f"{self.run}: {shown} on {self.clips.get('test', 0):,} test clips"
