"""What an index knows of files, in every output format: scores, windows, events, embeddings."""

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.index.reader import Index
from samplecnn.tagging.done import Done
from samplecnn.tagging.targets import named_formats, prepare_targets, write_about
from samplecnn.tagging.writers import Selection

OF_RECORDINGS = {"table", "json", "jsonl", "csv", "csv-long", "parquet"}  # need no windows unless they are asked for
OWN_FILES = ("settings.json", "files*.parquet", "windows*.parquet", "write*.jsonl")  # of an index; never an output


def with_tags(index: Index, rows: np.ndarray, tags: Sequence[str]) -> np.ndarray:
    """Those of some rows whose scores lie above limits.

    Args:
        index: of the files.
        rows: int64 [files].
        tags: "CLASS=SCORE", or "CLASS" for the model's threshold; all must hold.

    Raises:
        UsageError: an unknown class, or a score that is none.
    """
    limits = dict(zip(index.classes, index.task.class_thresholds, strict=True))
    for text in tags:
        name, _, value = (text, "", "") if text in limits else text.rpartition("=")
        if name not in limits:
            raise UsageError(
                f"{text!r}: no class of this index; use CLASS or CLASS=SCORE, as in {index.classes[0]}=0.5"
            )
        try:
            limit = float(value) if value else limits[name]
        except ValueError:
            limit = math.nan
        if not 0 <= limit <= 1:
            raise UsageError(f"{text!r}: {value!r} is not a score from 0 to 1")
        with np.errstate(invalid="ignore"):
            rows = rows[index.scores[rows, index.classes.index(name)] > limit]
    return rows


def write_tags(
    index: Index,
    rows: Iterable[int],
    format: str | Sequence[str] = "table",
    output: str | Path | None = None,
    *,
    selection: Selection | None = None,
    output_dir: str | Path | None = None,
    overwrite: bool = False,
    about: str | Path | bool | None = None,
    embeddings: str | Path | None = None,
    inputs: Sequence[str | Path] = (),
) -> int:
    """Writes the tags of files as `tagging.tag_files.tag_paths` does, but from an index.

    Args:
        index: of the files.
        rows: of the files, as `Index.select` gives them.
        format, output, selection, output_dir, overwrite, about, embeddings, inputs: as `tag_paths` takes
            them.

    Returns:
        How many files were written.

    Raises:
        UsageError: an unknown format, or files that would be overwritten.
    """
    chosen, formats = [int(row) for row in rows], named_formats(format)
    selection = selection or Selection()
    files = [index.paths[row] for row in chosen]
    settings = index.settings
    own = chain.from_iterable(index.folder.glob(each) for each in OWN_FILES)
    facts = {**settings.about(), "index": str(index.folder)}
    if embeddings is not None:
        facts |= {"embedding": settings.embedding, "embedding_size": settings.embedding_size}
    windows = (
        selection.over_time or selection.events is not None or embeddings is not None or not {*formats} <= OF_RECORDINGS
    )
    with prepare_targets(
        formats,
        files,
        output,
        output_dir,
        selection,
        overwrite,
        embeddings,
        resumable=False,
        about=about,
        inputs=[*inputs, *own],
    ) as targets:
        with targets.open(Done(), None, selection, index.classes, facts, files) as sinks:
            for path, outcome in index.outcomes(chosen, windows, embeddings is not None):
                for sink in sinks:
                    sink.write(path, outcome)
        write_about(about, {**facts, "classes": list(index.classes)}, targets, formats, output)
    return len(chosen)
