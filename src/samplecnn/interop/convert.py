"""Models of other programs, and old files, into a folder that everything here takes: `samplecnn convert`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn import model_files
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.extras import require
from samplecnn.interop.third_party.tags import PRESETS
from samplecnn.models.config import ModelConfig
from samplecnn.models.stored import StoredModel, values_of
from samplecnn.task import Kind, Task

if TYPE_CHECKING:
    from samplecnn.interop.third_party.weights import Peer
    from samplecnn.models import SampleCNN

KERAS = (".h5", ".hdf5", ".keras_h5")
UNTRAINED = ("untrained",)  # the one class of an encoder that nobody gave a last layer


@dataclass(frozen=True)
class Told:
    """What the user says of a model; None leaves what the file tells.

    Args:
        classes: a name in PRESETS, or a file with one class name a line, in the order of the outputs.
        order: the order the outputs shall have afterwards: "sorted", or as `classes`.
        name: of the task.
        kind: "multilabel" (sigmoid) or "multiclass" (softmax).
        sample_rate: Hz.
        window: samples of a segment.
        mean, std: of the waveforms it was trained on; it sees (wave - mean) / std.
    """

    classes: str | None = None
    order: str | None = None
    name: str | None = None
    kind: Kind | None = None
    sample_rate: int | None = None
    window: int | None = None
    mean: float | None = None
    std: float | None = None


@dataclass(frozen=True)
class Conversion:
    """A model as it was written, and what to say about it, line by line."""

    stored: StoredModel
    out: Path
    lines: tuple[str, ...]

    @property
    def model(self) -> "SampleCNN":
        """The PyTorch module."""
        return self.stored.module()


def convert(
    source: str | Path,
    out: str | Path,
    told: Told | None = None,
    head: str | Path | None = None,
    encoder_only: bool = False,
) -> Conversion:
    """Reads a model in any format we know and writes it in ours.

    Args:
        source: a PyTorch checkpoint of a program in `peers.PEERS`, or whatever `samplecnn.load` takes.
        out: a new folder (model.safetensors, config.json), or a file that ends in .h5.
        told: what the file does not tell, or tells wrongly.
        head: the checkpoint of the last layer, where that is a file of its own.
        encoder_only: takes an encoder without a last layer, as a body to train on.

    Raises:
        UsageError: nothing that can be converted, something that must be told, or `out` is taken.
        SampleCNNError: a damaged file, or a value that does not fit, named.
    """
    source, out, told = Path(source), Path(out), told or Told()
    _check_free(out)
    if _is_ours(source):
        if head is not None or encoder_only:
            raise UsageError(f"{source}: a whole model; --head and --encoder-only are for encoders")
        stored = model_files.load_stored(source)
        values, config = dict(stored.values), stored.config
        task = _retold(stored.task, told, source)
        if told.classes is not None:
            task = replace(task, classes=_class_names(told.classes, task.num_classes, source))
        said = [f"recognised: {_described(config)}", f"classes: {_some(task.classes)}"]
    else:
        require(f"samplecnn convert {source}", "train")
        from samplecnn.interop.third_party import recognise
        from samplecnn.interop.third_party.checkpoint import read as read_checkpoint

        peer = recognise(read_checkpoint(source), None if head is None else read_checkpoint(head), encoder_only)
        task, said = _peer_task(peer, told, source)
        values, config = values_of(peer.model), peer.model.config
    if task.window < config.min_samples:
        raise UsageError(f"--window {task.window}: {source} needs {config.min_samples} samples or more")
    said.append(
        f"sound: {task.sample_rate:,} Hz, windows of {task.window:,} samples "
        f"({task.window / task.sample_rate:.2f} s), mean {task.mean:g}, std {task.std:g}; {task.activation}"
    )
    if told.order is not None:
        task = _rearranged(values, task, told.order)
        said.append(f"order: the outputs now stand in that of {told.order}: {_some(task.classes)}")
    stored = StoredModel(values, config, task)
    _write(stored, out)
    said.append(f"written: {out}")
    said.append(f"next: {_next(out, task)}")
    return Conversion(stored, out, tuple(said))


def _is_ours(source: Path) -> bool:
    beside = source.suffix == ".safetensors" and source.with_name(model_files.CONFIG).exists()
    return source.is_dir() or beside or model_files.is_keras(source)


def _check_free(out: Path) -> None:
    """Nothing is overwritten: a conversion is done once, and what stands in its way may be worth more."""
    taken = (
        out.exists()
        if not out.is_dir()
        else (out / model_files.WEIGHTS).exists() or (out / model_files.CONFIG).exists()
    )
    if taken or (out.suffix in KERAS and out.is_dir()):
        raise UsageError(f"{out}: is there already; choose another place for the converted model")


def _peer_task(peer: "Peer", told: Told, source: Path) -> tuple[Task, list[str]]:
    """The task of another program's model, and what was recognised, line by line."""
    from samplecnn.interop.third_party.weights import EPSILON

    config = peer.model.config
    outputs = config.num_classes
    said = [f"recognised: {peer.title}, {_described(config)}"]
    kind: Kind | None = told.kind or peer.kind
    classes: tuple[str, ...]
    clip_seconds = None
    if not peer.trained:
        if told.classes is not None or told.order is not None:
            raise UsageError(f"{source}: --encoder-only has no classes; leave --classes and --order out")
        classes, name, kind = UNTRAINED, told.name or "encoder", "multilabel"
        said.append("classes: none; its one output is untrained and says 0.5 to everything")
    else:
        known = peer.classes if peer.classes and len(PRESETS[peer.classes[0]].classes) == outputs else (None, "")
        chosen, why = known if told.classes is None else (told.classes, "as told")
        if chosen is None:
            presets = ", ".join(name for name, preset in PRESETS.items() if len(preset.classes) == outputs)
            raise UsageError(
                f"{source}: the file does not tell its {outputs} classes; pass --classes with "
                f"{f'one of {presets}, or ' if presets else ''}a file of {outputs} names, one a line"
            )
        classes = _class_names(chosen, outputs, source)
        name = told.name or (chosen if chosen in PRESETS else Path(chosen).stem)
        if chosen in PRESETS:
            clip_seconds, kind = PRESETS[chosen].clip_seconds, kind or PRESETS[chosen].kind
        if kind is None:
            raise UsageError(
                f"{source}: the file does not tell how its outputs are read; pass --kind multilabel (sigmoid, any "
                "number of classes at once) or --kind multiclass (softmax, exactly one)"
            )
        said.append(f"classes: {chosen} ({why}): {_some(classes)}")
    window = 3 ** (config.num_blocks + 1)  # the length at which a single step of time is left
    task = Task(name, classes, kind, peer.sample_rate, window, clip_seconds)
    said.append(f"folded: batch-norm epsilon {EPSILON:g} into the weights of {peer.folded} layers")
    return _retold(task, told, source), said


def _retold(task: Task, told: Told, source: Path) -> Task:
    """A task with what the user says of its name and its sound in the place of what the file does."""
    changes: dict[str, Any] = {
        key: value
        for key in ("name", "kind", "sample_rate", "window", "mean", "std")
        if (value := getattr(told, key)) is not None
    }
    rate, window = changes.get("sample_rate", task.sample_rate), changes.get("window", task.window)
    if task.clip_seconds is not None and task.clip_seconds * rate < window:
        changes["clip_seconds"] = None  # the file's clips, or a guess, do not hold for what was told: all is used
    try:
        return replace(task, **changes)
    except SampleCNNError as error:
        raise UsageError(f"{source}: {error}") from error


def _class_names(told: str, outputs: int, source: Path) -> tuple[str, ...]:
    """Names of a model's outputs, in order: a preset's, or a file's."""
    names = _names_of(told)
    if len(names) != outputs:
        raise UsageError(f"--classes {told}: {len(names)} names, but {source} has {outputs} outputs")
    return names


def _names_of(told: str) -> tuple[str, ...]:
    if told in PRESETS:
        return PRESETS[told].classes
    path = Path(told)
    if not path.is_file():
        raise UsageError(f"{told}: neither a file of class names nor one of {', '.join(PRESETS)}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text in UTF-8; expected one class name a line") from error
    names = tuple(line.strip() for line in lines if line.strip())
    double = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if double is not None:
        raise UsageError(f"{path}: {double!r} is there twice; expected one class name a line, all different")
    return names


def _rearranged(values: dict[str, np.ndarray], task: Task, order: str) -> Task:
    """Brings a model's outputs into another order, so that it fits a data set with that one; returns its task then."""
    classes = task.classes
    wanted = tuple(sorted(classes)) if order == "sorted" else _names_of(order)
    if sorted(wanted) != sorted(classes):
        stray = next((name for name in classes if name not in wanted), None) or next(iter(set(wanted) - set(classes)))
        raise UsageError(f"--order {order}: the classes are not the model's; {stray!r} is only on one side")
    places = [classes.index(name) for name in wanted]
    for name in ("logit.weight", "logit.bias"):
        values[name] = values[name][places]
    return replace(task, classes=wanted)


def _write(stored: StoredModel, out: Path) -> None:
    if out.suffix not in KERAS:
        model_files.save(stored, out)
        return
    from samplecnn.interop.keras import h5

    h5.write(stored, out)


def _described(config: ModelConfig) -> str:
    return f"{config.signature}, {config.num_blocks} blocks, {config.features} features, {config.num_classes} outputs"


def _some(classes: tuple[str, ...], most: int = 4) -> str:
    return ", ".join(classes[:most]) + (f", … ({len(classes)})" if len(classes) > most else "")


def _next(out: Path, task: Task) -> str:
    if task.classes == UNTRAINED:
        return f"samplecnn train DATASET --block basic --init-from {out}"
    return f"samplecnn tag {out} RECORDING"
