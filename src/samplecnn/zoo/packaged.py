"""Finding packaged models by name: without PyTorch, without a network, and without loading their weights."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.extras import is_installed
from samplecnn.interop.hub.cache import CONFIG, WEIGHTS, model_folder, possible_id
from samplecnn.system.arguments import suggestion

CARD = "card.md"
FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class PackagedModel:
    """What the list of packaged models shows.

    Args:
        name: as commands and functions take it.
        about: one line that says what the model recognises.
        classes: in the order of its outputs.
        bytes: size of the file of weights.
        score: name of the measure, its value, its 95 % interval (low, high) and the test it is from; empty if the
            model has none.
        licence: of the model and of the recordings it was trained on.
    """

    name: str
    about: str
    classes: tuple[str, ...]
    bytes: int
    score: dict[str, Any]
    licence: str

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self) | {"classes": list(self.classes)}

    @property
    def score_text(self) -> str:
        """The score for a table: "accuracy 96.3 % (95.6 to 96.9)"; empty if there is none."""
        if not self.score:
            return ""
        interval = ""
        if self.score.get("low") is not None:
            interval = f" ({100 * self.score['low']:.1f} to {100 * self.score['high']:.1f})"
        return f"{self.score['name']} {100 * self.score['value']:.1f} %{interval}"


def packaged_names() -> tuple[str, ...]:
    """The names of the packaged models, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob(f"*/{WEIGHTS}")))


def packaged_folder(name: str | Path) -> Path | None:
    """The folder of a packaged model; None if there is none of this name."""
    return FOLDER / str(name) if str(name) in packaged_names() else None


def resolved(model: str | Path) -> Path:
    """The path that a model's name means: a path that exists, else a packaged model of this name, else a model of the
    hub of this id (`org/name` or `org/name@revision`), else the path.

    A folder that holds no model does not hide the packaged model of its name. Without huggingface_hub no name is an id.

    Raises:
        UsageError: the hub has no such model.
        SampleCNNError: the model is not in the cache, and the hub cannot be reached or delivers damaged files.

    Example:
        >>> resolved("nowhere").name
        'nowhere'
    """
    path = Path(model)
    try:
        exists = path.is_file() or (path / WEIGHTS).exists()
    except OSError:  # too long for a file's name
        exists = False
    folder = path if exists else packaged_folder(model)
    if folder is not None:
        return folder
    hub_id = possible_id(model) if is_installed("huggingface_hub") else None
    return path if hub_id is None else model_folder(hub_id)


def packaged_models() -> list[PackagedModel]:
    """All packaged models, by name."""
    return [packaged_model(name) for name in packaged_names()]


def packaged_model(name: str) -> PackagedModel:
    """A packaged model's description.

    Raises:
        UsageError: there is none of this name.
        SampleCNNError: its files are damaged.
    """
    folder = _existing(name)
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        about = values.get("card", {})
        return PackagedModel(
            name=name,
            about=str(about.get("about", "")),
            classes=tuple(values["task"]["classes"]),
            bytes=(folder / WEIGHTS).stat().st_size,
            score=dict(about.get("score", {})),
            licence=str(about.get("licence", "")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error


def packaged_card(name: str) -> str:
    """The card of a packaged model, Markdown.

    Raises:
        UsageError, SampleCNNError: as `packaged_model`.
    """
    folder = _existing(name)
    try:
        return (folder / CARD).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error


def no_such_model(path: str | Path, expected: str) -> UsageError:
    """The error for a model that is neither a path nor a packaged name nor the id of a hub model."""
    names = packaged_names()
    packaged = f", or a packaged model ({', '.join(names)})" if names else ""
    near = suggestion(str(path), names) if names else ""
    hint = near if near.endswith("?") else ""
    if possible_id(path) is not None and not is_installed("huggingface_hub"):
        hint = f", or a hub id after pip install 'samplecnn[hub]'{hint}"
    return UsageError(f"{path}: there is no such model; {expected}{packaged}{hint}")


def _existing(name: str) -> Path:
    folder = packaged_folder(name)
    if folder is None:
        names: Iterable[str] = packaged_names()
        known = f"the packaged models are {', '.join(names)}" if names else "this installation has none"
        raise UsageError(f"{name}: there is no such packaged model; {known}")
    return folder


def _damaged(folder: Path, error: Exception) -> SampleCNNError:
    return SampleCNNError(f"{folder}: this packaged model is damaged ({error!r}); install samplecnn again")
