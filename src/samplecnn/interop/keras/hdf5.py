"""The contents of a Keras HDF5 file of unknown origin: arrays and a few texts.

Only the layers' arrays and the attributes named here are read. Links out of a layer, values stored in other files, and
anything larger than the file could hold are refused before they are read. Files of unknown origin are read in a child
process (`sandbox`).
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.errors import SampleCNNError

TASK_ATTRIBUTE = "samplecnn_task"  # our own: class names and the rest of the task, ignored by Keras
BLOCK_ATTRIBUTE = "samplecnn_block"  # our own: the kind of block, which layer names tell of the original's six alone
SIZES_ATTRIBUTE = "samplecnn_sizes"  # our own: pooling and sizes of a network that differs there from the original's
CONFIG_ATTRIBUTE = "model_config"

# Limits on the contents of a file; a SampleCNN of 20 blocks has 300 layers and a model_config of 150,000 characters.
MAX_LAYERS, MAX_WEIGHTS, MAX_TEXT = 1000, 16, 1 << 20
MAX_NESTED_WEIGHTS = 4096  # names of weights that are read of a layer that turns out to be a whole model
VALUES_PER_BYTE = 4  # bytes of values per byte of the file; above 1 only for compressed values

# Weights in Keras 3's own weight files are numbered in this order, by their number in the layer.
VARIABLES = {2: ("kernel", "bias"), 4: ("gamma", "beta", "moving_mean", "moving_variance")}


@dataclass
class Contents:
    """Texts by attribute name, and layer name -> weight name ("kernel") -> values, without empty layers."""

    texts: dict[str, str] = field(default_factory=dict)
    layers: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def shown(name: str) -> str:
    """A name from a file, shortened and printable, for messages."""
    return name[:100] if name.isprintable() else ascii(name)[:100]


def contents(path: Path) -> Contents:
    """Reads a file in this process, which a damaged file can crash; see `sandbox`."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except Exception as error:  # h5py raises many types on a damaged file
        raise SampleCNNError(f"{path}: not a readable HDF5 file ({_reason(error)})") from error
    try:
        with file:
            return _Reader(path).read(file)
    except (SampleCNNError, MemoryError):
        raise
    except Exception as error:
        raise SampleCNNError(f"{path}: damaged, or not a Keras model ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return shown((str(error).splitlines() or [type(error).__name__])[0])


class _Reader:
    """Reads from an open file; `budget` is the number of bytes that further values may take."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.budget = VALUES_PER_BYTE * self.size

    def refuse(self, what: str) -> SampleCNNError:
        return SampleCNNError(f"{self.path}: {what}")

    def read(self, file: Any) -> Contents:
        found = Contents()
        for name in (CONFIG_ATTRIBUTE, TASK_ATTRIBUTE, BLOCK_ATTRIBUTE, SIZES_ATTRIBUTE):
            texts = self.texts(file, name)
            if len(texts) == 1:
                found.texts[name] = texts[0]
        if self.group(file, "layers") is not None and self.group(file, "model_weights") is None:
            pairs = self.keras3_layers(file["layers"])
        else:
            place = self.group(file, "model_weights")
            pairs = self.layers(file if place is None else place)
        for name, datasets in pairs:
            if name in found.layers:
                raise self.refuse(f"layer {shown(name)} is there twice")
            found.layers[name] = {key: self.values(dataset, name, key) for key, dataset in datasets.items()}
        return found

    def child(self, group: Any, name: str, layer: str) -> Any:
        """The member of a group of that name, if it is stored in the group itself."""
        import h5py

        if name in (".", "..", ""):
            raise self.refuse(f"layer {shown(layer)}: {shown(name)!r} is not the name of a weight")
        link = group.get(name, getlink=True)
        if link is None:
            raise self.refuse(f"layer {shown(layer)}: {shown(name)} is missing")
        if not isinstance(link, h5py.HardLink):
            raise self.refuse(f"layer {shown(layer)} is a link; only layers stored in the file itself are read")
        return group[name]

    def group(self, parent: Any, name: str) -> Any:
        import h5py

        if name not in parent:
            return None
        found = self.child(parent, name, name)
        return found if isinstance(found, h5py.Group) else None

    def names(self, group: Any) -> list[str]:
        if len(group) > MAX_LAYERS:
            raise self.refuse(f"{len(group):,} layers; a SampleCNN has fewer than {MAX_LAYERS:,}")
        return [str(name) for name in group]

    def layers(self, place: Any) -> list[tuple[str, dict[str, Any]]]:
        """Layers in Keras 2's layout: a group per layer, whose attribute lists the paths of its weights."""
        import h5py

        found = []
        for layer in self.names(place):
            group = self.child(place, layer, layer)
            if not isinstance(group, h5py.Group):
                continue
            datasets: dict[str, Any] = {}
            names = self.texts(group, "weight_names", MAX_NESTED_WEIGHTS, layer)
            self.check_not_nested(names, layer)
            for name in names:
                stored = group
                for part in name.split("/"):
                    stored = self.child(stored, part, layer)
                key = name.split("/")[-1].split(":")[0]
                if key in datasets:
                    raise self.refuse(f"layer {shown(layer)} has two weights named {shown(key)}")
                datasets[key] = stored
            if datasets:
                found.append((layer, datasets))
        return found

    def check_not_nested(self, names: list[str], layer: str) -> None:
        """Refuses a layer that is a model, as `keras.utils.multi_gpu_model` makes: its weights are of many layers."""
        if len({name.split("/")[0] for name in names}) > 1 and len({name.split("/")[-1] for name in names}) < len(
            names
        ):
            raise self.refuse(
                f"layer {shown(layer)} is a model itself, as in models for several GPUs (multi_gpu_model); save that "
                f"alone, with model.get_layer({shown(layer)!r}).save('NAME.h5')"
            )
        if len(names) > MAX_WEIGHTS:
            raise self.refuse(f"layer {shown(layer)}: weight_names is longer than any of a SampleCNN")

    def keras3_layers(self, place: Any) -> list[tuple[str, dict[str, Any]]]:
        """Layers in Keras 3's `.weights.h5`: numbered values, and the layer's name in an attribute."""
        found = []
        for key in self.names(place):
            holder = self.group(place, key)
            variables = None if holder is None else self.group(holder, "vars")
            if variables is None or len(variables) == 0:
                continue
            layer = self.texts(variables, "name", 1, key)
            if not layer:
                raise self.refuse(
                    f"Keras weights without layer names ({shown(key)}); save the model with model.save('NAME.h5')"
                )
            numbered = [self.child(variables, name, layer[0]) for name in sorted(self.names(variables))]
            if len(numbered) not in VARIABLES:
                raise self.refuse(f"layer {shown(layer[0])} has {len(numbered)} weights; no layer of a SampleCNN does")
            found.append((layer[0], dict(zip(VARIABLES[len(numbered)], numbered, strict=True))))
        return found

    def texts(self, owner: Any, name: str, most: int = 1, layer: str = "") -> list[str]:
        """The texts in an attribute; empty where there is no such attribute."""
        import h5py

        if name not in owner.attrs:
            return []
        where = f"layer {shown(layer)}: {name}" if layer else name
        stored = owner.attrs.get_id(name)
        count = stored.get_space().get_simple_extent_npoints()
        kind = stored.get_type()
        if count == 0:
            return []
        if kind.get_class() != h5py.h5t.STRING:
            raise self.refuse(f"{where} is not text")
        if count > most or (not kind.is_variable_str() and kind.get_size() * count > MAX_TEXT):
            raise self.refuse(f"{where} is longer than any of a SampleCNN")
        value = owner.attrs[name]
        found = [v.decode() if isinstance(v, bytes) else str(v) for v in np.asarray(value, dtype=object).ravel()]
        if sum(map(len, found)) > MAX_TEXT:
            raise self.refuse(f"{where} is longer than any of a SampleCNN")
        return found

    def values(self, dataset: Any, layer: str, name: str) -> np.ndarray:
        """A weight's values as stored, if they are numbers and fit in a file of this size."""
        import h5py

        where = f"{shown(name)} of layer {shown(layer)}"
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise self.refuse(f"{where} is not an array")
        if dataset.external or dataset.is_virtual:
            raise self.refuse(f"{where} is stored in another file; only values in the file itself are read")
        if dataset.dtype.kind != "f" or dataset.dtype.itemsize not in (2, 4, 8):
            raise self.refuse(f"{where} is {dataset.dtype} {list(dataset.shape)}, expected float32")
        wanted, chunk = (math.prod(s or ()) * dataset.dtype.itemsize for s in (dataset.shape, dataset.chunks))
        if max(wanted, chunk) > self.budget:
            raise self.refuse(f"{where} is {list(dataset.shape)}, more than a file of {self.size:,} bytes can hold")
        self.budget -= wanted
        return np.ascontiguousarray(dataset[()])
