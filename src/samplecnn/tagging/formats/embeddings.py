"""Embeddings of recordings, or of their windows, as Parquet or NumPy .npz."""

import io
import json
from typing import Any

import numpy as np

from samplecnn.errors import AudioError, UsageError
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.writers import Outcome, Writer, reason, spans

GROUP_ROWS = 4096  # approximate number of rows of a row group


class EmbeddingsParquet(Writer):
    """Columns path, start, end, error, embedding (a fixed-size list of float32): one row per recording, or with
    `over_time` per window. For a recording with an error only path and error are set. The metadata key "samplecnn"
    holds the provenance as JSON.
    """

    binary = True
    describes_itself = True

    def begin(self, resuming: bool) -> None:
        self.parquet: Any = None
        self.rows: list[tuple[str, float | None, float | None, str | None, np.ndarray | None]] = []

    def write(self, path: str, outcome: Outcome) -> None:
        name = path.encode("utf-8", "backslashreplace").decode()
        if isinstance(outcome, AudioError):
            why = reason(path, outcome).encode("utf-8", "backslashreplace").decode()
            self.rows.append((name, None, None, why, None))
        else:
            self.rows += [(name, start, end, None, vector) for start, end, vector in vectors(outcome, self)]
        if len(self.rows) >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow
        from pyarrow import parquet

        size = int(self.about["embedding_size"])
        path, start, end, error = ([row[index] for row in self.rows] for index in range(4))
        embeddings = [row[4] for row in self.rows]
        kind = pyarrow.list_(pyarrow.float32(), size)
        columns = {
            "path": pyarrow.array(path, pyarrow.string()),
            "start": pyarrow.array(start, pyarrow.float64()),
            "end": pyarrow.array(end, pyarrow.float64()),
            "error": pyarrow.array(error, pyarrow.string()),
            "embedding": _lists(embeddings, size, kind),
        }
        table = pyarrow.table(columns).replace_schema_metadata({"samplecnn": json.dumps(self.about)})
        if self.parquet is None:
            self.parquet = parquet.ParquetWriter(self.file, table.schema, compression="zstd")
        self.parquet.write_table(table)
        self.rows = []

    def end(self) -> None:
        if self.rows or self.parquet is None:
            self._flush()
        self.parquet.close()

    def abandon(self) -> None:
        if self.parquet is not None:
            self.parquet.is_open = False  # else its destructor would write to a closed file


class EmbeddingsNpz(Writer):
    """Arrays `paths` [n], `starts` and `ends` [n] in seconds, `embeddings` float32 [n, size], and `about`, the
    provenance as JSON. Recordings with errors are skipped. All is kept in memory until the end; use Parquet for large
    collections.
    """

    binary = True
    describes_itself = True

    def begin(self, resuming: bool) -> None:
        self.paths: list[str] = []
        self.times: list[tuple[float, float]] = []
        self.vectors: list[np.ndarray] = []

    def write(self, path: str, outcome: Outcome) -> None:
        if isinstance(outcome, AudioError):
            return
        for start, end, vector in vectors(outcome, self):
            self.paths.append(path.encode("utf-8", "backslashreplace").decode())
            self.times.append((start, end))
            self.vectors.append(vector)

    def end(self) -> None:
        memory = io.BytesIO()
        times = np.array(self.times, np.float64).reshape(-1, 2)
        size = int(self.about["embedding_size"])
        np.savez(
            memory,
            paths=np.array(self.paths, np.str_),
            starts=times[:, 0],
            ends=times[:, 1],
            embeddings=np.array(self.vectors, np.float32).reshape(-1, size),
            about=np.array(json.dumps(self.about)),
        )
        self.file.write(memory.getbuffer())  # type: ignore[arg-type]


EMBEDDINGS: dict[str, type[Writer]] = {".parquet": EmbeddingsParquet, ".npz": EmbeddingsNpz}


def embeddings_writer(path: str) -> type[Writer]:
    """The writer for a file, chosen by its suffix.

    Raises:
        UsageError: an unknown suffix.
    """
    for suffix, kind in EMBEDDINGS.items():
        if path.lower().endswith(suffix):
            return kind
    raise UsageError(f"{path}: the name of an embeddings file must end in {' or '.join(EMBEDDINGS)}")


def vectors(tags: Tags, writer: Writer) -> list[tuple[float, float, np.ndarray]]:
    """(start, end, embedding) of the recording, or with `over_time` of every window."""
    if writer.selection.over_time:
        return list(zip(*spans(tags), tags.embedding_over_time, strict=True))
    return [(0.0, tags.seconds, tags.embedding)]


def _lists(embeddings: list[np.ndarray | None], size: int, kind: Any) -> Any:
    """An array of fixed-size lists; None becomes null."""
    import pyarrow

    zeros = np.zeros(size, np.float32)
    flat = np.stack([zeros if each is None else each for each in embeddings]).reshape(-1) if embeddings else zeros[:0]
    missing = pyarrow.array([each is None for each in embeddings], pyarrow.bool_())
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat, pyarrow.float32()), type=kind, mask=missing)
