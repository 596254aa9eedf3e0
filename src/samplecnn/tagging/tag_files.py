"""Tagging many files into one result: found, tagged, written, counted."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn.errors import AudioError, UsageError
from samplecnn.shards.tfrecord.clips import is_record
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.system.progress import Progress
from samplecnn.tagging.find import find_files
from samplecnn.tagging.output import Done, Settings, destination, part_of, read_done, settings_of
from samplecnn.tagging.tagger import Tagger, network
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.writers import FORMATS, Selection, reason
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

LOOKED_INTO = 3  # files whose length tells that of all
NAMED = 10  # files that a message names at most


@dataclass
class TagReport:
    """What became of the files: how many there were, which failed and why, and which are silent."""

    files: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    def add(self, path: str, outcome: Tags | AudioError) -> None:
        self.files += 1
        if isinstance(outcome, AudioError):
            self.failed.append((path, reason(path, outcome)))
        elif outcome.silent:
            self.silent.append(path)

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
    resume: bool = False,
    engine: str = "auto",
    precision: str = "auto",
    hop: float | None = None,
) -> TagReport:
    """Tags files and folders and writes the result to a file or to stdout.

    Args:
        model: a SampleCNN or whatever `samplecnn.load` takes.
        paths: files, and folders to search through.
        format: a name in `writers.FORMATS`.
        output: file to write, whole or not at all; None writes to stdout as the tags come. If the work breaks off,
            JSON lines and CSV stay in OUTPUT.part.
        selection: which scores to show.
        batch_size: segments a step.
        device: None uses a GPU where there is one.
        resume: goes on with OUTPUT.part, on the engine that began it; files that are in it are not tagged again.
        engine, precision, hop: see `Tagger`.

    Raises:
        UsageError: no such model or engine, no recording at `paths`, an unknown format, nothing that could be resumed,
            or something begun with other settings.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    if output is not None and Path(output).is_dir():
        raise UsageError(f"{output} is a folder; name a file for the tags")
    if resume and output is None:
        raise UsageError("--resume goes on with a file; name it with --output")
    kind, selection = FORMATS[format], selection or Selection()
    files = find_files(paths)
    if hop is not None and any(map(is_record, files)):
        raise UsageError("a TFRecord holds windows that are cut already; leave --hop out")
    keep_freed_memory()
    net = network(model)
    done = read_done(output, kind, selection, net.task.classes) if resume and output is not None else Done()
    begun = settings_of(output) if done.size and output is not None else None
    if begun is not None:
        engine, precision = begun.taken_up(engine, precision, hop)
    left = [file for file in files if file not in done.errors]
    segments = expected_segments(files, net.task, hop)
    tagger = Tagger(net, batch_size, device, engine=engine, precision=precision, hop=hop, segments=segments)
    settings = Settings(tagger.engine.name, tagger.engine.precision, hop)
    print(_said(tagger), file=sys.stderr, flush=True)
    report = TagReport(len(done.errors), [(path, why) for path, why in done.errors.items() if why])
    about = {"model": str(model) if isinstance(model, str | Path) else "", "task": tagger.task.name, **settings.about()}
    try:
        with (
            destination(output, kind, done, settings) as file,
            _progress(len(left) + len(done.errors), len(done.errors), output) as bar,
        ):
            writer = kind(file, selection, tagger.classes, about, files, begun=done.size > 0)
            heard = 0.0
            for path, outcome in tagger.tag_files(left):
                writer.write(str(path), outcome)
                report.add(str(path), outcome)
                heard += outcome.seconds if isinstance(outcome, Tags) else 0
                if bar:
                    failed = f", {len(report.failed):,} failed" if report.failed else ""
                    bar.advance(note=f"{heard / max(bar.elapsed, 1e-9):,.0f}x real time{failed}")
            writer.end()
    except BaseException:
        if output is not None and kind.streams and report.files:
            print(
                f"{report.files:,} files are done and kept in {part_of(output)}; go on with --resume", file=sys.stderr
            )
        raise
    return report


def expected_segments(files: Sequence[str], task: Task, hop: float | None) -> int:
    """About how many windows there will be: as many in every file as in the few that are looked into."""
    import soundfile

    seconds = []
    for file in files[:: max(len(files) // LOOKED_INTO, 1)][:LOOKED_INTO]:
        with suppress(OSError, RuntimeError, ValueError, TypeError):  # what is wrong is told where it is read
            seconds.append(task.clip_seconds or 0.0 if is_record(file) else float(soundfile.info(file).duration))
    every = hop or task.window / task.sample_rate
    return round(len(files) * max(1.0, sum(seconds) / max(len(seconds), 1) / every))


def _said(tagger: Tagger) -> str:
    """What the tags come from, in a line."""
    line = f"engine {tagger.engine.name}, {tagger.engine.precision}"
    if tagger.hop != tagger.task.window:
        line += f"; windows {tagger.hop / tagger.task.sample_rate:.6g} s apart"
        blocks = tagger.sharing.depth if tagger.sharing else 0
        line += f", which share {_count(blocks, 'block')}" if blocks else ", each on its own"
    return line


def _progress(total: int, done: int, output: str | Path | None) -> Any:
    """A bar on stderr, unless the tags themselves appear on the terminal."""
    shown = output is not None or not sys.stdout.isatty()
    return Progress(total=total, description="tag", unit="files", done=done) if shown else nullcontext()


def _count(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _listed(items: list[str], between: str) -> str:
    more = [f"and {len(items) - NAMED:,} more"] if len(items) > NAMED else []
    return between.join([*items[:NAMED], *more])
