"""Optional dependencies: the packages of each extra of samplecnn, and the error for a missing one.

`pip install samplecnn` installs what inference needs; everything here is imported lazily.
"""

from importlib.util import find_spec

from samplecnn.errors import UsageError

# Extra -> {module: name of the package in messages}; messages name the first missing one.
EXTRAS: dict[str, dict[str, str]] = {
    "train": {
        "torch": "PyTorch",
        "sklearn": "scikit-learn",
        "scipy": "SciPy",
        "matplotlib": "Matplotlib",
        "tensorboard": "TensorBoard",
    },
    "fast": {"numba": "Numba"},
    "openvino": {"openvino": "OpenVINO"},
    "onnx": {"onnxruntime": "ONNX Runtime", "onnx": "ONNX"},
    "av": {"av": "PyAV"},
    "mic": {"miniaudio": "miniaudio"},
    "tags": {"mutagen": "mutagen"},
    "serve": {
        "starlette": "Starlette",
        "uvicorn": "uvicorn",
        "wsproto": "wsproto",
        "python_multipart": "python-multipart",
        "prometheus_client": "prometheus-client",
    },
    "hub": {"huggingface_hub": "huggingface_hub"},
    "mqtt": {"paho": "paho-mqtt"},
    "wyoming": {"wyoming": "wyoming"},
    "ray": {"ray": "Ray"},
}


class MissingExtra(UsageError, ImportError):
    """A request that needs a package which is not installed; the message gives the pip command that installs it."""


def missing(extra: str) -> list[str]:
    """Modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if not is_installed(module)]


def is_installed(module: str) -> bool:
    """Whether a top-level module can be found; it is not imported."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # blocked, or partially imported
        return False


def require(feature: str, extra: str) -> None:
    """Checks, before any work is done, that all packages of an extra are installed.

    Args:
        feature: what needs them, with which the message begins: "samplecnn train".
        extra: a name in EXTRAS.

    Raises:
        MissingExtra: with the pip command.
    """
    absent = missing(extra)
    if absent:
        raise missing_extra(feature, absent[0])


def missing_extra(feature: str, module: str) -> MissingExtra:
    """The error for a missing module of an extra.

    Raises:
        KeyError: the module belongs to no extra.

    Example:
        >>> print(missing_extra("samplecnn train", "torch"))
        samplecnn train needs PyTorch: pip install 'samplecnn[train]'
    """
    for extra, modules in EXTRAS.items():
        if module in modules:
            return MissingExtra(f"{feature} needs {modules[module]}: pip install 'samplecnn[{extra}]'")
    raise KeyError(module)


def from_import_error(feature: str, error: ModuleNotFoundError) -> MissingExtra:
    """The error to show for a failed import.

    Raises:
        ModuleNotFoundError: `error` itself, if the module belongs to no extra.
    """
    module = (error.name or "").partition(".")[0]
    if not any(module in modules for modules in EXTRAS.values()) or is_installed(module):
        raise error
    return missing_extra(feature, module)
