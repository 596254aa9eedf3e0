"""The parameters of requests: those of `samplecnn tag` and `samplecnn listen`, with the schemas that describe them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from samplecnn.errors import UsageError
from samplecnn.listening.sources import PCM_FORMATS
from samplecnn.system.arguments import suggestion
from samplecnn.tagging.events import EventRules, Smoothing, class_thresholds
from samplecnn.tagging.formats import COLLECTIONS, DOCUMENTS
from samplecnn.tagging.formats.taggram import Taggram
from samplecnn.tagging.writers import Selection

# Formats of answers. A taggram needs the sound a second time, which has not been kept.
FORMATS = (*COLLECTIONS, *(name for name, kind in DOCUMENTS.items() if not issubclass(kind, Taggram)))
FLAGS = {"true": True, "1": True, "": True, "false": False, "0": False}
MOST_SECONDS, MOST_WHOLE = 86_400.0, 999_999_999
RULES = ("smooth", "smoothing", "hysteresis", "max_gap", "min_seconds", "refractory")  # of events


@dataclass(frozen=True)
class Parameter:
    """A parameter of a query.

    Args:
        about: one sentence.
        schema: of its values, as in OpenAPI.
        parse: gives the value of a text, or raises ValueError.
        expected: what the text has to be, for messages.
        several: it may be given more than once.
    """

    about: str
    schema: Mapping[str, Any]
    parse: Callable[[str], Any] = str
    expected: str = ""
    several: bool = False


@dataclass(frozen=True)
class TagQuery:
    """What a request asks for.

    Args:
        selection: which scores to show.
        model: name of the model; None: the server's first one.
        format: of the answer; None: the JSON object of one recording.
        hop: seconds from one window to the next; None: the window.
        embedding: whether the answer has the recording's embedding, and with `over_time` those of its windows.
        accept_truncated: see `Tagger`.
        name: of the recording, where the upload has none.
    """

    selection: Selection
    model: str | None = None
    format: str | None = None
    hop: float | None = None
    embedding: bool = False
    accept_truncated: bool = False
    name: str = ""


def parse_query(given: Iterable[tuple[str, str]]) -> TagQuery:
    """Reads the parameters of `/v1/tag`.

    Args:
        given: names and values as texts.

    Raises:
        UsageError: an unknown parameter, one that is given twice, or a value out of range.

    Example:
        >>> parse_query([("top", "3"), ("threshold", "0.5")]).selection
        Selection(top=3, threshold=0.5, over_time=False, notes=False, events=None)
    """
    values = read_parameters(TAG_PARAMETERS, given)
    threshold, texts = values.pop("threshold", None), values.pop("class_threshold", None)
    limits = class_thresholds(texts, threshold) if texts else threshold
    rules = EventRules(limits, **{name: values.pop(name) for name in RULES if name in values})
    events = values.pop("events", False) or rules != EventRules(threshold)
    selection = Selection(
        values.pop("top", None),
        threshold,
        values.pop("over_time", False),
        values.get("accept_truncated", False),
        rules if events else None,
    )
    if values.get("embedding") and values.get("format") is not None:
        raise UsageError(f"format {values['format']} has no embeddings; omit the format")
    return TagQuery(selection, **values)


def read_parameters(known: Mapping[str, Parameter], given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The values of parameters by name; those with `Parameter.several` as lists.

    Raises:
        UsageError: as `parse_query`.
    """
    values: dict[str, Any] = {}
    for name, text in given:
        if name not in known:
            raise UsageError(f"there is no parameter {name[:50]!r}{suggestion(name, list(known))}")
        parameter = known[name]
        if name in values and not parameter.several:
            raise UsageError(f"{name} is given twice")
        try:
            value = parameter.parse(text)
        except ValueError:
            raise UsageError(f"{name} must be {parameter.expected}, not {text[:50]!r}") from None
        if parameter.several:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    return values


def _whole(about: str, least: int = 1, most: int = MOST_WHOLE) -> Parameter:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 12 and least <= int(text) <= most):
            raise ValueError
        return int(text)

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Parameter(about, schema, parse, f"a whole number from {least} to {most}")


def _number(about: str, most: float, above: bool = False) -> Parameter:
    def parse(text: str) -> float:
        value = float(text)
        if not 0 <= value <= most or (above and value == 0):
            raise ValueError
        return value

    bound = {"exclusiveMinimum": 0} if above else {"minimum": 0}
    expected = f"a number {'above' if above else 'from'} 0 to {most:g}"
    return Parameter(about, {"type": "number", **bound, "maximum": most}, parse, expected)


def _flag(about: str) -> Parameter:
    def parse(text: str) -> bool:
        try:
            return FLAGS[text.lower()]
        except KeyError:
            raise ValueError from None

    return Parameter(about, {"type": "boolean"}, parse, "true or false")


def _choice(about: str, names: Iterable[str]) -> Parameter:
    known = tuple(names)

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError
        return text

    return Parameter(about, {"type": "string", "enum": list(known)}, parse, f"one of {', '.join(known)}")


_TEXT = {"type": "string"}
_COMMON = {
    "model": Parameter("Name of the model; by default the first one.", _TEXT),
    "hop": _number("Seconds from one window to the next.", MOST_SECONDS, above=True),
    "threshold": _number("Score above which a class counts; by default that of the model.", 1),
    "class_threshold": Parameter(
        "CLASS=VALUE, the threshold of one class.", {**_TEXT, "pattern": "=[0-9.]+$"}, several=True
    ),
    "refractory": _number("Seconds after an event in which its class gives no other.", MOST_SECONDS),
}
TAG_PARAMETERS: dict[str, Parameter] = {
    **_COMMON,
    "top": _whole("Only the best classes, at most this many."),
    "over_time": _flag("The scores of every window, too."),
    "events": _flag("The events, too: intervals with a class above its threshold."),
    "embedding": _flag("The embedding of the recording, too; with over_time those of the windows."),
    "format": _choice("A file of this format in place of the JSON object.", FORMATS),
    "name": Parameter("Name of the recording in the answer.", _TEXT),
    "accept_truncated": _flag("Tag what can be decoded of a damaged recording."),
    "smooth": _whole("Events: windows to smooth scores over, an odd number."),
    "smoothing": _choice("Events: the smoothing filter.", get_args(Smoothing)),
    "hysteresis": _number("Events: they extend while scores are above this share of the threshold.", 1, above=True),
    "max_gap": _number("Events: those of a class with shorter gaps are joined.", MOST_SECONDS),
    "min_seconds": _number("Events: shorter ones are dropped.", MOST_SECONDS),
}
LISTEN_PARAMETERS: dict[str, Parameter] = {
    **_COMMON,
    "rate": _whole("Sample rate in Hz; by default that of the model.", 1000, 384_000),
    "channels": _whole("Channels, interleaved.", 1, 64),
    "format": _choice("Of the samples.", PCM_FORMATS),
    "smooth": _whole("Windows whose mean score counts.", 1, 1000),
    "background_odds": _number("Factor on the odds of _background_.", 1e12, above=True),
    "settle": _number("Seconds that an event may wait for a higher score.", MOST_SECONDS),
    "near": _flag("Also what came close to its threshold."),
    "ends": _flag("Also the ends of events."),
    "scores": _flag("Also the scores of every window, and its level."),
}
