"""Models for other programs: a format is a function (model, path) and a line in FORMATS."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samplecnn.errors import UsageError

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.models.stored import StoredModel

    Model = SampleCNN | StoredModel


@dataclass(frozen=True)
class Format:
    """A format that models can be written in.

    Args:
        write: writes a model to a path, whole or not at all.
        endings: of file names, one of which the programs that read the format go by.
        opened_with: how the result is opened there, for the last line of the command.
    """

    write: Callable[["Model", Path], None]
    endings: tuple[str, ...]
    opened_with: str


def _keras_h5(model: "Model", path: Path) -> None:
    from samplecnn.interop.keras import h5

    h5.write(model, path)


FORMATS = {
    "keras-h5": Format(_keras_h5, (".h5", ".hdf5"), "tf.keras.models.load_model({path!r}), and the original's eval.py"),
}


def export(model: "Model", path: str | Path, to: str) -> None:
    """Writes a model in another program's format.

    Args:
        model: as `samplecnn.load` gives it, or `model_files.load_stored`.
        path: the file to write; it appears when it is whole.
        to: a name in FORMATS.

    Raises:
        UsageError: there is no such format, the name ends otherwise, or the format cannot express the model.
    """
    path = Path(path)
    check(path, to)
    FORMATS[to].write(model, path)


def check(path: Path, to: str) -> None:
    """Refuses what cannot be written, before a model is loaded for it."""
    if to not in FORMATS:
        raise UsageError(f"--to {to}: choose one of {', '.join(FORMATS)}")
    if path.is_dir():
        raise UsageError(f"{path}: a folder; give the name of the file to write")
    if path.suffix not in FORMATS[to].endings:
        raise UsageError(f"{path}: a name for {to} ends in {' or '.join(FORMATS[to].endings)}; readers go by it")
