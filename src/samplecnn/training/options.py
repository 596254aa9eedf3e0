"""All settings of a training run; the defaults are the original's."""

from dataclasses import asdict, dataclass
from typing import Any

from samplecnn.errors import UsageError


@dataclass(frozen=True)
class TrainOptions:
    """Settings of a run.

    Args:
        dataset: mtt, scd, dcs, demo, a folder or a manifest, already built.
        name: of the run; None takes the block, with "_multi" where it applies.
        data_dir, log_dir: where shards are and run directories go.
        block, amplifying_ratio, multi, dropout, features: the architecture (`ModelConfig`).
        batch_size: segments a step.
        momentum: of Nesterov's SGD.
        lr: learning rate of the first stage.
        warmup: steps over which the first stage's learning rate rises from 0; the original has none.
        lr_decay: factor between the learning rates of two stages.
        weight_decay: wd in the penalty wd * sum(w ** 2) on convolution kernels.
        num_stages: stages of training.
        patience: epochs without a better validation loss that end a stage.
        max_epochs: epochs that end a stage in any case.
        num_readers: threads that read batches ahead.
        skip_corrupt: leaves out damaged TFRecords instead of stopping at the first.
        precision: "auto", "fp32", "bf16", or "tf32" on a GPU.
        device: "cpu", "cuda" or "auto".
        compile: on a GPU, fuses passes with torch.compile and plays steps back as CUDA graphs.
        seed: of initial values, order and dropout.
        init_from: a model whose weights to begin with.

    Raises:
        UsageError: a value outside its range, named.
    """

    dataset: str
    name: str | None = None
    data_dir: str = "./data"
    log_dir: str = "./log"
    block: str = "se"
    amplifying_ratio: float = 0.125
    multi: bool = False
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

    def __post_init__(self) -> None:
        for name in ("batch_size", "num_stages", "patience", "num_readers", "features", "max_epochs"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        for name in ("lr", "lr_decay"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} must be above 0, not {getattr(self, name):g}")
        if self.warmup < 0:
            raise UsageError(f"--warmup must be 0 or more, not {self.warmup}")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"--momentum must be at least 0 and below 1, not {self.momentum:g}")
        if not 0 <= self.weight_decay < float("inf"):
            raise UsageError(f"--weight-decay must be 0 or more, not {self.weight_decay:g}")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed must be 0 or a positive number, not {self.seed}")
        if self.name is not None and ("/" in self.name or "\\" in self.name or self.name in ("", ".", "..")):
            raise UsageError(f"the run's name {self.name!r} must be a plain word: it becomes part of a folder's name")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
