"""`samplecnn convert`: models of other programs, and old files, into a folder that every command accepts."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn import model_files
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.extras import require
from samplecnn.interop.class_names import abbreviated, class_names, reorder
from samplecnn.interop.presets import PRESETS
from samplecnn.models.config import ModelConfig
from samplecnn.models.spec import network_spec
from samplecnn.models.stored import StoredModel, values_of
from samplecnn.task import Kind, Task
from samplecnn.zoo.packaged import resolved

if TYPE_CHECKING:
    from samplecnn.interop.third_party.weights import ThirdPartyModel
    from samplecnn.models import SampleCNN

KERAS_SUFFIXES = (".h5", ".hdf5", ".keras_h5")
UNTRAINED = ("untrained",)  # the class of an encoder without an output layer
TASK_FIELDS = (
    "name",
    "kind",
    "sample_rate",
    "window",
    "mean",
    "std",
)  # fields of ConvertOptions that override the task's


@dataclass(frozen=True)
class ConvertOptions:
    """Values that a model file lacks, or that override it; None keeps the file's value.

    Args:
        classes: a name in PRESETS, or a file with one class name per line, in the order of the outputs.
        order: the order of the outputs after the conversion: "sorted", or as `classes`.
        name: the task's name.
        kind: "multilabel" (sigmoid) or "multiclass" (softmax).
        sample_rate: Hz.
        window: samples of a segment.
        mean, std: statistics of the training set's waveforms; the model's input is (wave - mean) / std.
    """

    classes: str | None = None
    order: str | None = None
    name: str | None = None
    kind: Kind | None = None
    sample_rate: int | None = None
    window: int | None = None
    mean: float | None = None
    std: float | None = None

    def applied_to(self, task: Task, source: Path) -> Task:
        """The task with the given values. Raises UsageError if they are inconsistent."""
        changes: dict[str, Any] = {
            name: value for name in TASK_FIELDS if (value := getattr(self, name)) is not None
        }  # fmt: skip
        rate, window = changes.get("sample_rate", task.sample_rate), changes.get("window", task.window)
        if task.clip_seconds is not None and task.clip_seconds * rate < window:
            changes["clip_seconds"] = None  # clips shorter than a window: use whole recordings
        try:
            return replace(task, **changes)
        except SampleCNNError as error:
            raise UsageError(f"{source}: {error}") from error


@dataclass(frozen=True)
class Conversion:
    """A converted model, written to `out`, and the lines to print about it."""

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
    options: ConvertOptions | None = None,
    head: str | Path | None = None,
    encoder_only: bool = False,
) -> Conversion:
    """Reads a model in any known format and writes it as a model folder or as an .h5 of the original.

    Args:
        source: a PyTorch checkpoint of a program in `third_party.READERS`, or any argument of `samplecnn.load`.
        out: a new folder (model.safetensors, config.json), or a file that ends in .h5.
        options: values that the file lacks, or that override it.
        head: the checkpoint of the output layer, if that is a separate file.
        encoder_only: accepts an encoder without an output layer, for training to start from.

    Raises:
        UsageError: an unknown format, a missing option, or `out` exists.
        SampleCNNError: a damaged file, or a value of a wrong shape; the message names it.
    """
    source, out, options = resolved(source), Path(out), options or ConvertOptions()
    _check_free(out)
    if _is_samplecnn(source):
        if head is not None or encoder_only:
            raise UsageError(f"{source}: a whole model; --head and --encoder-only are for encoders")
        stored, lines = _read_samplecnn(source, options)
    else:
        stored, lines = _read_third_party(source, options, head, encoder_only)
    values, config, task = dict(stored.values), stored.config, stored.task
    if task.window < network_spec(config).min_samples:
        raise UsageError(f"--window {task.window}: {source} needs {network_spec(config).min_samples} samples or more")
    lines.append(
        f"audio: {task.sample_rate:,} Hz, windows of {task.window:,} samples "
        f"({task.window / task.sample_rate:.2f} s), mean {task.mean:g}, std {task.std:g}; {task.activation}"
    )
    if options.order is not None:
        task = reorder(values, task, options.order)
        lines.append(f"order: the outputs are now in the order of {options.order}: {abbreviated(task.classes)}")
    stored = StoredModel(values, config, task)
    _write(stored, out)
    lines += [f"written: {out}", f"next: {_next_command(out, task)}"]
    return Conversion(stored, out, tuple(lines))


def _check_free(out: Path) -> None:
    """Refuses to overwrite anything."""
    if not out.is_dir():
        taken = out.exists()
    else:
        taken = out.suffix in KERAS_SUFFIXES or any(
            (out / name).exists() for name in (model_files.WEIGHTS, model_files.CONFIG)
        )
    if taken:
        raise UsageError(f"{out}: exists already; choose another name for the converted model")


def _is_samplecnn(source: Path) -> bool:
    """Whether `samplecnn.load` can read it."""
    has_config = source.suffix == ".safetensors" and source.with_name(model_files.CONFIG).exists()
    return source.is_dir() or has_config or model_files.is_keras(source)


def _read_samplecnn(source: Path, options: ConvertOptions) -> tuple[StoredModel, list[str]]:
    stored = model_files.load_stored(source)
    task = options.applied_to(stored.task, source)
    if options.classes is not None:
        task = replace(task, classes=class_names(options.classes, task.num_classes, source))
    lines = [f"recognised: {_summary(stored.config)}", f"classes: {abbreviated(task.classes)}"]
    return replace(stored, task=task), lines


def _read_third_party(
    source: Path, options: ConvertOptions, head: str | Path | None, encoder_only: bool
) -> tuple[StoredModel, list[str]]:
    require(f"samplecnn convert {source}", "train")
    from samplecnn.interop.third_party import recognise
    from samplecnn.interop.third_party.checkpoint import read
    from samplecnn.interop.third_party.weights import EPSILON

    found = recognise(read(source), None if head is None else read(head), encoder_only)
    config = found.model.config
    lines = [f"recognised: {found.title}, {_summary(config)}"]
    if found.trained:
        task, line = _trained_task(found, options, source)
    else:
        if options.classes is not None or options.order is not None:
            raise UsageError(f"{source}: --encoder-only has no classes; omit --classes and --order")
        task = _new_task(found, options.name or "encoder", UNTRAINED, "multilabel")
        line = "classes: none; the one output is untrained and gives 0.5 for any input"
    lines += [line, f"folded: batch-norm epsilon {EPSILON:g} into the weights of {found.folded} layers"]
    return StoredModel(values_of(found.model), config, options.applied_to(task, source)), lines


def _trained_task(found: "ThirdPartyModel", options: ConvertOptions, source: Path) -> tuple[Task, str]:
    """The task of another program's model, and the line on the source of its classes."""
    outputs = found.model.config.num_classes
    if options.classes is not None:
        chosen, reason = options.classes, "as given"
    elif found.classes and len(PRESETS[found.classes[0]].classes) == outputs:
        chosen, reason = found.classes
    else:
        presets = ", ".join(name for name, preset in PRESETS.items() if len(preset.classes) == outputs)
        raise UsageError(
            f"{source}: the file does not name its {outputs} classes; pass --classes with "
            f"{f'one of {presets}, or ' if presets else ''}a file of {outputs} names, one per line"
        )
    classes = class_names(chosen, outputs, source)
    preset = PRESETS.get(chosen)
    kind = options.kind or found.kind or (preset.kind if preset else None)
    if kind is None:
        raise UsageError(
            f"{source}: the file does not specify the kind of its outputs; pass --kind multilabel (sigmoid, any "
            "number of classes at once) or --kind multiclass (softmax, exactly one)"
        )
    name = options.name or (chosen if preset else Path(chosen).stem)
    task = _new_task(found, name, classes, kind, preset.clip_seconds if preset else None)
    return task, f"classes: {chosen} ({reason}): {abbreviated(classes)}"


def _new_task(
    found: "ThirdPartyModel", name: str, classes: tuple[str, ...], kind: Kind, clip_seconds: float | None = None
) -> Task:
    """A task whose window is the length at which a single frame is left after the last block."""
    window = 3 ** (found.model.config.num_blocks + 1)
    return Task(name, classes, kind, found.sample_rate, window, clip_seconds)


def _write(stored: StoredModel, out: Path) -> None:
    if out.suffix in KERAS_SUFFIXES:
        from samplecnn.interop.keras import h5

        h5.write(stored, out)
    else:
        model_files.save(stored, out)


def _summary(config: ModelConfig) -> str:
    return f"{config.signature}, {config.num_blocks} blocks, {config.features} features, {config.num_classes} outputs"


def _next_command(out: Path, task: Task) -> str:
    if task.classes == UNTRAINED:
        return f"samplecnn train DATASET --block basic --init-from {out}"
    return f"samplecnn tag {out} RECORDING"
