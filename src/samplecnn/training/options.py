"""All settings of a training run; those of the original keep its defaults, and docs/migrating.md lists exceptions."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from samplecnn.errors import OptionError, SampleCNNError
from samplecnn.hardware import PRECISIONS as COMPUTABLE
from samplecnn.models import BLOCKS
from samplecnn.models.config import MAX_FEATURES, ModelConfig
from samplecnn.parsing import shown
from samplecnn.system.arguments import suggestion, type_problem
from samplecnn.training.recipes import FIELDS, MIXINGS, OPTIMIZERS, PLANNED, SCHEDULES, Recipe, plan, values_of

PRECISIONS = ("auto", *COMPUTABLE)  # values of --precision in training
LARGEST = {
    "batch_size": 1 << 20,
    "passes": 1 << 20,
    "num_readers": 1024,
    "features": MAX_FEATURES,
    "reverb": 10,
}  # upper bounds of options that cost memory or threads

# Options passed unchanged to the network (`models.fitting.config_for_window`).
ARCHITECTURE = (
    "multi", "features", "amplifying_ratio", "dropout", "pool_size", "filter_size", "first_size", "pooling", "frontend",
    "mels",
)  # fmt: skip
# Options that have an effect on a new output layer (--head-only); all others decide how a network is trained.
OF_HEAD = (
    "dataset", "name", "data_dir", "log_dir", "batch_size", "num_readers", "skip_corrupt", "device", "seed",
    "init_from", "freeze", "depth_rate", "head_only", "fold", "baseline",
)  # fmt: skip
NAMED = ("recipe", "block", *ARCHITECTURE, *FIELDS)  # None in `train`, unless they are given


@dataclass(frozen=True)
class TrainOptions(Recipe):
    """All settings of a run: the fields of the recipe and the other arguments of `train`, which describes them.

    Raises:
        OptionError: a value outside its range.
    """

    dataset: str
    name: str | None = None
    recipe: str = "original"
    data_dir: str = "./data"
    log_dir: str = "./log"
    block: str = "se"
    amplifying_ratio: float = 0.125
    pool_size: int | None = None
    filter_size: int | None = None
    first_size: int | None = None
    pooling: str = "max"
    frontend: str = "waveform"
    mels: int | None = None
    num_readers: int = 8
    skip_corrupt: bool = False
    precision: str = "auto"
    device: str = "auto"
    compile: bool = False
    seed: int = 0
    init_from: str | None = None
    freeze: int | str = 0
    depth_rate: float = 1.0
    head_only: bool = False
    fold: str | None = None
    baseline: bool = True

    def __post_init__(self) -> None:
        for name in ("data_dir", "log_dir", "init_from", "background"):  # as text: checkpoints are plain data
            if getattr(self, name) is not None:
                object.__setattr__(self, name, str(getattr(self, name)))
        for name in ("batch_size", "num_stages", "num_readers", "features", "max_epochs", "passes"):
            if getattr(self, name) < 1:
                raise OptionError(name, f"must be at least 1, not {getattr(self, name)}")
        for name, most in LARGEST.items():
            if getattr(self, name) > most:
                raise OptionError(name, f"must be at most {most:,}, not {getattr(self, name)}")
        for name in ("lr", "lr_decay"):
            if not 0 < getattr(self, name) < float("inf"):
                raise OptionError(name, f"must be above 0, not {getattr(self, name):g}")
        for name in ("momentum", "dropout", "label_smoothing", "mask"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(name, f"must be at least 0 and below 1, not {getattr(self, name):g}")
        for name in ("crop", "shift", "speed", "noise", "mixing_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(name, f"must be from 0 to 1, not {getattr(self, name):g}")
        if not 0 < self.norm_update <= 1:
            raise OptionError("norm_update", f"must be above 0 and at most 1, not {self.norm_update:g}")
        for name in ("warmup", "patience", "norm_estimate"):
            if getattr(self, name) < 0:
                raise OptionError(name, f"must be 0 or more, not {getattr(self, name)}")
        for name in ("weight_decay", "average", "gain", "filter", "reverb"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise OptionError(name, f"must be 0 or more, not {getattr(self, name):g}")
        if not 0 <= self.seed < 2**63:
            raise OptionError("seed", f"must be 0 or a positive number, not {self.seed}")
        values_of(self.recipe)
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("mixing", MIXINGS)):
            if getattr(self, name) not in known:
                raise OptionError(name, f"{getattr(self, name)!r} is unknown{suggestion(getattr(self, name), known)}")
        if self.block not in BLOCKS:  # the blocks of converted models have no names in the original's .h5
            raise OptionError("block", f"{self.block!r} cannot be trained{suggestion(self.block, BLOCKS)}")
        if self.precision not in PRECISIONS:
            raise OptionError("precision", f"{self.precision!r} is unknown{suggestion(self.precision, PRECISIONS)}")
        if isinstance(self.freeze, str) and self.freeze.isdecimal():
            object.__setattr__(self, "freeze", int(self.freeze))
        if self.freeze != "all" and (isinstance(self.freeze, str) or self.freeze < 0):
            raise OptionError("freeze", f"must be a number of blocks or all, not {self.freeze}")
        if not 0 < self.depth_rate <= 1:
            raise OptionError("depth_rate", f"must be above 0 and at most 1, not {self.depth_rate:g}")
        self._check_transfer()
        if self.fold is not None:
            from samplecnn.shards.folds import check_fold  # late: it imports all that reads shards

            check_fold(self.fold)
        if self.name is not None and ("/" in self.name or "\\" in self.name or self.name in ("", ".", "..")):
            raise OptionError("name", f"{self.name!r} must be a plain word: it becomes part of a folder's name", True)

    def _check_transfer(self) -> None:
        for name in ("head_only", "freeze", "depth_rate"):
            if getattr(self, name) == getattr(TrainOptions, name):
                continue
            if self.init_from is None:
                raise OptionError(name, "needs a trained network: name one with --init-from")
            if self.head_only and name != "head_only":
                raise not_of_head(name)
        if self.freeze == "all" and self.depth_rate != 1:
            raise OptionError("depth_rate", "does not apply to --freeze all, which leaves the classifier to train")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainOptions":
        """The inverse of `to_dict`; absent keys, of options that an earlier version did not have, have their defaults.

        Raises:
            SampleCNNError: an option that this version does not have, or a value that it cannot have.
        """
        types = get_type_hints(cls)
        if "dataset" not in values:
            raise SampleCNNError("dataset is missing")
        for name, value in values.items():
            if name not in types:
                raise SampleCNNError(f"this version has no option {shown(name)}")
            problem = type_problem(value, types[name])
            if problem:
                raise SampleCNNError(f"{name} must be {problem}, not {shown(value)}")
        return cls(**values)

    @property
    def augments(self) -> bool:
        """Whether training segments are augmented."""
        changed = ("crop", "shift", "speed", "gain", "polarity", "filter", "noise", "reverb", "background", "mask")
        return any(getattr(self, name) for name in changed) or self.mixing != "none"


def default_recipe(dataset: str) -> str:
    """The recipe used for a data set if none is given: `original` for the original's data sets and files."""
    from samplecnn.datasets.published import PUBLISHED
    from samplecnn.shards import holds_tfrecords

    return "original" if dataset in PUBLISHED or holds_tfrecords(dataset) else "modern"


def not_of_head(name: str) -> OptionError:
    """The error of an option that has no effect on --head-only."""
    return OptionError(name, "does not apply to --head-only, which trains the output layer alone")


def architecture_of(source: str | Path) -> dict[str, Any]:
    """The options of the network of --init-from, which a run has unless others are given.

    Raises:
        UsageError: there is no such model.
    """
    from samplecnn import model_files

    config = model_files.load_stored(source).config
    if config.block not in BLOCKS:  # the start of the run says that it cannot be trained
        return {}
    names = [name for name in ARCHITECTURE if name in ModelConfig.__dataclass_fields__ and name != "dropout"]
    found = {name: getattr(config, name) for name in ("block", *names)}
    if config.logmel is not None:
        found |= {"frontend": "logmel", "mels": config.logmel.bands}
    return {name: value for name, value in found.items() if value is not None}


def resolved(given: dict[str, Any], segments: int | None = None) -> TrainOptions:
    """Completes the given settings with those of the recipe and those that depend on the data set's size.

    Args:
        given: arguments of TrainOptions; None leaves a setting to the recipe, and that to the data set.
        segments: of the training split; None if not known yet: the result can only be used for checks.

    Raises:
        OptionError: a value outside its range, or one without effect on --head-only.
        UsageError: an unknown recipe, or no model for --init-from.
    """
    wanted = {name: value for name, value in given.items() if value is not None}
    if wanted.get("head_only"):
        for name, value in wanted.items():
            if name not in OF_HEAD and (name in NAMED or value != getattr(TrainOptions, name)):
                raise not_of_head(name)
    if "init_from" in wanted:
        own = architecture_of(wanted["init_from"])
        if wanted.get("frontend", "logmel") != "logmel":
            own.pop("mels", None)
        wanted = {**own, **wanted}
    wanted.setdefault("recipe", default_recipe(wanted["dataset"]))
    values = {**values_of(wanted["recipe"]), **wanted}
    left = [name for name, value in PLANNED if name not in wanted and values[name] == value]
    checked = TrainOptions(**{**values, **dict.fromkeys(left, 1)})
    if segments is None or not left:
        return checked
    numbers = (0 if name in left else getattr(checked, name) for name in ("max_epochs", "passes"))
    chosen = plan(segments, checked.batch_size, *numbers)
    return replace(checked, **{name: getattr(chosen, name) for name in left})
