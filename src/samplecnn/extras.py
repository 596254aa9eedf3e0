"""Optional dependencies: which packages each extra of samplecnn installs, and the one line that asks for a missing one.

`pip install samplecnn` brings what uses models; everything here is imported only where it is needed.
"""

from importlib.util import find_spec

from samplecnn.errors import UsageError

# Extra -> {module: name of the package as users know it}; the first is the one that messages name.
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
}


class MissingExtra(UsageError, ImportError):
    """A request that needs a package which is not installed; the message is the pip line that installs it."""


def missing(extra: str) -> list[str]:
    """Modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if not is_installed(module)]


def is_installed(module: str) -> bool:
    """Whether a top-level module can be found; it is not imported."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # blocked, or half imported
        return False


def require(who: str, extra: str) -> None:
    """Refuses a request before any work is done if a package of the extra is not installed.

    Args:
        who: what needs it, the first word of the message: "samplecnn train".
        extra: a name in EXTRAS.

    Raises:
        MissingExtra: with the pip line.
    """
    absent = missing(extra)
    if absent:
        raise needed(who, absent[0])


def needed(who: str, module: str) -> MissingExtra:
    """The error for a missing module of an extra.

    Raises:
        KeyError: the module belongs to no extra.

    Example:
        >>> print(needed("samplecnn train", "torch"))
        samplecnn train needs PyTorch: pip install 'samplecnn[train]'
    """
    for extra, modules in EXTRAS.items():
        if module in modules:
            return MissingExtra(f"{who} needs {modules[module]}: pip install 'samplecnn[{extra}]'")
    raise KeyError(module)


def explained(who: str, error: ModuleNotFoundError) -> MissingExtra:
    """The error to show for an import that failed.

    Raises:
        ModuleNotFoundError: `error` itself, where the module is of no extra.
    """
    module = (error.name or "").partition(".")[0]
    if not any(module in modules for modules in EXTRAS.values()) or is_installed(module):
        raise error
    return needed(who, module)
