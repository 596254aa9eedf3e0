"""Destinations of the output formats: one to stdout or a file, several into a folder that mirrors the recordings'."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from samplecnn.errors import UsageError
from samplecnn.extras import is_installed, missing_extra
from samplecnn.system.files import STDOUT, is_regular, target_of, write_json
from samplecnn.tagging.clashes import refuse_clashes
from samplecnn.tagging.done import Done
from samplecnn.tagging.formats import COLLECTIONS, DOCUMENTS, FORMATS, Document
from samplecnn.tagging.formats.collections import LongCsvWriter
from samplecnn.tagging.formats.documents import DocumentFiles, Mirrored, mirrored_paths
from samplecnn.tagging.formats.embeddings import embeddings_writer
from samplecnn.tagging.output import Output, Settings, part_of, reserve
from samplecnn.tagging.writers import CsvWriter, Outcome, Selection, Writer

SUFFIX = {"table": ".txt", "csv-long": ".long.csv", "dcase": ".dcase.txt", "kaleidoscope": ".kaleidoscope.csv"}
ABOUT = "about.json"  # provenance of the tags, in an output folder


class Sink(Protocol):
    """Receives the tags of recordings, in order."""

    def write(self, path: str, outcome: Outcome) -> None: ...

    def has(self, path: str) -> bool: ...

    def end(self) -> None: ...

    def abandon(self) -> None: ...


@dataclass(frozen=True)
class Targets:
    """The destinations of tags.

    Args:
        outputs: locked outputs of formats with one file for all recordings.
        documents: formats with one file per recording, each with the files' paths by the recordings' paths.
        folder: the folder of all outputs; None: a file or stdout.
        single: the only output of tags, without a folder and without files per recording.
    """

    outputs: list[Output]
    documents: list[tuple[type[Document], Mapping[str, str | Path]]]
    folder: Path | None
    single: Output | None

    @property
    def is_stdout(self) -> bool:
        """Whether tags are written to stdout."""
        single = self.single
        if single is not None:
            return single.is_stdout
        return self.folder is None and any(
            str(target) == STDOUT for _, names in self.documents for target in names.values()
        )

    @property
    def has_metadata(self) -> bool:
        """Whether anything but tags is written: all except stdout in a format without metadata."""
        return self.single is None or not self.single.is_stdout or self.single.kind.describes_itself

    @contextmanager
    def open(
        self,
        done: Done,
        settings: Settings | None,
        selection: Selection,
        classes: tuple[str, ...],
        about: dict[str, Any],
        files: list[str],
    ) -> Iterator[list[Sink]]:
        """Opens the writers of all formats; files for all recordings are complete after the block, if it succeeds."""
        sinks: list[Sink] = [DocumentFiles(kind(selection, about), names) for kind, names in self.documents]
        with ExitStack() as stack:
            for output in self.outputs:
                file = stack.enter_context(output.open(done, settings if output is self.single else None))
                sinks.append(output.kind(file, selection, classes, about, files, resuming=done.size > 0))
            try:
                yield sinks
            except BaseException:
                for sink in sinks:
                    sink.abandon()
                raise
            for sink in sinks:
                sink.end()


def named_formats(formats: str | Sequence[str]) -> list[str]:
    """The formats of "a,b" or ["a", "b,c"], each once.

    Raises:
        UsageError: an unknown one, or one whose package is not installed.
    """
    given = [formats] if isinstance(formats, str) else formats
    names = list(dict.fromkeys(name.strip() for text in given for name in text.split(",")))
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}: choose one of {', '.join(FORMATS)}")
        package = DOCUMENTS[name].needs if name in DOCUMENTS else ""
        if package and not is_installed(package):
            raise missing_extra(f"format {name}", package)
    return names


@contextmanager
def prepare_targets(
    formats: list[str],
    files: list[str],
    output: str | Path | None,
    folder: str | Path | None,
    selection: Selection,
    overwrite: bool = False,
    embeddings: str | Path | None = None,
    resumable: bool = True,
    about: str | Path | bool | None = None,
    journal: Path | None = None,
    inputs: Sequence[str | Path] = (),
) -> Iterator[Targets]:
    """Determines the destinations, checks that no file is overwritten by mistake, and locks them.

    Args:
        formats: names in `formats.FORMATS`.
        files: the recordings.
        output: a file; None and "-" are the standard output.
        folder: a folder for all formats, instead of `output`.
        selection: which scores to show.
        overwrite: replaces existing files in the folder.
        embeddings: a file for embeddings, in addition.
        resumable: keeps a partial output that can be resumed if the work breaks off.
        about: the provenance, as `write_about` takes it.
        journal: of the run.
        inputs: files that are read in addition to the recordings.

    Raises:
        UsageError: options that exclude each other, or files that would be overwritten.
    """
    _check_about(about, output)
    documents: list[tuple[type[Document], Mapping[str, str | Path]]] = []
    names: dict[str, str | Path] = {}
    mirrors: dict[str, Mirrored] = {}
    if folder is None:
        if len(formats) > 1:
            raise UsageError(f"several formats ({', '.join(formats)}) need a folder; set one with --output-dir")
        if formats[0] in DOCUMENTS:
            if len(files) != 1:
                raise UsageError(
                    f"format {formats[0]} writes one file per recording, and there are {len(files):,} recordings; "
                    "set a folder with --output-dir"
                )
            documents = [(DOCUMENTS[formats[0]], {files[0]: STDOUT if output is None else output})]
        else:
            names[formats[0]] = STDOUT if output is None else output
    else:
        if output is not None:
            raise UsageError("--output and --output-dir exclude each other; omit one of them")
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: not a folder; set another one with --output-dir")
        stems = mirrored_paths(files) if any(name in DOCUMENTS for name in formats) else {}
        for name in formats:
            if name in DOCUMENTS:
                mirrors[name] = Mirrored(folder, stems, DOCUMENTS[name].suffix)
                documents.append((DOCUMENTS[name], mirrors[name]))
            else:
                names[name] = folder / f"tags{SUFFIX.get(name, f'.{name}')}"
    clashing = _single_files(names, output, folder, embeddings, about, journal)
    mirrored = [(f"--format {kind}", each) for kind, each in mirrors.items()]
    refuse_clashes(clashing, mirrored, chain(files, inputs))
    if folder is not None:
        _refuse_existing(chain(names.values(), *(each.values() for _, each in documents)), overwrite)
    with ExitStack() as stack:
        keep = resumable and folder is None  # outputs in a folder cannot be resumed
        outputs = [stack.enter_context(reserve(path, _kind(name, selection), keep)) for name, path in names.items()]
        single = outputs[0] if folder is None and outputs else None
        if embeddings is not None:
            outputs.append(stack.enter_context(reserve(embeddings, embeddings_writer(str(embeddings)))))
        yield Targets(outputs, documents, None if folder is None else Path(folder), single)


def _check_about(about: str | Path | bool | None, output: str | Path | None) -> None:
    if about is True and (output is None or str(output) == STDOUT):
        raise UsageError("the provenance of tags on stdout needs a file: about='about.json'")
    if not isinstance(about, bool) and about is not None and str(about) == STDOUT:
        raise UsageError("--about needs a file; stdout is for the tags")


def _single_files(
    names: Mapping[str, str | Path],
    output: str | Path | None,
    folder: str | Path | None,
    embeddings: str | Path | None,
    about: str | Path | bool | None,
    journal: Path | None,
) -> Iterator[tuple[str, str | Path]]:
    """Every file that a run writes or removes, except those per recording, with its name in messages."""
    named = None if about is None or isinstance(about, bool) else about
    if named is not None:
        yield "--about", named
    growing = {"--embeddings": embeddings} if embeddings is not None else {}
    if folder is None:
        growing |= {"--output": output} if output is not None else {}
    else:
        growing |= {f"--format {name}": path for name, path in names.items()}
    for what, path in growing.items():
        yield what, path
        if is_regular(path):
            part = part_of(target_of(path))
            yield f"the unfinished file of {what}", part
            yield f"the settings of {what}", f"{part}.json"
    place = about_place(output, folder)
    if place is not None and (named is None or os.path.realpath(named) != os.path.realpath(place)):
        yield "the provenance", place
    if journal is not None:
        yield "the journal for --resume", journal


def about_place(output: str | Path | None, folder: str | Path | None) -> Path | None:
    """Where the provenance of tags is written: about.json in their folder, or OUTPUT.about.json; None: nowhere."""
    if folder is not None:
        return Path(folder) / ABOUT
    return Path(f"{output}.{ABOUT}") if output is not None and is_regular(output) else None


def write_about(
    about: str | Path | bool | None,
    facts: dict[str, Any],
    targets: Targets,
    formats: Sequence[str],
    output: str | Path | None,
) -> None:
    """Writes the provenance of tags: to a file that is named, as about.json into a folder, or as OUTPUT.about.json.

    Args:
        about: a file; None: next to an output whose format cannot contain it; True: next to any output; False: nowhere.
            A folder always gets its about.json.
        facts: the provenance.
        targets: that have been written.
        formats: names of their formats.
        output: the file; None and "-" are the standard output, next to which there is no place.
    """
    named = None if about is None or isinstance(about, bool) else Path(about)
    if named is not None:
        write_json(named, facts)
    place = about_place(output, targets.folder)
    if place is None:
        return
    if targets.folder is not None or about is True or (about is None and not FORMATS[formats[0]].describes_itself):
        write_json(place, facts)
    elif named is None or named.absolute() != place.absolute():
        place.unlink(missing_ok=True)  # that of tags which the output has replaced


def _kind(name: str, selection: Selection) -> type[Writer]:
    kind = COLLECTIONS[name]
    return LongCsvWriter if kind is CsvWriter and selection.events is not None else kind


def _refuse_existing(paths: Iterable[str | Path], overwrite: bool) -> None:
    existing = [] if overwrite else [path for path in paths if Path(path).exists()]
    if existing:
        more = f" and {len(existing) - 1:,} more" if len(existing) > 1 else ""
        raise UsageError(f"{existing[0]}{more}: already exists; use another folder, or pass --overwrite")
