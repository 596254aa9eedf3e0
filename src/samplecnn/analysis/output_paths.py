"""Output paths of analyses, checked for writability before the work begins."""

from pathlib import Path

from samplecnn.errors import UsageError
from samplecnn.model_files import CONFIG
from samplecnn.system.files import written_aside


def run_folder(model: str) -> Path | None:
    """The run directory of a model; None for a model elsewhere."""
    path = Path(model)
    run = path if path.is_dir() else path.parent
    return run if (run / CONFIG).exists() else None


def output_folder(model: str, output: str | None) -> Path:
    """The folder of an analysis: `output`, else `analysis` in the model's run directory, else ./analysis. Creates it.

    Raises:
        UsageError: the folder cannot be written.
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


def check_output(path: Path, suffixes: tuple[str, ...], what: str) -> None:
    """Checks that a file can be written.

    Args:
        path: the file.
        suffixes: allowed suffixes; empty allows any.
        what: the kind of file, for the message: "picture".

    Raises:
        UsageError: another suffix, a folder of that name, or a folder that cannot be written.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: a {what} ends in {', '.join(suffixes)}; choose one of them")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file for the {what}")
    try:
        with written_aside(path.with_name(path.name + ".try")) as aside:
            aside.write_bytes(b"")
        path.with_name(path.name + ".try").unlink()
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({_reason(error)}); choose another path") from error


def _reason(error: OSError) -> str:
    """The reason as a phrase; for a folder to be created, the system's "File exists" would be misleading."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is where the folder should be"
    return error.strerror or str(error)
