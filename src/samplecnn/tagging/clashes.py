"""Outputs of a run that would replace one another, or a file that the run reads: refused before anything is written."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from samplecnn.errors import UsageError
from samplecnn.recordings import SUFFIXES
from samplecnn.shards.tfrecord.clips import is_record
from samplecnn.system.files import STDOUT, refuse_inputs, target_of
from samplecnn.tagging.formats.documents import Mirrored


def refuse_clashes(
    outputs: Iterable[tuple[str, str | Path]],
    documents: Sequence[tuple[str, Mirrored]],
    inputs: Iterable[str | Path],
) -> None:
    """Compares all outputs of a run with one another and with its inputs.

    Args:
        outputs: single files, each with its name in messages; standard output is left out.
        documents: the files per recording of each format, with its name in messages.
        inputs: files that the run reads.

    Raises:
        UsageError: a file that would be written twice, an input or a recording that would be overwritten, or a folder.
    """
    names: dict[str, str] = {}
    existing: dict[tuple[int, int], str | Path] = {}
    for what, path in outputs:
        if str(path) == STDOUT:
            continue
        target = target_of(path)
        place = os.path.realpath(target)
        other = names.setdefault(place, what)
        if other != what:
            raise UsageError(f"{path}: {other} and {what} would both be written there; choose another file for one")
        refuse_inputs(path, (), SUFFIXES)
        if target.is_file():
            status = target.stat()
            existing[status.st_dev, status.st_ino] = path
    for what, files in documents:
        for place, other in names.items():
            if files.holds(place):
                raise UsageError(
                    f"{place}: {other} and {what} would both be written there; choose another file for one"
                )
    endings = tuple(files.suffix for _, files in documents)
    for given in inputs:
        text = os.fspath(given)
        if is_record(text):
            text = text.rpartition("#")[0]
        if existing:
            with suppress(OSError, ValueError):
                status = os.stat(text)  # noqa: PTH116 - a Path for each of 100,000 files is slow
                clash = existing.get((status.st_dev, status.st_ino))
                if clash is not None:
                    raise UsageError(f"{clash}: is one of the inputs ({given}); use another file for the output")
        if endings and text.endswith(endings):
            place = os.path.realpath(text)
            for what, files in documents:
                if files.holds(place):
                    raise UsageError(f"{given}: is an input, and {what} would be written there; use another folder")
