"""Models of the hub by id: from the cache of this machine where they are in it, else downloaded.

What is cached is used without asking the hub; `refreshed_folder` (`samplecnn pull`) asks it for the newest version. The
cache is that of huggingface_hub, which other programs share: HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE apply.
"""

import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from samplecnn import __version__
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.extras import require
from samplecnn.system import log

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

WEIGHTS, CONFIG, README = "model.safetensors", "config.json", "README.md"
FILES = (CONFIG, WEIGHTS)
LIBRARY: dict[str, Any] = {"library_name": "samplecnn", "library_version": __version__}
TIMEOUT = 10.0  # seconds without an answer
ID = re.compile(r"([A-Za-z0-9][\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?", re.ASCII)
FILE_ENDINGS = (".safetensors", ".h5", ".hdf5", ".keras", ".pt", ".pth", ".ckpt", ".bin", ".json", ".onnx", ".xml")
LOGIN = "set HF_TOKEN, or log in with `hf auth login`"


class HubId(NamedTuple):
    """A model of the hub.

    Args:
        name: "organisation/model".
        revision: a branch, a tag or a commit; None: the newest of the main branch.
    """

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


def parsed_id(text: str) -> HubId:
    """The hub id in "org/name" or "org/name@revision".

    Raises:
        UsageError: it is none.

    Example:
        >>> parsed_id("anna/birds@v2")
        HubId(name='anna/birds', revision='v2')
    """
    match = ID.fullmatch(text)
    if match is None:
        raise UsageError(f"{text}: not the id of a model on the hub, such as org/name or org/name@revision")
    return HubId(*match.groups())


def possible_id(model: str | Path) -> HubId | None:
    """The hub id that a model's name may be; None if it is a path.

    A name whose first part is an existing file or folder is a path, so that a mistyped path does not reach the network.

    Example:
        >>> possible_id("anna/birds"), possible_id("./anna/birds"), possible_id("anna/birds/model.safetensors")
        (HubId(name='anna/birds', revision=None), None, None)
    """
    text = model.as_posix() if isinstance(model, Path) else model
    match = ID.fullmatch(text)
    if match is None or text.lower().endswith(FILE_ENDINGS) or Path(text.partition("/")[0]).exists():
        return None
    return HubId(*match.groups())


def model_folder(model: HubId, token: str | None = None, cache_dir: str | Path | None = None) -> Path:
    """The folder of a hub model: of the cached version, without the network, or else of a download.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        UsageError, SampleCNNError: as `refreshed_folder`.
    """
    require(f"{model}: a model of the hub", "hub")
    return _cached(model, cache_dir) or refreshed_folder(model, token, cache_dir)


def cached_folder(model: HubId, cache_dir: str | Path | None = None) -> Path:
    """The folder of a hub model in the cache; the network is not used.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        SampleCNNError: it is not in the cache.
    """
    require(f"{model}: a model of the hub", "hub")
    folder = _cached(model, cache_dir)
    if folder is None:
        raise SampleCNNError(f"{model}: not in the cache of this machine; get it with `samplecnn pull {model}`")
    return folder


def refreshed_folder(model: HubId, token: str | None = None, cache_dir: str | Path | None = None) -> Path:
    """Asks the hub for the newest version of a model, and downloads what the cache lacks.

    A download that breaks off is continued where it stopped, a few times. The weights are compared with the SHA-256 in
    config.json; what differs is removed.

    Args:
        model: its id.
        token: for private models; None: HF_TOKEN, or that of `hf auth login`.
        cache_dir: None: that of huggingface_hub.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        UsageError: there is no such model or revision, or it is not one of samplecnn.
        SampleCNNError: the hub cannot be reached, breaks off, or delivers something else than it should.
    """
    require(f"{model}: a model of the hub", "hub")
    from huggingface_hub import HfApi, hf_hub_download

    with hub_errors(model), client_messages():
        info = HfApi(token=token, **LIBRARY).model_info(
            model.name, revision=model.revision, timeout=TIMEOUT, files_metadata=True
        )
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        absent = [name for name in FILES if name not in sizes]
        if absent:
            raise UsageError(f"{model}: has no {absent[0]}, so it is not a model of samplecnn")
        wanted = [name for name in (*FILES, README) if name in sizes]
        if _cached(model, cache_dir, info.sha) is None:
            size = sum(sizes[name] for name in wanted)
            log.note(f"downloading {model} ({size / 1e6:.1f} MB) from {endpoint()}")
        paths = [
            Path(
                hf_hub_download(
                    model.name, name, revision=model.revision, token=token, cache_dir=cache_dir, etag_timeout=TIMEOUT,
                    **LIBRARY,
                )
            )
            for name in wanted
        ]  # fmt: skip
        folder = paths[0].parent
        if any(path.parent.name != info.sha for path in paths):
            raise SampleCNNError(f"{model}: the hub has changed it, or stopped answering, meanwhile; try again")
    problem = _problem(folder)
    if problem:
        _remove(folder)
        raise SampleCNNError(f"{model}: {problem}; nothing of it was kept. Try again, or tell who published it")
    return folder


def endpoint() -> str:
    """The address of the hub."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _cached(model: HubId, cache_dir: str | Path | None, commit: str | None = None) -> Path | None:
    """The folder of a whole model in the cache; None: it is not there, or damaged.

    Args:
        commit: of the version; None: the one that `model` meant when it was last downloaded.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [
            try_to_load_from_cache(model.name, name, cache_dir=cache_dir, revision=commit or model.revision)
            for name in FILES
        ]
    except (HFValidationError, OSError):
        return None
    paths = [Path(path) for path in found if isinstance(path, str)]
    if len(paths) < len(FILES):
        return None
    folder = paths[0].parent
    problem = _problem(folder)
    if problem is None:
        return folder
    log.warn(f"{model}: {problem}; its copy in {folder} is removed")
    _remove(folder)
    return None


def _problem(folder: Path) -> str | None:
    """What is wrong with a downloaded model; None if its weights are those that its config.json describes."""
    import hashlib

    try:
        described = json.loads((folder / CONFIG).read_bytes())
        with (folder / WEIGHTS).open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, RecursionError) as error:
        return f"{CONFIG} and {WEIGHTS} cannot be read ({type(error).__name__})"
    expected = described.get("sha256") if isinstance(described, dict) else None
    if expected is not None and expected != actual:
        return f"the SHA-256 of its {WEIGHTS} is not the one in its {CONFIG}"
    return None


def _remove(folder: Path) -> None:
    """Removes a model's files from the cache: the links, and what they link to."""
    for name in FILES:
        with suppress(OSError):
            (folder / name).resolve().unlink(missing_ok=True)
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)


@contextmanager
def hub_errors(model: HubId) -> Iterator[None]:
    """Turns whatever the hub's client raises into one line that names the model and the remedy."""
    from huggingface_hub import errors

    try:
        yield
    except SampleCNNError:
        raise
    except errors.GatedRepoError as error:
        raise UsageError(f"{model}: request access at {endpoint()}/{model.name}, then {LOGIN}") from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(
            f"{model}: there is no such path, and {endpoint()} has no model of this name for you; check the name, or, "
            f"for a private model, {LOGIN}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(
            f"{model}: the model has no revision {model.revision}; see {endpoint()}/{model.name}"
        ) from error
    except errors.HFValidationError as error:
        raise UsageError(f"{model}: not the id of a model on the hub ({_first_line(error)})") from error
    except errors.HfHubHTTPError as error:
        raise _refused(model, error) from error
    except errors.OfflineModeIsEnabled as error:
        raise SampleCNNError(
            f"{model}: not in the cache of this machine; unset HF_HUB_OFFLINE to download it"
        ) from error
    except Exception as error:  # whatever the client's libraries raise: of the network, of an answer that is not JSON
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise  # of a file: the disk is full, no permission
        raise SampleCNNError(
            f"{model}: {endpoint()} cannot be reached, or its answer cannot be used ({_first_line(error)}); check the "
            "connection and try again"
        ) from error


def _refused(model: HubId, error: "HfHubHTTPError") -> SampleCNNError:
    status = error.response.status_code
    if status == 401:
        return UsageError(f"{model}: the hub wants a token, or another one; {LOGIN}")
    if status == 403:
        return UsageError(
            f"{model}: the hub does not permit this with your token; use one that may write to {model.name}"
        )
    if status == 429:
        wait = error.response.headers.get("Retry-After")
        again = f"in {wait} s" if wait and wait.isdigit() else "later"
        return SampleCNNError(f"{model}: too many requests to the hub; try again {again}")
    return SampleCNNError(f"{model}: {endpoint()} answers with status {status}; try again later")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


class _Notes(logging.Handler):
    """Shows the client's warnings as notes: that it waits, that it tries again."""

    def emit(self, record: logging.LogRecord) -> None:
        log.note("hub: " + ", ".join(line.strip() for line in record.getMessage().splitlines() if line.strip())[:300])


@contextmanager
def client_messages() -> Iterator[None]:
    """Shows the warnings of the hub's client as notes, and no progress bars."""
    import huggingface_hub.utils

    utils: Any = huggingface_hub.utils
    client, bars = logging.getLogger("huggingface_hub"), not utils.are_progress_bars_disabled()
    before, client.handlers = client.handlers, [_Notes()]
    utils.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="huggingface_hub")  # that this system has no symbolic links
            yield
    finally:
        client.handlers = before
        if bars:
            utils.enable_progress_bars()
