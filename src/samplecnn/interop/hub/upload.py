"""Models to and from the hub: folders with cards, uploads, copies, and what `SampleCNN.from_pretrained` loads."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn import model_files
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.extras import require
from samplecnn.interop.hub.cache import (
    CONFIG,
    LIBRARY,
    README,
    WEIGHTS,
    cached_folder,
    client_messages,
    hub_errors,
    model_folder,
    parsed_id,
    possible_id,
    refreshed_folder,
)
from samplecnn.interop.hub.card import CardFacts, card, read_report, scores_of
from samplecnn.models.stored import StoredModel
from samplecnn.system.files import PART, write_bytes, write_json
from samplecnn.tagging.provenance import model_digest
from samplecnn.zoo.packaged import packaged_card, packaged_folder, resolved

if TYPE_CHECKING:
    import torch

    from samplecnn.models import SampleCNN

PUSHED = (CONFIG, WEIGHTS, README)
ANSWER_SECONDS = 60.0  # without a byte sent or received, after which an upload is given up


def write_folder(
    model: "SampleCNN | StoredModel | str | Path",
    folder: str | Path,
    name: str,
    licence: str | None = None,
    scores: str | Path | None = None,
) -> None:
    """Writes a model folder with its card, as a repository of the hub holds it.

    Absolute paths in the record of the training are shortened to names.

    Args:
        model: in memory, or whatever `samplecnn.load` takes.
        folder: is made where it does not exist.
        name: of the repository, for the card.
        licence: as in `CardFacts`.
        scores: a file of `samplecnn eval --json`, for the card.

    Raises:
        UsageError: no such model, or the scores of another one.
        SampleCNNError: damaged files.
    """
    folder, source, body = Path(folder), None, None
    if isinstance(model, str | Path):
        source = resolved(model)
        source = source / WEIGHTS if source.is_dir() else source
        body = packaged_card(str(model)) if packaged_folder(model) == source.parent else None
        stored = model_files.load_stored(model)
    else:
        stored = model if isinstance(model, StoredModel) else StoredModel.of(model)
    report = read_report(scores, stored.task)
    if source is None or model_files.is_keras(source):
        model_files.save(stored, folder)
    else:
        _copy(source, folder)
    description = model_files.read_description(folder / WEIGHTS)
    found = scores_of(source or folder / WEIGHTS, description, report)
    facts = CardFacts(
        name=name,
        config=stored.config,
        task=stored.task,
        parameters=sum(value.size for value in stored.values.values()),
        sha256=model_digest(folder),
        description=description,
        scores=found,
        report=report,
        licence=licence,
        body=body,
    )
    write_bytes(folder / README, card(facts).encode())


def push(
    model: "SampleCNN | StoredModel | str | Path",
    repository: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    message: str | None = None,
    licence: str | None = None,
    scores: str | Path | None = None,
    replace_card: bool = False,
) -> str:
    """Uploads a model with its card to the hub, in one commit.

    Args:
        model: as for `write_folder`.
        repository: "org/name", made if it does not exist; or "org/name@branch".
        private: a new repository is visible to its owners only; None: as the organisation sets it.
        token: None: HF_TOKEN, or that of `hf auth login`.
        message: of the commit.
        licence, scores: as for `write_folder`.
        replace_card: replaces a card that is in the repository already, which is kept otherwise.

    Returns:
        The address of the commit.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        UsageError: no such model, the hub refuses it, or HF_HUB_OFFLINE is set.
        SampleCNNError: damaged files, or the hub cannot be reached.
    """
    target = parsed_id(repository)
    require("push to the hub", "hub")
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise UsageError(f"{target}: nothing can be pushed while HF_HUB_OFFLINE is set; unset it")

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_folder(model, folder, target.name, licence, scores)
        api = HfApi(token=token, **LIBRARY)
        with hub_errors(target), client_messages(), _answers_within(ANSWER_SECONDS):
            api.create_repo(target.name, private=private, exist_ok=True)
            if target.revision is not None:
                api.create_branch(target.name, branch=target.revision, exist_ok=True)
            keep = not replace_card and api.file_exists(target.name, README, revision=target.revision)
            commit = api.create_commit(
                target.name,
                [CommitOperationAdd(name, folder / name) for name in PUSHED if not (keep and name == README)],
                commit_message=message or "Upload a model of samplecnn",
                revision=target.revision,
            )
    return str(commit.commit_url)


@contextmanager
def _answers_within(seconds: float) -> Iterator[None]:
    """Gives the client's connections a time limit, for requests to which none can be passed: by default they have none.

    Args:
        seconds: without a byte sent or received.
    """
    import huggingface_hub.utils

    utils: Any = huggingface_hub.utils
    session = utils.get_session()
    before = session.timeout
    session.timeout = seconds
    try:
        yield
    finally:
        session.timeout = before


def pull(repository: str, folder: str | Path | None = None, token: str | None = None) -> Path:
    """Gets the newest version of a model from the hub, into the cache and, if asked for, into a folder.

    Args:
        repository: "org/name" or "org/name@revision".
        folder: a new or empty folder, which appears when it is complete.
        token: as for `push`.

    Returns:
        The model's folder.

    Raises:
        UsageError, SampleCNNError: as `cache.refreshed_folder`; `folder` holds something.
    """
    target = parsed_id(repository)
    if folder is not None:
        _check_free(Path(folder))
    cached = refreshed_folder(target, token)
    try:
        model_files.load_stored(cached)
    except SampleCNNError as error:
        raise SampleCNNError(f"{target}: {error}") from error
    return cached if folder is None else _copied(cached, Path(folder))


def load_pretrained(
    model: str | Path,
    device: "str | torch.device" = "cpu",
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> "SampleCNN":
    """`load` with the options of `SampleCNN.from_pretrained`, which explains them."""
    path = Path(model)
    named = path.exists() or packaged_folder(model) is not None
    hub_id = None if named else possible_id(model)
    if hub_id is None:
        if revision is not None:
            raise UsageError(f"{model}: only a model of the hub has revisions")
        return model_files.load(model, device)
    hub_id = hub_id if revision is None else hub_id._replace(revision=revision)
    if local_files_only:
        return model_files.load(cached_folder(hub_id, cache_dir), device)
    return model_files.load(model_folder(hub_id, token, cache_dir), device)


def _check_free(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder}: exists already; choose another name for the model's folder")


def _copied(source: Path, folder: Path) -> Path:
    """Copies a model's files, following links, into a folder that appears when it is complete."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}{PART}")
    aside.mkdir(parents=True, exist_ok=True)
    try:
        for name in PUSHED:
            if (source / name).exists():
                shutil.copyfile(source / name, aside / name)
        _check_free(folder)
        aside.replace(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _copy(weights: Path, folder: Path) -> None:
    """Copies weights and config.json, with names in place of absolute paths in the record of the training."""
    digest, description = model_digest(weights), model_files.read_description(weights)
    recorded = description.get("sha256")
    if recorded is not None and recorded != digest:
        raise SampleCNNError(f"{weights}: not the weights that {CONFIG} describes (SHA-256); copy both files again")
    write_bytes(folder / WEIGHTS, weights.read_bytes())
    shortened = {"training": _names(description["training"])} if description.get("training") else {}
    write_json(folder / CONFIG, {**description, "sha256": digest, **shortened})


def _names(value: Any) -> Any:
    """Plain values with every absolute path replaced by its last part."""
    if isinstance(value, dict):
        return {key: _names(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_names(each) for each in value]
    is_path = isinstance(value, str) and (Path(value).is_absolute() or value.startswith("~") or ":\\" in value)
    return value.replace("\\", "/").rstrip("/").rpartition("/")[2] if is_path else value
