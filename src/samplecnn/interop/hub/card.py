"""The model card of a hub repository: README.md with the metadata that the hub reads, made from what is recorded."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplecnn.errors import UsageError
from samplecnn.models.config import ModelConfig
from samplecnn.parsing import anything, read_object, table_of
from samplecnn.task import Task
from samplecnn.zoo.card import markdown_table, per_class_table, wilson

LIBRARY = "samplecnn"
METRICS_FILE = "metrics.jsonl"
# Scores in a run's metrics.jsonl -> metric of the hub, name in the card.
SCORES = {
    "accuracy": ("accuracy", "accuracy"),
    "roc_auc": ("roc_auc", "ROC-AUC (macro)"),
    "pr_auc": ("average_precision", "PR-AUC (macro)"),
    "macro_f1": ("f1", "F1 (macro)"),
    "f1": ("f1", "F1 (mean of the clips)"),
}


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of.

    Args:
        name: of the repository, "org/model".
        config, task: of the model.
        parameters: number of its values.
        sha256: of its weights.
        description: content of its config.json.
        scores: on its test split, by name; empty if none are recorded.
        report: content of the file of `samplecnn eval --json`; empty if there is none.
        licence: identifier of the hub, such as "mit" or "cc-by-4.0"; None if it is not given.
        body: text in place of the generated one, such as the card of a packaged model.
    """

    name: str
    config: ModelConfig
    task: Task
    parameters: int
    sha256: str
    description: dict[str, Any]
    scores: dict[str, float]
    report: dict[str, Any]
    licence: str | None = None
    body: str | None = None


def card(facts: CardFacts) -> str:
    """The text of README.md."""
    return f"---\n{metadata(facts)}---\n\n{facts.body or _body(facts)}"


def metadata(facts: CardFacts) -> str:
    """The lines between the rules at the top of README.md, in YAML: a key and a value in JSON on each."""
    task = facts.task
    values: dict[str, Any] = {
        "library_name": LIBRARY,
        "pipeline_tag": "audio-classification",
        "tags": ["audio", "audio-classification", "raw-waveform", "samplecnn", task.kind],
    }
    if facts.licence is not None:
        values["license"] = facts.licence
    known = {name: value for name, value in facts.scores.items() if name in SCORES}
    if known:
        values["metrics"] = list(dict.fromkeys(SCORES[name][0] for name in known))
        values["model-index"] = [
            {
                "name": facts.name.rpartition("/")[2],
                "results": [
                    {
                        "task": {"type": "audio-classification"},
                        "dataset": {"name": task.name, "type": task.name, "split": "test"},
                        "metrics": [
                            {"type": SCORES[name][0], "name": SCORES[name][1], "value": round(value, 6)}
                            for name, value in known.items()
                        ],
                    }
                ],
            }
        ]
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())


def scores_of(weights: Path, description: dict[str, Any], report: dict[str, Any]) -> dict[str, float]:
    """Test scores of a model by name: of a report, else of its run directory, else those that config.json records.

    Args:
        weights: the file of weights.
        description: content of its config.json.
        report: as in `CardFacts`.
    """
    sources = [report, _last_test(weights.with_name(METRICS_FILE))]
    scored = (description.get("training") or {}).get("scored_by")
    sources.append(scored.get("scores") if isinstance(scored, dict) else None)
    packaged = (description.get("card") or {}).get("score")
    sources.append({packaged["name"]: packaged["value"]} if isinstance(packaged, dict) and packaged else None)
    for source in filter(None, sources):
        found = {name: float(source[name]) for name in SCORES if isinstance(source.get(name), int | float)}
        if found:
            return found
    return {}


def read_report(path: str | Path | None, task: Task) -> dict[str, Any]:
    """The file of `samplecnn eval --json`; {} for None.

    Raises:
        UsageError: the scores of another task.
        SampleCNNError: not such a file.
    """
    if path is None:
        return {}
    report = read_object(Path(path), "make it with `samplecnn eval DATASET MODEL --json FILE`", table_of(anything()))
    rows = report.get("per_class")
    names = [row.get("name") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else None
    if names != list(task.classes):
        raise UsageError(f"{path}: not the scores of this model's classes; make it with `samplecnn eval --json {path}`")
    return report


def _last_test(path: Path) -> dict[str, Any] | None:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return next((row for row in reversed(rows) if row.get("event") == "test"), None)
    except (OSError, ValueError, AttributeError):
        return None


def _body(facts: CardFacts) -> str:
    task = facts.task
    several = "Any number of classes in a recording" if task.kind == "multilabel" else "One class in a recording"
    parts = [
        f"# {facts.name.rpartition('/')[2]}",
        f"{task.num_classes} classes, straight from the waveform: a SampleCNN ({facts.config.signature}, "
        f"{facts.config.num_blocks} blocks, {facts.parameters:,} values). {several}; windows of "
        f"{task.window / task.sample_rate:.3g} s at {task.sample_rate:,} Hz.",
        _use(facts),
        "## Classes\n\n" + ", ".join(_code(name) for name in task.classes),
        _scores(facts),
        _thresholds(facts),
        _training(facts),
        f"SHA-256 of the weights: `{facts.sha256}`.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _use(facts: CardFacts) -> str:
    return f"""## Use

    pip install 'samplecnn[hub]'
    samplecnn tag {facts.name} FILE

```python
import samplecnn

tagger = samplecnn.Tagger("{facts.name}")    # without PyTorch
print(tagger("recording.wav").top(5))
```"""


def _scores(facts: CardFacts) -> str:
    if not facts.scores:
        return ""
    clips = facts.report.get("clips")
    rows = []
    for name, value in facts.scores.items():
        interval = ""
        if name == "accuracy" and isinstance(clips, int) and clips > 0:
            low, high = wilson(round(value * clips), clips)
            interval = f"{low:.4f} to {high:.4f}"
        rows.append((SCORES[name][1], f"{value:.4f}", interval))
    over = f"On {clips:,} test clips" if isinstance(clips, int) else "On the test clips"
    text = f"## Scores\n\n{over} of `{facts.task.name}`.\n\n"
    text += markdown_table(("measure", "value", "95 % interval"), rows, "lrr")
    rows_of_classes = facts.report.get("per_class")
    return text + (f"\n\n{per_class_table(rows_of_classes)}" if rows_of_classes else "")


def _thresholds(facts: CardFacts) -> str:
    text = f"## Thresholds\n\n{facts.task.threshold_text[:1].upper()}{facts.task.threshold_text[1:]}."
    point = facts.description.get("listening")
    if isinstance(point, dict) and isinstance(point.get("false_alarms"), int | float):
        text += (
            f"\n\nListening at threshold {point['threshold']:g}: {point['false_alarms']:.2f} false alarms an hour in "
            f"{point.get('hours') or 0:.1f} hours of sound without any of the classes"
        )
        if isinstance(point.get("misses"), int | float):
            text += f", {100 * point['misses']:.1f} % of {point.get('utterances') or 0:,} utterances missed"
        text += "."
    return text


def _training(facts: CardFacts) -> str:
    record = facts.description.get("training")
    if not isinstance(record, dict) or not record:
        return ""
    lines = [f"samplecnn {record.get('samplecnn', '')}, {record.get('segments', '?')} training segments."]
    data = record.get("data")
    if isinstance(data, dict):
        lines.append(f"Data: {data.get('clips')} clips, fingerprint `{str(data.get('fingerprint'))[:16]}`.")
    options = record.get("options")
    if isinstance(options, dict):
        rows = [(f"`{name}`", f"`{value}`") for name, value in options.items() if value is not None]
        lines.append("\n" + markdown_table(("option", "value"), rows))
    return "## Training\n\n" + "\n".join(lines)


def _code(name: str) -> str:
    return f"`{name}`" if set(name) & set("_*`|<>[]") else name
