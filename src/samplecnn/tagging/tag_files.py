"""Tagging many files: discovery, inference, output, summary."""

import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn.audio import stream
from samplecnn.errors import CONTINUE, UsageError, add_remedy
from samplecnn.models.embedding import HIDDEN, embedding_size, with_embedding
from samplecnn.parsing import require_file
from samplecnn.recordings import is_special
from samplecnn.shards.tfrecord.clips import is_record
from samplecnn.sound_file import STDIN
from samplecnn.system import log
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.system.files import STDOUT, is_regular
from samplecnn.system.native_messages import attributed, caught
from samplecnn.system.progress import Progress
from samplecnn.tagging.done import Done
from samplecnn.tagging.find import find_files
from samplecnn.tagging.formats.embeddings import embeddings_writer
from samplecnn.tagging.output import Settings
from samplecnn.tagging.provenance import model_digest, provenance, scores_digest
from samplecnn.tagging.report import TagReport, counted
from samplecnn.tagging.run_journal import NAME, RunJournal, kept_note, open_journal
from samplecnn.tagging.tagger import Tagger, network
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.targets import Targets, named_formats, prepare_targets, write_about
from samplecnn.tagging.worker import open_tagger
from samplecnn.tagging.writers import Outcome, Selection
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

SAMPLED_FILES = 3  # files from which the mean length of all is estimated
MAX_REREAD_FILES = (
    32  # files that are decoded again to attribute decoder messages that appeared during parallel reading
)


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
    about: str | Path | bool | None = None,
    embeddings: str | Path | None = None,
    embedding_layer: int | str = HIDDEN,
    ray: str | None = None,
    inputs: Sequence[str | Path] = (),
) -> TagReport:
    """Tags files and folders and writes the result to a file or to stdout.

    Args:
        model: a SampleCNN, or an argument of `samplecnn.load`.
        paths: files, and folders to search.
        format: names in `formats.FORMATS`, as "a,b" or a list; more than one requires `output_dir`.
        output: output path, written atomically; None or "-" streams to stdout; a FIFO or device is streamed to as well.
            If interrupted, partial JSON lines or CSV output is kept in OUTPUT.part.
        selection: which scores to show.
        batch_size: segments per batch.
        device: None uses a GPU if available.
        resume: continues an interrupted run, with the engine that it was started with: files in OUTPUT.part, or in the
            journal of an output folder or of embeddings, are not tagged again unless they have changed.
        engine, precision, hop, accept_truncated: see `Tagger`.
        output_dir: a folder, instead of `output`: tags.FORMAT for formats with one file for all recordings; for formats
            with one file per recording, the sub-folders of the recordings; and about.json with the provenance.
        overwrite: replaces existing files in `output_dir`.
        about: writes the provenance to this JSON file, or with True next to `output`, as OUTPUT.about.json; None: there
            if the format cannot contain it.
        embeddings: a file (.parquet, .npz) for the recordings' embeddings, or with `selection.over_time` the windows'.
        embedding_layer: see `embedding` of `Tagger`.
        ray: address of a Ray cluster whose machines tag the files, see `open_tagger`; None: this process does.
        inputs: other files that no output may overwrite, such as a list that the paths were read from.

    Raises:
        UsageError: no such model or engine, no recordings at `paths`, an unknown format, an output that cannot be
            resumed, or an interrupted output with different settings.
    """
    formats = named_formats(format)
    if resume and output_dir is None and (output is None or str(output) == STDOUT):
        raise UsageError("--resume requires --output or --output-dir")
    if embeddings is not None:
        embeddings_writer(str(embeddings))
    keep_freed_memory()
    net = network(model)  # first: of a model and recordings that are both missing, the model is named
    found = find_files(paths)
    if hop is not None and any(map(is_record, found.files)):
        raise UsageError("the windows of a TFRecord are fixed; omit --hop")
    selection = replace(selection or Selection(), notes=accept_truncated)
    if selection.events is not None:
        selection.events.thresholds(net.task.classes, net.task.class_thresholds)  # refuses unknown classes at once
    if embeddings is not None:
        net = with_embedding(net, embedding_layer)
    kept_at = _journal_path(output_dir, embeddings)
    if resume and kept_at is not None:
        require_file(kept_at, "there is no interrupted run to continue; omit --resume", UsageError)
    with (
        prepare_targets(
            formats,
            found.files,
            output,
            output_dir,
            selection,
            overwrite or resume,
            embeddings,
            resumable=kept_at is None,
            about=about,
            journal=kept_at,
            inputs=[*inputs, *_files_of(model)],
        ) as targets,
        open_journal(kept_at, resume, overwrite) as journal,
    ):
        single = targets.single
        done, earlier = Done(), None if journal is None else journal.settings
        if resume and journal is None:
            if single is None:
                raise UsageError(f"only jsonl and csv files can be resumed, not {format}; omit --resume")
            done = single.read_done(selection, net.task.classes)
            earlier = single.settings() if done.size else None
        # Hashing a large model takes longer than tagging a word.
        documented = targets.has_metadata or embeddings is not None or isinstance(about, str | Path)
        digest = model_digest(model) if documented else ""
        settings = _settings(engine, precision, hop, scores_digest(model, digest), selection)
        outputs = json.dumps([sorted(formats), {**asdict(settings), "engine": "", "precision": ""}])
        if journal is not None:  # it holds what any selection shows
            settings = Settings(engine, precision, hop, settings.model, over_time=False, notes=accept_truncated)
        if earlier is not None:
            engine, precision = earlier.resumed_with(settings)
        with caught():  # the same messages appear again when the files are decoded
            segments = expected_segments(found.files, net.task, hop)
        tagger = open_tagger(
            ray,
            net,
            batch_size,
            device,
            engine=engine,
            precision=precision,
            hop=hop,
            segments=segments,
            accept_truncated=accept_truncated,
        )
        for line in (engine_line(tagger), *(f"note: {note}" for note in found.notes)):
            log.note(line)
        settings = replace(settings, engine=tagger.engine.name, precision=tagger.engine.precision)
        facts = {
            "model": str(model) if isinstance(model, str | Path) else "",
            "task": tagger.task.name,
            **settings.about(),
            "provenance": provenance(tagger, digest) if documented else {},
        }
        if embeddings is not None:
            facts |= {"embedding": net.embedding, "embedding_size": embedding_size(net)}
        if journal is not None:
            layer = "" if embeddings is None else str(net.embedding)
            journal.begin(settings, tagger.classes, layer, outputs, found.files)
            if resume:
                kept_note(journal, len(found.files))
        with caught() as tagger.messages:
            report = _write(tagger, found.files, targets, selection, done, facts, settings, journal)
        write_about(about, {**facts, "classes": list(tagger.classes)}, targets, formats, output)

        def decode(name: str) -> None:
            if not is_special(name):  # a pipe can be read only once
                deque(stream(name, tagger.task.sample_rate, None, accept_truncated), maxlen=0)

        report.messages = attributed(tagger.messages, decode, MAX_REREAD_FILES)
        return report


def _files_of(model: "SampleCNN | str | Path") -> list[Path]:
    """The files of a model that is given by its path."""
    if not isinstance(model, str | Path):
        return []
    path = Path(model)
    return [path / "config.json", *path.glob("*.safetensors")] if path.is_dir() else [path]


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
    journal: RunJournal | None,
) -> TagReport:
    """Tags the files that are not done yet and writes their tags."""
    report = TagReport(len(done.errors), [(path, why) for path, why in done.errors.items() if why])
    left = [file for file in files if file not in done.errors]
    begun = len(done.errors) if journal is None else len(journal.kept)
    single = targets.single
    try:
        with (
            targets.open(done, settings, selection, tagger.classes, about, files) as sinks,
            _progress(len(left) + len(done.errors), begun, targets) as bar,
        ):
            seconds = 0.0
            for path, outcome, kept in _outcomes(tagger, left, journal):
                for sink in sinks:
                    if not (kept and journal is not None and journal.same_outputs and sink.has(path)):
                        sink.write(path, outcome)
                report.add(path, outcome)
                if kept:
                    continue
                seconds += outcome.seconds if isinstance(outcome, Tags) else 0
                if bar:
                    failed = f", {len(report.failed):,} failed" if report.failed else ""
                    bar.advance(note=f"{seconds / max(bar.elapsed, 1e-9):,.0f}x real time{failed}")
    except BaseException as error:
        place = None if journal is None else journal.path
        if place is None and single is not None and single.kind.resumable:
            place = single.part
        if place is not None and report.files:
            log.report(f"{report.files:,} files are done and kept in {place}; {CONTINUE}")
            if isinstance(error, OSError):
                add_remedy(error, CONTINUE)
        raise
    return report


def _outcomes(tagger: Tagger, files: list[str], journal: RunJournal | None) -> Iterator[tuple[str, Outcome, bool]]:
    """Each file's tags or error, in order, and whether an interrupted run had them already."""
    fresh = tagger.tag_files(files if journal is None else [file for file in files if file not in journal.kept])
    if journal is None:
        yield from ((str(path), outcome, False) for path, outcome in fresh)
        return
    for file in files:
        if file in journal.kept:
            yield file, journal.outcome(file, tagger.task), True
        else:
            _, outcome = next(fresh)
            journal.add(file, outcome)
            yield file, outcome, False


def _journal_path(output_dir: str | Path | None, embeddings: str | Path | None) -> Path | None:
    """The journal of a run whose outputs cannot be continued one by one; None for a single output."""
    if output_dir is not None:
        return Path(output_dir) / NAME
    return Path(f"{embeddings}.{NAME}") if embeddings is not None and is_regular(embeddings) else None


def expected_segments(files: Sequence[str], task: Task, hop: float | None) -> int:
    """Estimates the number of windows from the lengths of a few files."""
    import soundfile

    seconds = []
    for file in files[:: max(len(files) // SAMPLED_FILES, 1)][:SAMPLED_FILES]:
        if file == STDIN or is_special(file):
            continue  # it can be read only once
        with suppress(OSError, RuntimeError, ValueError, TypeError):  # reported when the file is tagged
            seconds.append(task.clip_seconds or 0.0 if is_record(file) else float(soundfile.info(file).duration))
    every = hop or task.window / task.sample_rate
    return round(len(files) * max(1.0, sum(seconds) / max(len(seconds), 1) / every))


def engine_line(tagger: Tagger) -> str:
    """Engine, precision and hop in one line."""
    line = f"engine {tagger.engine.name}, {tagger.engine.precision}"
    if tagger.hop != tagger.task.window:
        line += f"; hop {tagger.hop / tagger.task.sample_rate:.6g} s"
        blocks = tagger.sharing.depth if tagger.sharing else 0
        line += f", windows share {counted(blocks, 'block')}" if blocks else ", windows computed independently"
    return line


def _progress(total: int, done: int, targets: Targets) -> Any:
    """A progress bar on stderr, unless the tags are printed to the terminal."""
    shown = not (targets.is_stdout and sys.stdout.isatty())
    return Progress(total=total, description="tag", unit="files", done=done) if shown else nullcontext()
