"""The parameters of a request, which are the options of `samplecnn tag`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from samplecnn.errors import UsageError
from samplecnn.system.arguments import suggestion
from samplecnn.tagging.events import EventRules, Smoothing, class_thresholds
from samplecnn.tagging.formats import COLLECTIONS, DOCUMENTS
from samplecnn.tagging.formats.taggram import Taggram
from samplecnn.tagging.writers import Selection

# Formats of answers. A taggram needs the sound a second time, which has not been kept.
FORMATS = (*COLLECTIONS, *(name for name, kind in DOCUMENTS.items() if not issubclass(kind, Taggram)))
FLAGS = {"true": True, "1": True, "": True, "false": False, "0": False}


@dataclass(frozen=True)
class TagQuery:
    """What a request asks for.

    Args:
        model: name of the model; None: the server's first one.
        format: of the answer; None: the JSON object of one recording.
        hop: seconds from one window to the next; None: the window.
        embedding: whether the answer has the recording's embedding, and with `over_time` those of its windows.
        accept_truncated: see `Tagger`.
        name: of the recording, where the upload has none.
        selection: which scores to show.
    """

    model: str | None
    format: str | None
    hop: float | None
    embedding: bool
    accept_truncated: bool
    name: str
    selection: Selection


def parse_query(given: Iterable[tuple[str, str]]) -> TagQuery:
    """Reads parameters.

    Args:
        given: names and values as texts.

    Raises:
        UsageError: an unknown parameter, one that is given twice, or a value out of range.

    Example:
        >>> parse_query([("top", "3"), ("threshold", "0.5")]).selection
        Selection(top=3, threshold=0.5, over_time=False, notes=False, events=None)
    """
    values: dict[str, Any] = {}
    for name, text in given:
        if name not in PARAMETERS:
            raise UsageError(f"there is no parameter {name!r}{suggestion(name, list(PARAMETERS))}")
        if name == "class_threshold":
            values.setdefault(name, []).append(text)
        elif name in values:
            raise UsageError(f"{name} is given twice")
        else:
            values[name] = PARAMETERS[name](name, text)
    threshold, format = values.get("threshold"), values.get("format")
    limits = class_thresholds(values["class_threshold"], threshold) if "class_threshold" in values else threshold
    rules = EventRules(
        limits,
        values.get("smooth", 1),
        cast(Smoothing, values.get("smoothing", "median")),
        *(values.get(name, default) for name, default in RULES.items()),
    )
    events = values.get("events", False) or rules != EventRules(threshold)
    keep = values.get("accept_truncated", False)
    selection = Selection(
        values.get("top"), threshold, values.get("over_time", False), keep, events=rules if events else None
    )
    if values.get("embedding") and format is not None:
        raise UsageError(f"format {format} has no embeddings; omit the format")
    return TagQuery(
        values.get("model"),
        format,
        values.get("hop"),
        values.get("embedding", False),
        keep,
        values.get("name", ""),
        selection,
    )


def _whole(least: int) -> Callable[[str, str], int]:
    def parse(name: str, text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= least):
            raise UsageError(f"{name} must be a whole number, {least} or more, not {text[:50]!r}")
        return int(text)

    return parse


def _number(most: float, above: bool = False) -> Callable[[str, str], float]:
    def parse(name: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= most or (above and value == 0):
            raise UsageError(f"{name} must be a number {'above' if above else 'from'} 0 to {most:g}, not {text[:50]!r}")
        return value

    return parse


def _flag(name: str, text: str) -> bool:
    if text.lower() not in FLAGS:
        raise UsageError(f"{name} must be true or false, not {text[:50]!r}")
    return FLAGS[text.lower()]


def _text(name: str, text: str) -> str:
    return text


def _choice(*known: str) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        if text not in known:
            raise UsageError(f"{name} must be one of {', '.join(known)}, not {text[:50]!r}")
        return text

    return parse


MOST_SECONDS = 86_400.0
# Event rules that are numbers, in the order of EventRules, with their defaults.
RULES = {"hysteresis": 1.0, "max_gap": 0.0, "min_seconds": 0.0, "refractory": 0.0}
PARAMETERS: dict[str, Callable[[str, str], Any]] = {
    "model": _text,
    "top": _whole(1),
    "threshold": _number(1),
    "over_time": _flag,
    "events": _flag,
    "embedding": _flag,
    "format": _choice(*FORMATS),
    "hop": _number(MOST_SECONDS, above=True),
    "name": _text,
    "accept_truncated": _flag,
    "class_threshold": _text,
    "smooth": _whole(1),
    "smoothing": _choice("median", "mean"),
    "hysteresis": _number(1, above=True),
    "max_gap": _number(MOST_SECONDS),
    "min_seconds": _number(MOST_SECONDS),
    "refractory": _number(MOST_SECONDS),
}
