"""Tags in pipelines of Ray Data: a callable class for `map_batches`. Does not import Ray."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.errors import AudioError, UsageError
from samplecnn.sound_file import name_of
from samplecnn.tagging.sources import as_file
from samplecnn.tagging.tagger import Tagger

if TYPE_CHECKING:
    from samplecnn.models.graph import Graph

NAMELESS = name_of(None)  # of a recording that is not a file, in messages


class TagBatch:
    """Tags the recordings of a batch, for `ray.data.Dataset.map_batches` with actors.

    Args:
        model: an argument of `samplecnn.load`, which every machine can read; or a network, which is sent to them.
        column: of the batch: paths or the content of files. None: "bytes" if there is such a column, else "path".
        settings: as `Tagger` takes them: engine, precision, hop, batch_size, embedding.

    A batch is a dictionary of columns, as `map_batches` passes it. The result has all of them but "bytes", and:
    "scores", float32 [rows, classes]; "label", the most probable class; "error", "" for a recording that could be used
    (of any other, scores are NaN and the label is ""); and with an embedding, "embedding", float32 [rows, size].

    Example:
        >>> tag = TagBatch("log/20261122_101500-sounds-se_multi", engine="numpy")
        >>> tag({"path": np.array(["hum.wav", "missing.wav"])})["label"].tolist()
        ['hum', '']
    """

    def __init__(self, model: "str | Path | Graph", column: str | None = None, **settings: Any) -> None:
        self.column = column
        self.tagger = Tagger(model, readers=1, **settings)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        column = self.column or ("bytes" if "bytes" in batch else "path")
        if column not in batch:
            raise UsageError(f"the batch has no column {column!r}; it has {', '.join(batch)}")
        names = [str(name) for name in batch.get("path", np.arange(len(batch[column])))]
        sources = [as_file(source if isinstance(source, bytes) else str(source), None) for source in batch[column]]
        outcomes = [outcome for _, outcome in self.tagger.tag_files(sources)]  # type: ignore[arg-type]
        classes = len(self.tagger.classes)
        scores = np.full((len(outcomes), classes), np.nan, np.float32)
        labels, errors, embeddings = [], [], []
        for row, (name, outcome) in enumerate(zip(names, outcomes, strict=True)):
            if isinstance(outcome, AudioError):
                labels.append("")
                errors.append(str(outcome).replace(NAMELESS, name, 1))
                continue
            scores[row] = outcome.scores
            labels.append(outcome.top(1)[0][0])
            errors.append("")
            if outcome.embeddings is not None:
                embeddings.append((row, outcome.embedding))
        found = {name: values for name, values in batch.items() if name != "bytes"}
        found |= {"scores": scores, "label": np.array(labels), "error": np.array(errors)}
        if embeddings:
            found["embedding"] = np.full((len(outcomes), len(embeddings[0][1])), np.nan, np.float32)
            for row, values in embeddings:
                found["embedding"][row] = values
        return found
