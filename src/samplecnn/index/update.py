"""Brings an index up to date with files and folders: only what is new or has changed is run through the model."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from samplecnn.errors import UsageError
from samplecnn.index.changes import Found, Known, find, plan, refuse_nothing
from samplecnn.index.compaction import compact
from samplecnn.index.new_files import Pass, Work
from samplecnn.index.report import UpdateReport
from samplecnn.index.rewrite import recover, rewrite
from samplecnn.index.settings import NAME, Asked, IndexSettings, full_path
from samplecnn.index.table import read_files
from samplecnn.index.written import WrittenFiles
from samplecnn.models.embedding import HIDDEN, embedding_size, with_embedding
from samplecnn.system import log
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.system.locks import locked
from samplecnn.tagging.provenance import model_digest, provenance, scores_digest
from samplecnn.tagging.tag_files import expected_segments
from samplecnn.tagging.tagger import Tagger, network
from samplecnn.tagging.worker import open_tagger
from samplecnn.zoo.packaged import resolved


def update_index(
    index: str | Path,
    model: str | Path | None = None,
    paths: Sequence[str | Path] = (),
    *,
    hop: float | None = None,
    precision: str = "auto",
    embedding_layer: str | None = None,
    accept_truncated: bool | None = None,
    retry: bool = False,
    engine: str = "auto",
    batch_size: int = 32,
    device: str | None = None,
    ray: str | None = None,
) -> UpdateReport:
    """Adds what is new or changed below some paths to an index, and marks what is gone; makes a new index.

    A file is unchanged while its size and time of modification are. Of others the content is compared first, so that
    files that were moved, copied or touched are not run through the model again. Every recording is kept as soon as it
    is tagged: an update that is killed loses those in progress at most, and the next one continues. A recording that
    cannot be used is kept with its error, and is tried again when it changes or with `retry`.

    Args:
        index: its folder.
        model: a run directory, a file, or a packaged model's name; None: that of the index.
        paths: files and folders; none: those of all earlier updates.
        hop, precision, embedding_layer, accept_truncated: as `Tagger` takes them; None and "auto": those of the index,
            or for a new one a window, the faster precision, "hidden", and False.
        retry: also tries unchanged files again that could not be used.
        engine, batch_size, device: as `Tagger` takes them.
        ray: address of a Ray cluster whose machines run the model, see `tagging.worker.open_tagger`.

    Raises:
        UsageError: another model or other options than the index was made with, a path without recordings, another
            process that is updating the index.

    Example:
        >>> report = update_index("sounds.index", "log/20261122_101500-sounds-se_multi", ["hum.wav"])
        >>> update_index("sounds.index").summary()
        '1 unchanged'
    """
    folder = Path(index)
    asked = Asked(None if model is None else str(model), precision, hop, embedding_layer, accept_truncated)
    known = IndexSettings.read(folder) if (folder / NAME).exists() else None
    if known is None:
        _refuse_other_folders(folder)
        if model is None or not paths:
            raise UsageError(f"{folder}: a new index needs a model (--model) and files or folders")
    digest = _digest(asked)
    if not paths and known is not None and not known.roots:
        raise UsageError(
            f"{folder}: its first update was interrupted before it kept its paths; name the files and folders"
        )
    found = find(paths or known.roots)  # type: ignore[union-attr]  # a new index has paths
    refuse_nothing(found, [str(path) for path in paths], new=known is None)
    opener = _Opener(folder, asked, digest, engine, batch_size, device, ray)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder, f"{folder}: another `samplecnn index update` is writing it; wait for it"):
            keep_freed_memory()
            settings = opener.settings(found.files)
            return _update(folder, settings, opener, found, retry)
    except BaseException:
        if is_new:
            with suppress(OSError):  # nothing is in it yet
                folder.rmdir()
        raise


def _refuse_other_folders(folder: Path) -> None:
    """A new index needs an empty folder; half-written settings of an update that was killed do not count."""
    if not folder.exists():
        return
    if not folder.is_dir() or any(not path.name.startswith(f".{NAME}.") for path in folder.iterdir()):
        raise UsageError(f"{folder}: exists and is not an index; name another folder")


def _digest(asked: Asked) -> str:
    """The hash of the model that is asked for; "" where none is."""
    if asked.model is None:
        return ""
    digest = scores_digest(asked.model, model_digest(asked.model))
    if not digest:
        network(asked.model)  # names the model that is not there
        raise UsageError(f"{asked.model}: cannot be read")
    return digest


class _Opener:
    """Opens the model once, when it is needed.

    Args:
        folder: of the index.
        asked: for by the user.
        digest: of the model that is asked for; "" for none.
        engine, batch_size, device: as `Tagger` takes them.
        ray: address of a Ray cluster; None: this process runs the model.
    """

    def __init__(
        self,
        folder: Path,
        asked: Asked,
        digest: str,
        engine: str,
        batch_size: int,
        device: str | None,
        ray: str | None,
    ) -> None:
        self.folder, self.asked, self.digest, self.ray = folder, asked, digest, ray
        self.engine, self.batch_size, self.device = engine, batch_size, device
        self.tagger: Tagger | None = None

    def settings(self, files: Sequence[str]) -> IndexSettings:
        """The settings of the index; a new one gets them now.

        Args:
            files: all that were found.
        """
        if (self.folder / NAME).exists():
            settings = IndexSettings.read(self.folder)
            self.asked.check(self.folder, settings, self.digest)
            return settings
        _refuse_other_folders(self.folder)
        model = str(self.asked.model)
        path = resolved(model)
        name = full_path(model) if path.exists() and str(path) == str(Path(model)) else model
        layer, accept = self.asked.embedding or HIDDEN, bool(self.asked.accept_truncated)
        net = with_embedding(network(model), layer)
        tagger = self._open(net, self.asked.precision, self.asked.hop, accept, files)
        made = IndexSettings(
            name, self.digest, net.task, tagger.engine.precision, self.asked.hop, tagger.hop, layer,
            embedding_size(net), accept,
        )  # fmt: skip
        made.write(self.folder)
        return made

    def open(self, settings: IndexSettings, files: Sequence[str]) -> Tagger:
        """The tagger of an index, for these files."""
        if self.tagger is None:
            model = self.asked.model or settings.model
            digest = self.digest or scores_digest(model, model_digest(model))
            net = with_embedding(network(model), settings.embedding)
            Asked(model).check(self.folder, settings, digest)
            self.digest = digest
            self._open(net, settings.precision, settings.hop, settings.accept_truncated, files)
        assert self.tagger is not None
        return self.tagger

    def _open(self, net, precision, hop, accept_truncated, files) -> Tagger:  # type: ignore[no-untyped-def]
        self.tagger = open_tagger(
            self.ray,
            net,
            self.batch_size,
            self.device,
            engine=self.engine,
            precision=precision,
            hop=hop,
            segments=expected_segments(files, net.task, hop),
            accept_truncated=accept_truncated,
        )
        return self.tagger


def _update(folder: Path, settings: IndexSettings, opener: _Opener, found: Found, retry: bool) -> UpdateReport:
    recover(folder, settings)
    WrittenFiles(folder).apply(settings)
    settings = _kept(folder, settings, settings.with_roots(found.roots))  # at once: an interrupted update continues
    known = Known.read(folder, settings)
    todo = plan(known, found, retry)
    report = UpdateReport(restored=len(todo.restored), unchanged=todo.unchanged, failed=todo.failed)
    for note in found.notes:
        log.note(f"note: {note}")
    work = Work(known, todo, retry, report)

    def opened(files: Sequence[str]) -> Tagger:
        """The tagger, of which the settings say what it is before it runs."""
        nonlocal settings
        tagger = opener.open(settings, files)
        settings = _kept(folder, settings, replace(settings, made_by=provenance(tagger, opener.digest)))
        return tagger

    if todo.candidates:
        with Pass(folder, settings, read_files(folder, settings, ["part"])[1], work) as run:
            run.tag(opened)
    changes = work.finish(folder, settings)
    tagged = report.new + report.changed
    if changes or tagged:
        rewrite(folder, settings, changes)
        compact(folder, settings)
    return report


def _kept(folder: Path, settings: IndexSettings, after: IndexSettings) -> IndexSettings:
    """Writes the settings if they have changed."""
    if after != settings:
        after.write(folder)
    return after
