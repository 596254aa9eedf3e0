"""From a run directory to a packaged model: weights in float16, what the list shows, and the card."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from samplecnn import model_files
from samplecnn.errors import SampleCNNError
from samplecnn.listening import operating_point
from samplecnn.zoo.card import card_text

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "samplecnn" / "zoo"


def pack_weights(run: Path, folder: Path) -> None:
    """Writes a run's weights in float16, with its config.json; `measure` them before `pack_card`.

    Of paths, only the last parts are kept: the others are of the machine that trained it.
    """
    recorded = json.loads((run / model_files.CONFIG).read_text(encoding="utf-8"))
    options = recorded.get("training", {}).get("options", {})
    options.update({name: Path(options[name]).name for name in ("dataset", "background") if options.get(name)})
    stored = model_files.load_stored(run)
    named = replace(stored, task=replace(stored.task, name=folder.name))
    model_files.save(named, folder, recorded.get("training"), half=True)


def pack_card(folder: Path, facts: dict[str, Any], most_bytes: int) -> dict[str, Any]:
    """Adds the card, and what the list of models shows, to a packaged model.

    Args:
        folder: as `pack_weights` has written it.
        facts: as `card_text` takes them, but for what is read from the folder: size, weights, hash, rate and window.
        most_bytes: that the file of weights may have.

    Returns:
        All facts, as JSON can hold them.
    """
    weights = (folder / model_files.WEIGHTS).read_bytes()
    if len(weights) > most_bytes:
        raise SampleCNNError(f"{folder}: {len(weights):,} bytes of weights, {most_bytes:,} are the limit")
    stored = model_files.load_stored(folder)
    measured = {
        "bytes": len(weights),
        "parameters": sum(value.size for value in stored.values.values()),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "sample_rate": stored.task.sample_rate,
        "window": stored.task.window,
    }
    config = json.loads((folder / model_files.CONFIG).read_text(encoding="utf-8"))
    config["card"] = {
        "about": facts["about"],
        "licence": facts["licence"],
        "score": {key: facts["scores"][0].get(key) for key in ("name", "value", "low", "high", "clips")},
    }
    (folder / model_files.CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    facts = facts | measured
    (folder / "card.md").write_text(card_text(facts), encoding="utf-8")
    return facts


def add_operating_point(folder: Path, point: dict[str, Any]) -> None:
    """Puts what `bench listen` chose into a packaged model's config.json, from where `samplecnn listen` starts."""
    config = json.loads((folder / model_files.CONFIG).read_text(encoding="utf-8"))
    config[operating_point.KEY] = point
    (folder / model_files.CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
