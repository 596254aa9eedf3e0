"""The answer to a tagged recording: a JSON object, or the file that `samplecnn tag --format` would write."""

import io
import re
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.serving.hosted import HostedModel
from samplecnn.serving.query import TagQuery
from samplecnn.system.log import json_text
from samplecnn.tagging.formats import COLLECTIONS, DOCUMENTS
from samplecnn.tagging.formats.collections import LongCsvWriter
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.targets import SUFFIX
from samplecnn.tagging.writers import CsvWriter, JsonLinesWriter

MAX_VECTORS = 1_000  # embeddings of windows in an answer, which are long as text
EMBEDDING_DIGITS = 7  # significant decimals of a float32
MEDIA_TYPES = {
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "csv-long": "text/csv; charset=utf-8",
    "kaleidoscope": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "vtt": "text/vtt; charset=utf-8",
    "jams": "application/json",
}


class Answer(NamedTuple):
    """Bytes, their media type, and the name to save them under; "" for what is not meant to be saved."""

    content: bytes
    media_type: str
    file_name: str = ""

    @property
    def headers(self) -> dict[str, str]:
        if not self.file_name:
            return {}
        plain = re.sub(r"[^\w. -]", "_", self.file_name, flags=re.ASCII)  # for clients that know only this form
        encoded = quote(self.file_name, safe="")
        return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"}


def answer_of(model: HostedModel, query: TagQuery, name: str, tags: Tags, hop: int) -> Answer:
    """The answer to a recording.

    Args:
        model: that has tagged it.
        query: what was asked for.
        name: of the recording.
        tags: its tags.
        hop: samples from one window to the next.
    """
    if query.format is None:
        return Answer(_encoded(json_text(_object(model, query, name, tags))), "application/json")
    media_type = MEDIA_TYPES.get(query.format, "text/plain; charset=utf-8")
    stem = name.rpartition(".")[0] or name
    if query.format in DOCUMENTS:
        document = DOCUMENTS[query.format](query.selection, model.about(hop))
        return Answer(document.content(name, tags), media_type, stem + document.suffix)
    kind = COLLECTIONS[query.format]
    if kind is CsvWriter and query.selection.events is not None:
        kind = LongCsvWriter
    file: Any = io.BytesIO() if kind.binary else io.StringIO(newline="")
    writer = kind(file, query.selection, tags.classes, model.about(hop), [name])
    writer.write(name, tags)
    writer.end()
    content = file.getvalue() if kind.binary else _encoded(file.getvalue())
    return Answer(content, media_type, stem + SUFFIX.get(query.format, f".{query.format}"))


def _object(model: HostedModel, query: TagQuery, name: str, tags: Tags) -> dict[str, Any]:
    """The object of a recording in `samplecnn tag --format json`, the model's name, and embeddings."""
    record = JsonLinesWriter(io.StringIO(), query.selection, tags.classes).record(name, tags)
    record = {"model": model.name, **record}
    if query.embedding:
        record["embedding"] = _numbers(tags.embedding)
        if query.selection.over_time:
            if len(tags.over_time) > MAX_VECTORS:
                raise UsageError(
                    f"{len(tags.over_time):,} embeddings, more than the {MAX_VECTORS:,} of an answer; use a longer hop"
                )
            for window, vector in zip(record["over_time"], tags.embedding_over_time, strict=True):
                window["embedding"] = _numbers(vector)
    return record


def _numbers(vector: np.ndarray) -> list[float]:
    return [float(f"{value:.{EMBEDDING_DIGITS}g}") for value in vector]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
