"""A run whose scores are known, and which decides how long the final model is trained."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from samplecnn import model_files
from samplecnn.parsing import anything, fields, file_name, list_of, or_null, score, table_of, text, whole

SCORES = ("roc_auc", "pr_auc", "accuracy", "f1", "exact_match")  # of the row of a test in a run's history

RULE = fields(
    {
        "run": file_name(),
        "epochs": list_of(whole(1, 1 << 62)),
        "scores": table_of(score(), text(100)),
        "clips": table_of(whole(0, 1 << 62), text(100)),
        "fitted": or_null(fields({"task": table_of(anything())})),
    },
    optional=["fitted"],
)
# Entries of config.json that `evaluation.fitting` and `bench listen --store` write, in the words of `pass_on`.
FITTED = {"calibration": "calibration", "thresholds": "thresholds", "listening": "operating point"}


@dataclass(frozen=True)
class ScoredRun:
    """The run that a final model is like.

    Args:
        run: name of its directory.
        epochs: of its best weights, for each stage.
        scores: of these on its test split, by name.
        clips: of its splits.
        fitted: its calibration, thresholds and operating point, as `fitted_to` reads them: no clips are left to fit
            others to.
    """

    run: str
    epochs: list[int]
    scores: dict[str, float | None]
    clips: dict[str, int]
    fitted: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def record(self) -> dict[str, Any]:
        """For config.json, which has what is fitted in its own entries."""
        return {name: value for name, value in self.to_dict().items() if name != "fitted"}

    def pass_on(self, run: Path) -> str:
        """Gives what is fitted to the final model; returns a line that says so, or ""."""
        if self.fitted is None:
            return ""
        task = model_files.description_of(run)["task"] | self.fitted["task"]
        model_files.update_description(run, {**self.fitted, "task": task})
        words = ", ".join(word for name, word in FITTED.items() if name in self.fitted)
        return f"as in {self.run}: {words}"

    def __str__(self) -> str:
        known = {name: value for name, value in self.scores.items() if value is not None}
        shown = ", ".join(f"{name} {value:.6f}" for name, value in known.items())
        return f"{self.run}: {shown} on {self.clips.get('test', 0):,} test clips"


def fitted_to(run: Path) -> dict[str, Any] | None:
    """What is fitted in a run's config.json: its entries FITTED, and "task" with `thresholds`."""
    found = model_files.description_of(run)
    entries = {name: found[name] for name in FITTED if found.get(name) is not None}
    if not entries:
        return None
    return entries | {"task": {name: value for name, value in found["task"].items() if name == "thresholds"}}
