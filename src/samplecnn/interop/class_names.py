"""Class names of a converted model: looked up by a preset's name or read from a file, and put in another order."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from samplecnn.errors import UsageError
from samplecnn.interop.presets import PRESETS
from samplecnn.parsing import read_text
from samplecnn.task import Task

SORTED = "sorted"  # the order of classes in folders and manifests
OUTPUT_LAYER = ("logit.weight", "logit.bias")  # [classes, hidden] and [classes]


def class_names(names: str, outputs: int, source: Path) -> tuple[str, ...]:
    """Names of a model's outputs, in order.

    Args:
        names: a name in PRESETS, or a file with one class name per line.
        outputs: number of the model's outputs.
        source: the model's file, for messages.

    Raises:
        UsageError: neither a preset nor a file, a damaged file, or another number of names.
    """
    found = _resolve(names)
    if len(found) != outputs:
        raise UsageError(f"--classes {names}: {len(found)} names, but {source} has {outputs} outputs")
    return found


def reorder(values: dict[str, np.ndarray], task: Task, order: str) -> Task:
    """Puts a model's outputs in another order, in place, and returns the task with its classes in that order.

    Args:
        values: the model's weights by name; those of the output layer are replaced.
        order: "sorted", a name in PRESETS, or a file with one class name per line.

    Raises:
        UsageError: the names differ from the model's.
    """
    classes = task.classes
    wanted = tuple(sorted(classes)) if order == SORTED else _resolve(order)
    if sorted(wanted) != sorted(classes):
        stray = next((name for name in classes if name not in wanted), None) or next(iter(set(wanted) - set(classes)))
        raise UsageError(f"--order {order}: not the classes of the model; {stray!r} is in only one of the two")
    positions = [classes.index(name) for name in wanted]
    for name in OUTPUT_LAYER:
        values[name] = values[name][positions]
    thresholds = None if task.thresholds is None else tuple(task.thresholds[position] for position in positions)
    return replace(task, classes=wanted, thresholds=thresholds)


def abbreviated(classes: tuple[str, ...], count: int = 4) -> str:
    """The first class names and their number, for one line of output."""
    return ", ".join(classes[:count]) + (f", … ({len(classes)})" if len(classes) > count else "")


def _resolve(names: str) -> tuple[str, ...]:
    if names in PRESETS:
        return PRESETS[names].classes
    path = Path(names)
    if not path.is_file():
        raise UsageError(f"{names}: neither a file of class names nor one of {', '.join(PRESETS)}")
    lines = read_text(path, "expected one class name per line", UsageError).splitlines()
    found = tuple(line.strip() for line in lines if line.strip())
    if len(set(found)) < len(found):
        duplicate = next(name for name, times in Counter(found).items() if times > 1)
        raise UsageError(f"{path}: duplicate class name {duplicate!r}; expected one per line, all different")
    return found
