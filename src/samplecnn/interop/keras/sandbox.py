"""Reading an HDF5 file in a process of its own, with a bound on memory and time.

The HDF5 library is not safe against damaged files: single flipped bits make it crash or ask for gigabytes. A child
process reads the file and sends its contents through a pipe; whatever becomes of the child is one error here.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.errors import SampleCNNError
from samplecnn.interop.keras.hdf5 import VALUES_PER_BYTE, Contents, contents, shown

SIGNATURE, ZIP_SIGNATURE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
FREE_MEMORY = 32 << 20  # bytes the child may use beside the values
CPU_SECONDS = 10  # for what takes milliseconds; damaged files can send the library round in circles
SECONDS, BYTES_PER_SECOND = 60.0, 2e6  # by the clock: so much, and more for large files on slow disks

CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from samplecnn.interop.keras.sandbox import answer; answer(sys.argv[1])"
)


def read(path: Path) -> Contents:
    """Reads a file in a child process.

    Raises:
        OSError: the file is missing or may not be read.
        SampleCNNError: not an HDF5 file of Keras, damaged, or asking for more than its size can justify.
    """
    with path.open("rb") as file:
        signature, size = file.read(len(SIGNATURE)), path.stat().st_size
    if signature.startswith(ZIP_SIGNATURE):
        raise SampleCNNError(f"{path}: a Keras 3 archive (zip); save the model with model.save('NAME.h5') instead")
    if signature != SIGNATURE:
        raise SampleCNNError(f"{path}: not an HDF5 file; copy it again from where the model came")
    import_paths = json.dumps([entry or str(Path.cwd()) for entry in sys.path])
    # No plug-ins: an unknown compression in the file must not make the library load code from a folder.
    environment = {**os.environ, "HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-c", CHILD, str(path.absolute()), import_paths]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            timeout=SECONDS + size / BYTES_PER_SECOND,
        )
    except subprocess.TimeoutExpired as error:
        raise SampleCNNError(f"{path}: damaged, reading it does not end; copy it again") from error
    if done.returncode < 0 and -done.returncode == getattr(signal, "SIGXCPU", None):  # Windows has no such signal
        raise SampleCNNError(f"{path}: damaged, reading it does not end; copy it again")
    if done.returncode > 0:  # the child could not even start
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise SampleCNNError(f"{path}: cannot be read, Python failed to start for it ({shown(reason)})")
    try:
        return _unpack(done.stdout, path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SampleCNNError(f"{path}: damaged, the HDF5 library crashes on it; copy it again") from error


def answer(path: str) -> None:
    """The child's work: the contents of the file, or the error, to standard output."""
    arrays: list[np.ndarray] = []
    try:
        import h5py  # noqa: F401  before the limit, which is counted from here on

        limit(FREE_MEMORY + 2 * VALUES_PER_BYTE * Path(path).stat().st_size, CPU_SECONDS)
        found = contents(Path(path))
        layers = {}
        for layer, weights in found.layers.items():
            layers[layer] = {name: [array.dtype.str, array.shape] for name, array in weights.items()}
            arrays += weights.values()
        header: dict[str, Any] = {"texts": found.texts, "layers": layers}
    except SampleCNNError as error:
        header = {"error": str(error)}
    except MemoryError:
        header = {"error": f"{path}: damaged, it asks for more memory than a file of its size can need"}
    head = json.dumps(header).encode()
    out = sys.stdout.buffer
    out.write(len(head).to_bytes(8, "little") + head)
    for array in arrays:
        out.write(array.data)
    out.flush()


def _unpack(answer: bytes, path: Path) -> Contents:
    length = int.from_bytes(answer[:8], "little")
    header = json.loads(answer[8 : 8 + length])
    if "error" in header:
        raise SampleCNNError(header["error"])
    found, at = Contents(dict(header["texts"])), 8 + length
    for layer, weights in header["layers"].items():
        found.layers[layer] = {}
        for name, (dtype, shape) in weights.items():
            count = math.prod(shape)
            array = np.frombuffer(answer, dtype, count, at).reshape(shape)
            found.layers[layer][name] = array
            at += array.nbytes
    return found


def limit(memory: int, cpu_seconds: int) -> None:
    """Bounds this process to so many bytes and seconds of work above what it has taken, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _lower(resource, resource.RLIMIT_CPU, math.ceil(time.process_time()) + cpu_seconds)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _lower(resource, resource.RLIMIT_AS, taken + memory)


def _lower(resource: Any, what: int, limit: int) -> None:
    hard = resource.getrlimit(what)[1]
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(what, (limit, hard))
