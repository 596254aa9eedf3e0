"""All settings of a training run; those of the original keep its defaults, and docs/migrating.md lists exceptions."""

from dataclasses import asdict, dataclass
from typing import Any, get_type_hints

from samplecnn.errors import OptionError, SampleCNNError
from samplecnn.hardware import PRECISIONS as COMPUTABLE
from samplecnn.models import BLOCKS
from samplecnn.models.config import MAX_FEATURES
from samplecnn.parsing import shown
from samplecnn.system.arguments import suggestion, type_problem

PRECISIONS = ("auto", *COMPUTABLE)  # values of --precision in training
LARGEST = {"batch_size": 1 << 20, "num_readers": 1024, "features": MAX_FEATURES}  # what costs memory or threads

# Options that a network is made with as they are (`models.fitting.config_for_window`).
ARCHITECTURE = (
    "multi", "features", "amplifying_ratio", "dropout", "pool_size", "filter_size", "first_size", "pooling", "frontend",
    "mels",
)  # fmt: skip


@dataclass(frozen=True)
class TrainOptions:
    """The settings of a run: the arguments of `train`, which describes each of them.

    Raises:
        OptionError: a value outside its range.
    """

    dataset: str
    name: str | None = None
    data_dir: str = "./data"
    log_dir: str = "./log"
    block: str = "se"
    amplifying_ratio: float = 0.125
    multi: bool = False
    pool_size: int | None = None
    filter_size: int | None = None
    first_size: int | None = None
    pooling: str = "max"
    frontend: str = "waveform"
    mels: int | None = None
    batch_size: int = 23
    momentum: float = 0.9
    lr: float = 0.01
    warmup: int = 200
    lr_decay: float = 0.2
    dropout: float = 0.5
    weight_decay: float = 0.0
    num_stages: int = 5
    patience: int = 2
    num_readers: int = 8
    skip_corrupt: bool = False
    features: int = 128
    max_epochs: int = 100
    precision: str = "auto"
    device: str = "auto"
    compile: bool = False
    seed: int = 0
    init_from: str | None = None
    fold: str | None = None
    baseline: bool = True

    def __post_init__(self) -> None:
        for name in ("data_dir", "log_dir", "init_from"):  # paths too are kept as text: checkpoints are plain data
            if getattr(self, name) is not None:
                object.__setattr__(self, name, str(getattr(self, name)))
        for name in ("batch_size", "num_stages", "num_readers", "features", "max_epochs"):
            if getattr(self, name) < 1:
                raise OptionError(name, f"must be at least 1, not {getattr(self, name)}")
        for name, most in LARGEST.items():
            if getattr(self, name) > most:
                raise OptionError(name, f"must be at most {most:,}, not {getattr(self, name)}")
        for name in ("lr", "lr_decay"):
            if not 0 < getattr(self, name) < float("inf"):
                raise OptionError(name, f"must be above 0, not {getattr(self, name):g}")
        for name in ("momentum", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(name, f"must be at least 0 and below 1, not {getattr(self, name):g}")
        for name in ("warmup", "patience"):
            if getattr(self, name) < 0:
                raise OptionError(name, f"must be 0 or more, not {getattr(self, name)}")
        if not 0 <= self.weight_decay < float("inf"):
            raise OptionError("weight_decay", f"must be 0 or more, not {self.weight_decay:g}")
        if not 0 <= self.seed < 2**63:
            raise OptionError("seed", f"must be 0 or a positive number, not {self.seed}")
        if (
            self.block not in BLOCKS
        ):  # those of converted models cannot be trained: the original's .h5 has no name for them
            raise OptionError("block", f"{self.block!r} cannot be trained{suggestion(self.block, BLOCKS)}")
        if self.precision not in PRECISIONS:
            raise OptionError("precision", f"{self.precision!r} is unknown{suggestion(self.precision, PRECISIONS)}")
        if self.fold is not None:
            from samplecnn.shards.folds import check_fold  # late: it imports all that reads shards

            check_fold(self.fold)
        if self.name is not None and ("/" in self.name or "\\" in self.name or self.name in ("", ".", "..")):
            raise OptionError("name", f"{self.name!r} must be a plain word: it becomes part of a folder's name", True)

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
