"""Several processes that train one network together, started by torchrun.

Every batch of a run is divided among the processes. Each computes the gradient of its share; sums over all processes
give the gradient of the whole batch, and in between the batch norms' statistics of the whole batch. So all processes
take the same steps, those of one process with the same batches, up to rounding. Process 0 writes all files.

Nothing here imports PyTorch before a function that needs it is called.
"""

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.hardware import choose_device
from samplecnn.system.log import Verbosity, set_verbosity

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

TIMEOUT_VARIABLE = "SAMPLECNN_PROCESS_TIMEOUT"
TIMEOUT = 1800.0  # seconds that a process waits for the others: process 0 reads all recordings before the first step
REQUIRED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets


class LostProcess(SampleCNNError):
    """Another process of the training has ended, or does not answer."""


@dataclass(frozen=True)
class Share:
    """The samples of a batch that this process has.

    Args:
        processes: all of them.
        first: index of the first one in the batch.
        count: number of samples, at least 1.
        total: samples of the whole batch.
        divided: False for a batch with fewer samples than processes, which every process computes as a whole.
    """

    processes: "Processes"
    first: int
    count: int
    total: int
    divided: bool

    @property
    def weight(self) -> float:
        """The share of this process in a mean over the batch."""
        return self.count / self.total if self.divided else 1 / self.processes.count

    @property
    def largest(self) -> int:
        """The most samples of any process."""
        return math.ceil(self.total / self.processes.count) if self.divided else self.total

    @property
    def rows(self) -> np.ndarray:
        """Indices of its samples in the batch."""
        return np.arange(self.first, self.first + self.count)

    def whole(self, values: int) -> int:
        """The number of values of the whole batch, from the number in this share."""
        return values // self.count * self.total

    def moments(self, mean: np.ndarray, variance: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and uncorrected variance over the batch, float64 [channels], from those of this share's `rows` rows."""
        sums = self.sum(np.stack((mean, variance + mean * mean)) * rows) / self.whole(rows)
        return sums[0], np.maximum(sums[1] - sums[0] * sums[0], 0)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over all processes, float64, of an array."""
        import torch

        total = torch.from_numpy(np.array(values, np.float64))
        self.processes.add_up(total)
        return total.numpy()


@dataclass(frozen=True)
class Processes:
    """The processes of a training, of which this is number `rank` of `count`.

    Args:
        local_rank: its number among those of the same machine.
        cpu_group: connects them for tensors in main memory; None: one process.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    cpu_group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and the messages."""
        return self.rank == 0

    def share(self, samples: int) -> Share | None:
        """This process's share of a batch; None if there is one process."""
        if self.count == 1:
            return None
        if samples < self.count:
            return Share(self, 0, samples, samples, False)
        first, end = (samples * number // self.count for number in (self.rank, self.rank + 1))
        return Share(self, first, end - first, samples, True)

    def rows(self, count: int) -> np.ndarray:
        """This process's part of `count` rows that need no exchange: int64, ascending."""
        return np.arange(count * self.rank // self.count, count * (self.rank + 1) // self.count)

    def add_up(self, values: "torch.Tensor") -> None:
        """Replaces a tensor by its sum over all processes, with the same bits in each of them."""
        import torch.distributed as dist

        with _answered():
            dist.all_reduce(values, group=None if values.is_cuda else self.cpu_group)

    def any(self, value: bool) -> bool:
        """Whether the value is true in any process."""
        if self.count == 1:
            return value
        import torch

        total = torch.tensor(float(value))
        self.add_up(total)
        return bool(total)

    def gather(self, value: T) -> list[T]:
        """The value of each process, in their order."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.count
        with _answered():
            dist.all_gather_object(values, value, group=self.cpu_group)
        return values

    def once(self, work: Callable[[], T]) -> T:
        """The result of `work`, which process 0 does while the others wait."""
        if self.count == 1:
            return work()
        import torch.distributed as dist

        found: list[Any] = [work() if self.is_first else None]
        with _answered():
            dist.broadcast_object_list(found, src=0, group=self.cpu_group)
        return found[0]  # type: ignore[no-any-return]

    def device(self, name: str) -> "torch.device":
        """The device of that name ("auto", "cpu", "cuda"); of the GPUs of a machine, each process has its own.

        Raises:
            UsageError: an unknown device, or more processes than GPUs on this machine.
        """
        device = choose_device(None if name == "auto" else name)
        if self.count == 1 or device.type != "cuda":
            return device
        import torch

        gpus = torch.cuda.device_count()
        if device.index is not None or self.local_rank >= gpus:
            raise UsageError(
                f"--device {name}: with several processes, each takes a GPU of its own; start at most {gpus} on this "
                "machine (--nproc-per-node), with --device cuda or cpu"
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)


ONE = Processes()
_joined = ONE
_computing = threading.local()  # with the share that a thread computes


def started_together() -> bool:
    """Whether torchrun has started this process as one of several."""
    return all(name in os.environ for name in REQUIRED) and os.environ["WORLD_SIZE"] != "1"


def join() -> Processes:
    """Connects this process with the others that torchrun has started; all but number 0 print nothing from now on.

    Raises:
        UsageError: PyTorch was built without this, or the timeout in the environment is not a number.
        LostProcess: the others do not answer.
    """
    global _joined
    if not started_together() or _joined.count > 1:
        return _joined
    import torch
    import torch.distributed as dist

    if not dist.is_available():
        raise UsageError("this PyTorch cannot train with several processes; start without torchrun")
    waits = timedelta(seconds=_timeout())
    rank, count, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if rank != 0:
        set_verbosity(Verbosity.SILENT)
    with _answered():
        on_gpu = torch.cuda.is_available() and dist.is_nccl_available()
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=waits)
        cpu_group = dist.new_group(backend="gloo", timeout=waits) if on_gpu else dist.group.WORLD
    _joined = Processes(rank, count, local_rank, cpu_group)
    return _joined


def leave() -> None:
    """Ends the connection, after the work is done."""
    global _joined
    if _joined.count > 1:
        import torch.distributed as dist

        _joined = ONE
        dist.destroy_process_group()


def _timeout() -> float:
    given = os.environ.get(TIMEOUT_VARIABLE, str(TIMEOUT))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise UsageError(f"{TIMEOUT_VARIABLE}={given}: must be a number of seconds")
    return seconds


@contextmanager
def _answered() -> Iterator[None]:
    """Turns the errors of a connection into one of ours."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcess(
            "another process of this training ended, or did not answer in time; its own message, if any, is above"
        ) from error


def current_share() -> Share | None:
    """The share of a divided batch that is being computed; None: a whole batch."""
    return getattr(_computing, "share", None)


@contextmanager
def sharing(share: Share | None) -> Iterator[None]:
    """A context in which inputs of the network are a process's share of a batch.

    Batch norms and dropout then compute what they would for the whole batch.
    """
    before = current_share()
    _computing.share = share if share is not None and share.divided else None
    try:
        yield
    finally:
        _computing.share = before


def reports_failure() -> bool:
    """Whether this process prints its error: of several, only the first that fails."""
    if not started_together():
        return True
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:
        store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=5),
        )
        return store.add(f"samplecnn/failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1) == 1
    except (RuntimeError, ValueError):  # the machine that connects the processes is lost itself
        return True
