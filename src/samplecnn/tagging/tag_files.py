"""Tagging many files into one result: found, tagged, written, counted."""

import json
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn.audio import stream
from samplecnn.errors import AudioError, UsageError
from samplecnn.models.embedding import HIDDEN, embedding_size, with_embedding
from samplecnn.recordings import is_special
from samplecnn.shards.tfrecord.clips import is_record
from samplecnn.sound_file import STDIN
from samplecnn.system import log
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.system.files import STDOUT, write_json
from samplecnn.system.native_messages import attributed, caught
from samplecnn.system.progress import Progress
from samplecnn.tagging.done import Done
from samplecnn.tagging.find import find_files
from samplecnn.tagging.formats.embeddings import embeddings_writer
from samplecnn.tagging.output import Settings
from samplecnn.tagging.provenance import model_digest, provenance, scores_digest
from samplecnn.tagging.tagger import Tagger, network
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.targets import ABOUT, Targets, named_formats, prepared
from samplecnn.tagging.writers import Selection, reason
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

SAMPLED_FILES = 3  # whose length is taken for that of all
READ_AGAIN = 32  # files, to find out which of several that were read at once a message is of
SAID = 3  # messages of a decoder that are shown for a file
NAMED = 10  # files that a message lists at most


@dataclass
class TagReport:
    """The outcome of tagging: how many files there were, which failed and why, which are silent, tagged only in part
    (`kept`, with how much), or lose most of their sound in the mean of their channels (`cancelled`); and the messages
    of decoders, by the names of the files that were being read.
    """

    files: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    messages: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str, outcome: Tags | AudioError) -> None:
        self.files += 1
        if isinstance(outcome, AudioError):
            self.failed.append((path, reason(path, outcome)))
            return
        if outcome.remarks.cancels:
            self.cancelled.append(path)
        elif outcome.silent:
            self.silent.append(path)
        if outcome.remarks.missing:
            self.kept.append((path, outcome.remarks.kept))

    def lines(self) -> list[str]:
        """Warnings and failures to print, a line each."""
        lines = []
        if self.silent:
            names = _listed(self.silent, ", ")
            lines.append(
                f"warning: {_count(len(self.silent), 'file')} of nothing but silence, whose tags mean nothing: {names}"
            )
        if self.cancelled:
            names = _listed(self.cancelled, ", ")
            count = _count(len(self.cancelled), "file")
            lines.append(f"warning: {count} with channels that cancel each other out in their mean: {names}")
        if self.kept:
            named = _listed([f"{path}: {why}" for path, why in self.kept], "\n  ")
            lines.append(f"warning: {_count(len(self.kept), 'file')} tagged only in part:\n  {named}")
        if self.messages:
            said = [f"{names or 'unknown'}: {'; '.join(found[:SAID])}" for names, found in self.messages.items()]
            lines.append("warning: messages of the decoders:\n  " + _listed(said, "\n  "))
        if self.failed:
            named = _listed([f"{path}: {why}" for path, why in self.failed], "\n  ")
            lines.append(f"{len(self.failed):,} of {_count(self.files, 'file')} could not be tagged:\n  {named}")
        return lines


def tag_paths(
    model: "SampleCNN | str | Path",
    paths: Sequence[str | Path],
    format: str | Sequence[str] = "table",
    output: str | Path | None = None,
    selection: Selection | None = None,
    batch_size: int = 32,
    device: str | None = None,
    resume: bool = False,
    engine: str = "auto",
    precision: str = "auto",
    hop: float | None = None,
    accept_truncated: bool = False,
    output_dir: str | Path | None = None,
    overwrite: bool = False,
    about: bool = False,
    embeddings: str | Path | None = None,
    embedding_layer: int | str = HIDDEN,
) -> TagReport:
    """Tags files and folders and writes the result to a file or to stdout.

    Args:
        model: a SampleCNN or whatever `samplecnn.load` takes.
        paths: files, and folders to search through.
        format: names in `formats.FORMATS`, as "a,b" or a list; several need `output_dir`.
        output: file to write, whole or not at all; None or "-" writes to stdout as the tags come, and so does a FIFO
            or device. If the work breaks off, JSON lines and CSV stay in OUTPUT.part.
        selection: which scores to show.
        batch_size: segments a step.
        device: None uses a GPU where there is one.
        resume: continues OUTPUT.part, on the engine that began it; files that are in it are not tagged again.
        engine, precision, hop, accept_truncated: see `Tagger`.
        output_dir: a folder, instead of `output`: tags.FORMAT for formats with one file for all recordings; for those
            with a file for each, the same sub-folders as those of the recordings; and about.json, which says what made
            the tags.
        overwrite: replaces files of `output_dir` that exist already.
        about: writes what made the tags next to `output` too, as OUTPUT.about.json.
        embeddings: a file (.parquet, .npz) for the recordings' embeddings, or with `selection.over_time` the windows'.
        embedding_layer: as `Tagger` takes it.

    Raises:
        UsageError: no such model or engine, no recording at `paths`, an unknown format, nothing that could be resumed,
            or something begun with other settings.
    """
    formats = named_formats(format)
    if resume and (output is None or str(output) == STDOUT):
        raise UsageError("--resume requires --output")
    if about and (output is None or str(output) == STDOUT):
        raise UsageError("--about requires --output; an --output-dir has its about.json")
    if embeddings is not None:
        embeddings_writer(str(embeddings))
        if resume:
            raise UsageError("--embeddings cannot be resumed; leave one of --embeddings and --resume out")
    found = find_files(paths)
    if hop is not None and any(map(is_record, found.files)):
        raise UsageError("a TFRecord holds windows that are cut already; leave --hop out")
    selection = replace(selection or Selection(), notes=accept_truncated)
    keep_freed_memory()
    net = network(model)
    if embeddings is not None:
        net = with_embedding(net, embedding_layer)
    with prepared(formats, found.files, output, output_dir, selection, overwrite, embeddings) as targets:
        place = targets.single
        if resume and place is None:
            raise UsageError(f"only jsonl and csv files can be resumed, not {format}; leave --resume out")
        done = place.read_done(selection, net.task.classes) if resume and place is not None else Done()
        begun = place.settings() if place is not None and done.size else None
        digest = model_digest(model)
        settings = _settings(engine, precision, hop, scores_digest(model, digest), selection)
        if begun is not None:
            engine, precision = begun.resumed_with(settings)
        with caught():  # the same messages come again when the files are decoded
            segments = expected_segments(found.files, net.task, hop)
        tagger = Tagger(
            net,
            batch_size,
            device,
            engine=engine,
            precision=precision,
            hop=hop,
            segments=segments,
            accept_truncated=accept_truncated,
        )
        for line in (_described(tagger), *(f"note: {note}" for note in found.notes)):
            log.note(line)
        settings = replace(settings, engine=tagger.engine.name, precision=tagger.engine.precision)
        facts = {
            "model": str(model) if isinstance(model, str | Path) else "",
            "task": tagger.task.name,
            **settings.about(),
            "provenance": provenance(tagger, digest),
        }
        if embeddings is not None:
            facts |= {"embedding": net.embedding, "embedding_size": embedding_size(net)}
        with caught() as tagger.messages:
            report = _write(tagger, found.files, targets, selection, done, facts, settings)
        if targets.folder is not None:
            write_json(targets.folder / ABOUT, {**facts, "classes": list(tagger.classes)})
        elif about:
            write_json(f"{output}.{ABOUT}", {**facts, "classes": list(tagger.classes)})

        def decode(name: str) -> None:
            if not is_special(name):  # a pipe has been used up
                deque(stream(name, tagger.task.sample_rate, None, accept_truncated), maxlen=0)

        report.messages = attributed(tagger.messages, decode, READ_AGAIN)
        return report


def _settings(engine: str, precision: str, hop: float | None, digest: str, selection: Selection) -> Settings:
    rules = "" if selection.events is None else json.dumps(selection.events.to_dict(), sort_keys=True)
    shown = {name: getattr(selection, name) for name in ("top", "threshold", "over_time", "notes")}
    return Settings(engine, precision, hop, digest, **shown, events=rules)


def _write(
    tagger: Tagger,
    files: list[str],
    targets: Targets,
    selection: Selection,
    done: Done,
    about: dict[str, Any],
    settings: Settings,
) -> TagReport:
    """Tags the files that are not done yet and writes them to their places."""
    report = TagReport(len(done.errors), [(path, why) for path, why in done.errors.items() if why])
    left = [file for file in files if file not in done.errors]
    place = targets.single
    try:
        with (
            targets.opened(done, settings, selection, tagger.classes, about, files) as sinks,
            _progress(len(left) + len(done.errors), len(done.errors), targets) as bar,
        ):
            seconds = 0.0
            for path, outcome in tagger.tag_files(left):
                for sink in sinks:
                    sink.write(str(path), outcome)
                report.add(str(path), outcome)
                seconds += outcome.seconds if isinstance(outcome, Tags) else 0
                if bar:
                    failed = f", {len(report.failed):,} failed" if report.failed else ""
                    bar.advance(note=f"{seconds / max(bar.elapsed, 1e-9):,.0f}x real time{failed}")
    except BaseException:
        if place is not None and place.part is not None and place.kind.streams and report.files:
            log.report(f"{report.files:,} files are done and kept in {place.part}; continue with --resume")
        raise
    return report


def expected_segments(files: Sequence[str], task: Task, hop: float | None) -> int:
    """An estimate of the number of windows, from the length of a few files."""
    import soundfile

    seconds = []
    for file in files[:: max(len(files) // SAMPLED_FILES, 1)][:SAMPLED_FILES]:
        if file == STDIN or is_special(file):
            continue  # looking would use it up
        with suppress(OSError, RuntimeError, ValueError, TypeError):  # reading it reports what is wrong
            seconds.append(task.clip_seconds or 0.0 if is_record(file) else float(soundfile.info(file).duration))
    every = hop or task.window / task.sample_rate
    return round(len(files) * max(1.0, sum(seconds) / max(len(seconds), 1) / every))


def _described(tagger: Tagger) -> str:
    """Engine, precision and hop, in a line."""
    line = f"engine {tagger.engine.name}, {tagger.engine.precision}"
    if tagger.hop != tagger.task.window:
        line += f"; windows {tagger.hop / tagger.task.sample_rate:.6g} s apart"
        blocks = tagger.sharing.depth if tagger.sharing else 0
        line += f", which share {_count(blocks, 'block')}" if blocks else ", each on its own"
    return line


def _progress(total: int, done: int, targets: Targets) -> Any:
    """A bar on stderr, unless the tags themselves appear on the terminal."""
    shown = not (targets.is_stdout and sys.stdout.isatty())
    return Progress(total=total, description="tag", unit="files", done=done) if shown else nullcontext()


def _count(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _listed(items: list[str], between: str) -> str:
    more = [f"and {len(items) - NAMED:,} more"] if len(items) > NAMED else []
    return between.join([*items[:NAMED], *more])
