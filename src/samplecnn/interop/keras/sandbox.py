"""Reads an HDF5 file in a child process with limits on memory and time.

The HDF5 library is not safe against damaged files: single flipped bits make it crash or request gigabytes. A child
process reads the file and sends its contents through a pipe; any failure of the child becomes a single error.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from samplecnn.errors import SampleCNNError
from samplecnn.interop.keras.hdf5 import VALUES_PER_BYTE, Contents, contents, shown
from samplecnn.system.limits import Limits
from samplecnn.system.workers import Worker, WorkerDied

SIGNATURE, ZIP_SIGNATURE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
FREE_MEMORY = 32 << 20  # bytes that the child may use in addition to the values
CPU_SECONDS = 10  # limit for work of milliseconds; a damaged file can make the library loop
SECONDS, BYTES_PER_SECOND = 60.0, 2e6  # wall-clock limit, extended for large files on slow disks

CHILD = "samplecnn.interop.keras.sandbox:answer"


def read(path: Path) -> Contents:
    """Reads a file in a child process.

    Raises:
        OSError: the file is missing or may not be read.
        SampleCNNError: not an HDF5 file of Keras, damaged, or implausibly large for its size.
    """
    with path.open("rb") as file:
        signature, size = file.read(len(SIGNATURE)), path.stat().st_size
    if signature.startswith(ZIP_SIGNATURE):
        raise SampleCNNError(f"{path}: a Keras 3 archive (zip); save the model with model.save('NAME.h5') instead")
    if signature != SIGNATURE:
        raise SampleCNNError(f"{path}: not an HDF5 file; copy it again from its source")
    limits = Limits(FREE_MEMORY + 2 * VALUES_PER_BYTE * size, CPU_SECONDS, SECONDS + size / BYTES_PER_SECOND)
    # No plug-ins: an unknown compression in the file must not make the library load code from a folder.
    environment = {"HDF5_PLUGIN_PRELOAD": "::"}
    found = Contents({})
    try:
        with Worker(CHILD, preload=("h5py",), limits=limits, environment=environment) as worker:
            for value, data in worker.ask(str(path.absolute())):
                if "texts" in value:
                    found.texts.update(value["texts"])
                    found.layers.update({layer: {} for layer in value["layers"]})
                else:
                    array = np.frombuffer(data, value["dtype"]).reshape(value["shape"])
                    found.layers[value["layer"]][value["name"]] = array
    except WorkerDied as death:
        if death.out_of_time:
            raise SampleCNNError(f"{path}: damaged, reading it does not end; copy it again") from death
        if death.status > 0:  # the child could not start
            reason = shown(death.last_words or "no reason given")
            raise SampleCNNError(f"{path}: cannot be read, Python failed to start for it ({reason})") from death
        raise SampleCNNError(f"{path}: damaged, the HDF5 library crashes on it; copy it again") from death
    except MemoryError as error:
        raise SampleCNNError(f"{path}: damaged, it needs more memory than a file of its size can") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SampleCNNError(f"{path}: damaged, the HDF5 library crashes on it; copy it again") from error
    return found


def answer(path: str, data: bytes, reply: Callable[..., None]) -> None:
    """The child's task: sends the texts and the names of the layers, then each array separately."""
    found = contents(Path(path))
    reply({"texts": found.texts, "layers": list(found.layers)})
    for layer, weights in found.layers.items():
        for name, array in weights.items():
            reply({"layer": layer, "name": name, "dtype": array.dtype.str, "shape": array.shape}, array.data)
