"""Where results go, and whether they can be written there: better said before the work than after."""

from pathlib import Path

from samplecnn.errors import UsageError
from samplecnn.model_files import CONFIG
from samplecnn.system.files import written_aside


def run_folder(model: str) -> Path | None:
    """The run directory that a model lies in; None for a model that lies elsewhere."""
    path = Path(model)
    run = path if path.is_dir() else path.parent
    return run if (run / CONFIG).exists() else None


def output_folder(model: str, output: str | None) -> Path:
    """Where an analysis goes: OUTPUT, or else analysis in the run directory that the model lies in, or ./analysis.

    Raises:
        UsageError: nothing can be written there.
    """
    run = run_folder(model)
    folder = Path(output) if output is not None else (run or Path()) / "analysis"
    probe = folder / f".samplecnn.{id(folder)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be written ({_reason(error)}); choose another folder with --output"
        ) from error
    return folder


def check_output(path: Path, endings: tuple[str, ...], what: str) -> None:
    """Tries whether a file can be written.

    Args:
        path: the file.
        endings: of its name that are known; none leaves it open.
        what: it is, for the message: "picture".

    Raises:
        UsageError: another ending, a folder of that name, or a place where nothing can be written.
    """
    if endings and path.suffix.lower() not in endings:
        raise UsageError(f"{path}: a {what} ends in {', '.join(endings)}; choose one of them")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file for the {what}")
    try:
        with written_aside(path.with_name(path.name + ".try")) as aside:
            aside.write_bytes(b"")
        path.with_name(path.name + ".try").unlink()
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({_reason(error)}); choose another place") from error


def _reason(error: OSError) -> str:
    """In words that fit: of a folder to be made, "File exists" would say too little."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is where the folder should be"
    return error.strerror or str(error)
