"""Tagging many files into one result: found, tagged, written, counted."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from samplecnn.errors import AudioError, UsageError
from samplecnn.files import written_aside
from samplecnn.progress import Progress
from samplecnn.tagging.find import find_files
from samplecnn.tagging.tagger import Tagger
from samplecnn.tagging.writers import FORMATS, Selection, reason

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

NAMED = 10  # files that a message names at most


@dataclass
class TagReport:
    """What became of the files: how many there were, which failed and why, and which are silent."""

    files: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What a user should hear, a line each."""
        lines = []
        if self.silent:
            names = _listed(self.silent, ", ")
            lines.append(
                f"warning: {_count(len(self.silent), 'file')} of nothing but silence, whose tags mean nothing: {names}"
            )
        if self.failed:
            named = _listed([f"{path}: {why}" for path, why in self.failed], "\n  ")
            lines.append(f"{len(self.failed):,} of {_count(self.files, 'file')} could not be tagged:\n  {named}")
        return lines


def tag_paths(
    model: "SampleCNN | str | Path",
    paths: Sequence[str | Path],
    format: str = "table",
    output: str | Path | None = None,
    selection: Selection | None = None,
    batch_size: int = 32,
    device: str | None = None,
) -> TagReport:
    """Tags files and folders and writes the result to a file or to stdout.

    Args:
        model: a SampleCNN or whatever `samplecnn.load` takes.
        paths: files, and folders to search through.
        format: a name in `writers.FORMATS`.
        output: file to write, whole or not at all; None writes to stdout as the tags come.
        selection: which scores to show.
        batch_size: segments a step.
        device: None uses a GPU where there is one.

    Raises:
        UsageError: no such model, no recording at `paths`, or an unknown format.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    if output is not None and Path(output).is_dir():
        raise UsageError(f"{output} is a folder; name a file for the tags")
    files = find_files(paths)
    tagger = Tagger(model, batch_size, device)
    about = {"model": str(model) if isinstance(model, str | Path) else "", "task": tagger.task.name}
    report = TagReport()
    with _destination(output) as file, _progress(len(files), output) as progress:
        writer = FORMATS[format](file, selection or Selection(), tagger.classes, about, files)
        for path, outcome in tagger.tag_files(files):
            name = str(path)
            writer.write(name, outcome)
            report.files += 1
            if isinstance(outcome, AudioError):
                report.failed.append((name, reason(name, outcome)))
            elif outcome.silent:
                report.silent.append(name)
            if progress:
                progress.advance(note=f"{len(report.failed):,} failed" if report.failed else None)
        writer.end()
    return report


@contextmanager
def _destination(output: str | Path | None) -> Iterator[IO[str]]:
    """stdout, or a file that appears when it is whole. File names that are not UTF-8 are written byte by byte."""
    if output is None:
        reconfigure: Any = getattr(sys.stdout, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="surrogateescape")
        yield sys.stdout
        sys.stdout.flush()
        return
    with (
        written_aside(output) as aside,
        aside.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file


def _progress(total: int, output: str | Path | None) -> Any:
    """A bar on stderr, unless the tags themselves appear on the terminal."""
    shown = output is not None or not sys.stdout.isatty()
    return Progress(total=total, description="tag", unit="files") if shown else nullcontext()


def _count(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _listed(items: list[str], between: str) -> str:
    more = [f"and {len(items) - NAMED:,} more"] if len(items) > NAMED else []
    return between.join([*items[:NAMED], *more])
