"""What is known of every run of a comparison, a JSON file each, by which a finished run is recognised."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from samplecnn.parsing import (
    anything,
    choice,
    fields,
    file_name,
    find_object,
    number,
    or_null,
    score,
    table_of,
    text,
    whole,
)
from samplecnn.system.files import write_json
from samplecnn.training.options import TrainOptions
from samplecnn.training.record import NOT_RECORDED

NETWORK = "network"
FINISHED, FAILED, BEGUN = "finished", "failed", "begun"
# Options that do not decide what a run learns; its data are known by their fingerprint.
IGNORED = (*NOT_RECORDED, "dataset")


@dataclass
class RunRecord:
    """A run of a network or a baseline, on one fold and with one seed.

    Args:
        kind: NETWORK, or the name of a baseline.
        options: all that decide the result, fold and seed among them.
        data: fingerprint of the data set's build.
        status: BEGUN, FINISHED or FAILED.
        folder: of the run, in the comparison's folder; "" for a baseline.
        error: why it failed.
        scores: as in `evaluation.Scores`, without those of the classes.
        parameters: of the network, statistics of batch norms counted.
        macs: multiply-accumulates for one window.
        segments_per_second: in training, the median of its epochs.
        seconds: of training.
        machine: CPU or GPU that trained it.
    """

    kind: str
    options: dict[str, Any]
    data: str
    status: str = BEGUN
    folder: str = ""
    error: str = ""
    scores: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    macs: int | None = None
    segments_per_second: float | None = None
    seconds: float | None = None
    machine: str = ""

    @property
    def id(self) -> str:
        """A name that only this run has."""
        key = json.dumps([self.kind, self.data, sorted(self.options.items())])
        return hashlib.sha256(key.encode()).hexdigest()[:10]

    def is_same(self, other: "RunRecord") -> bool:
        """Whether both are one run. An option that one of them does not know, being of an earlier version, counts as
        its default there."""
        if (self.kind, self.data) != (other.kind, other.data):
            return False
        names = {*self.options, *other.options}
        return all(_option(self.options, name) == _option(other.options, name) for name in names)


class Records:
    """The records in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known = list(_read(folder))

    def find(self, wanted: RunRecord) -> RunRecord:
        """The record of the same run, or else `wanted`."""
        return next((record for record in self._known if record.is_same(wanted)), wanted)

    def save(self, record: RunRecord) -> None:
        if not any(known is record for known in self._known):
            self._known.append(record)
        write_json(self.folder / f"{record.id}.json", asdict(record))


def recorded_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that decide what a run learns."""
    return {name: value for name, value in options.items() if name not in IGNORED}


def _option(options: Mapping[str, Any], name: str) -> Any:
    known = TrainOptions.__dataclass_fields__.get(name)
    return options.get(name, known.default if known is not None else None)


def _read(folder: Path) -> Iterator[RunRecord]:
    """The records that can be read; a damaged one is as none: its run is resumed or repeated."""
    for path in sorted(folder.glob("*.json")):
        values = find_object(path, _RULE)
        if values is None:
            continue
        record = RunRecord(**{name: values[name] for name in _FIELDS if name in values})
        if record.id == path.stem:
            yield record


_COUNT, _MEASURE = or_null(whole(0, 1 << 62)), or_null(number(0))
_SCORES = ("roc_auc", "pr_auc", "accuracy", "exact_match", "macro_f1", "f1")
_FIELDS = {
    "kind": text(100),
    "options": table_of(anything()),
    "data": text(200),
    "status": choice(BEGUN, FINISHED, FAILED),
    "folder": file_name(),
    "error": file_name(),
    "scores": fields(dict.fromkeys(_SCORES, score()), optional=_SCORES),
    "parameters": _COUNT,
    "macs": _COUNT,
    "segments_per_second": _MEASURE,
    "seconds": _MEASURE,
    "machine": text(200),
}
_RULE = fields(_FIELDS, optional=set(_FIELDS) - {"kind", "options", "data"})
