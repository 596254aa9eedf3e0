"""Where a model listens: the threshold and the rules with which misses and false alarms were measured.

`samplecnn bench listen --store` writes it into the model's config.json; `samplecnn listen` starts from it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from samplecnn.errors import SampleCNNError
from samplecnn.listening.detector import DetectorRules
from samplecnn.model_files import description_of, update_description
from samplecnn.parsing import fields, number, or_null, whole

KEY = "listening"  # in config.json
RULES = ("smooth", "background_odds", "refractory", "settle")  # fields of `DetectorRules` that are stored
DESCRIPTION = fields(
    {
        "threshold": number(0, 1),
        "hop": number(0, 1e6, above=True),
        "smooth": whole(1, 10_000),
        "background_odds": number(0, 1e12, above=True),
        "refractory": number(0, 1e6),
        "settle": number(0, 1e6),
        **dict.fromkeys(("false_alarms", "misses", "hours"), or_null(number(0, 1e12))),
        "utterances": or_null(whole(0, 1 << 40)),
    },
    optional=("smooth", "background_odds", "refractory", "settle", "false_alarms", "misses", "hours", "utterances"),
)


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold for all classes, the rules that it was measured with, and what was measured.

    Args:
        threshold: above which a class is heard.
        hop: seconds from one window to the next.
        smooth, background_odds, refractory, settle: as in `DetectorRules`.
        false_alarms: an hour, on sound without any of the classes.
        misses: share of utterances that were not heard as what they are.
        hours: of that sound.
        utterances: how many there were.
    """

    threshold: float
    hop: float
    smooth: int = 3
    background_odds: float = 1.0
    refractory: float = 0.5
    settle: float = 0.2
    false_alarms: float | None = None
    misses: float | None = None
    hours: float | None = None
    utterances: int | None = None

    @property
    def rules(self) -> DetectorRules:
        return DetectorRules(**{name: getattr(self, name) for name in RULES})

    def store(self, model: str | Path) -> None:
        """Writes it into a model's config.json, in place of an earlier one.

        Raises:
            UsageError: a packaged model, or one without config.json.
        """
        update_description(model, {KEY: asdict(self)})


def operating_point_of(model: str | Path) -> OperatingPoint | None:
    """The operating point of a model; None where none was measured.

    Raises:
        SampleCNNError: a value in config.json that cannot be, named.
    """
    values: dict[str, Any] | None = description_of(model).get(KEY)
    if values is None:
        return None
    problem = DESCRIPTION(values, KEY)
    if problem:
        raise SampleCNNError(
            f"{model}: {problem} in config.json; measure it again with `samplecnn bench listen --store`"
        )
    return OperatingPoint(**{name: values[name] for name in OperatingPoint.__dataclass_fields__ if name in values})
