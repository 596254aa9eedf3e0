"""One step of training, forward, backward and SGD, and three ways to have a GPU do it with less ado.

On a GPU a step of this network is hundreds of short kernels, which Python starts more slowly than they run. "graph"
records a step once as a CUDA graph and plays it back as a whole; "compile" lets torch.compile fuse what lies between
the convolutions, which needs a compiler there (Triton); "compile+graph" does both. What cannot be had is told in a
line, and the step goes on without.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from samplecnn.task import Task
from samplecnn.training.batches import standardised
from samplecnn.training.losses import cross_entropy

WAYS = ("eager", "compile", "graph", "compile+graph")
FIRST_STEPS = 3  # taken singly before a graph is recorded: cuDNN tries its algorithms, the optimizer gets its buffers


class Step:
    """Takes steps with a network, whatever the size of the batch.

    Args:
        model: [batch, samples] -> logits [batch, classes], on its device and in training mode.
        task: says how sound is standardised, and which loss.
        way: one of WAYS. It is taken for batches as large as the first one; others (an epoch's last) take single
            kernels.
        tell: is called with a line if that way cannot be gone.
    """

    def __init__(self, model: nn.Module, task: Task, way: str = "eager", tell: Callable[[str], None] = print) -> None:
        if way not in WAYS:
            raise ValueError(f"{way!r}: expected one of {', '.join(WAYS)}")
        self.model, self.task, self.way, self.tell = model, task, way, tell
        self._compiled = torch.compile(self.loss, dynamic=False) if "compile" in way else self.loss
        self._shape: torch.Size | None = None
        self._done = 0
        self._graph: _Graph | None = None

    def loss(self, audio: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch; binary, over classes too, where a clip can have several."""
        return cross_entropy(self.model(standardised(audio, self.task)), labels, self.task)

    def __call__(self, optimizer: torch.optim.Optimizer, audio: Tensor, labels: Tensor, rate: float) -> Tensor:
        """Takes a step.

        Args:
            optimizer: of the model's parameters; another one than last time is as good.
            audio: int16, or float32 in [-1, 1], [batch, window], on the model's device.
            labels: float32 [batch, classes], there too.
            rate: the learning rate.

        Returns:
            The loss before the step, on the device, not waited for.
        """
        for group in optimizer.param_groups:
            group["lr"] = rate
        self._shape = self._shape or audio.shape
        if self.way == "eager" or audio.shape != self._shape:
            return _taken(self.loss, optimizer, audio, labels)
        if self._graph is not None and self._graph.optimizer is optimizer:
            return self._graph.play(audio, labels, rate)
        try:
            return self._first_steps(optimizer, audio, labels, rate)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler or a driver says; nothing has been changed yet
            first_line = str(error).strip().partition("\n")[0] or type(error).__name__
            self.tell(f"training without {self.way}, which failed here: {first_line}")
            self.way, self._graph = "eager", None
            return _taken(self.loss, optimizer, audio, labels)

    def _first_steps(self, optimizer: torch.optim.Optimizer, audio: Tensor, labels: Tensor, rate: float) -> Tensor:
        if "graph" not in self.way:
            return _taken(self._compiled, optimizer, audio, labels)
        if audio.device.type != "cuda":
            raise RuntimeError(f"CUDA graphs are for NVIDIA GPUs, not for this {audio.device.type}")
        if self._graph is not None:
            self._graph, self._done = None, 0  # of the optimizer before
        if self._done >= FIRST_STEPS:
            with torch.cuda.device(audio.device):  # graphs are recorded on the current one
                self._graph = _Graph(self._compiled, optimizer, audio, labels)
            return self._graph.play(audio, labels, rate)
        here, beside = torch.cuda.current_stream(audio.device), torch.cuda.Stream(audio.device)
        beside.wait_stream(here)
        with torch.cuda.stream(beside):  # what belongs to the stream of its first use must not be the default one's
            loss = _taken(self._compiled, optimizer, audio, labels)
        here.wait_stream(beside)
        self._done += 1
        return loss


def _taken(
    loss_of: Callable[[Tensor, Tensor], Tensor], optimizer: torch.optim.Optimizer, audio: Tensor, labels: Tensor
) -> Tensor:
    loss = loss_of(audio, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


class _Graph:
    """A whole step as a CUDA graph, which reads batch and learning rate from the same places every time."""

    def __init__(
        self,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        audio: Tensor,
        labels: Tensor,
    ) -> None:
        self.optimizer, self.audio, self.labels = optimizer, audio.clone(), labels.clone()
        self.rate = torch.zeros((), device=audio.device)
        self.graph = torch.cuda.CUDAGraph()
        rates = [group["lr"] for group in optimizer.param_groups]
        optimizer.zero_grad(set_to_none=True)  # so that the graph writes gradients and does not add to them
        try:
            for group in optimizer.param_groups:
                group["lr"] = self.rate
            # Nothing runs in here, it is only recorded; the threads that read batches may go on meanwhile.
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.loss = _taken(loss_of, optimizer, self.audio, self.labels)
        finally:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate

    def play(self, audio: Tensor, labels: Tensor, rate: float) -> Tensor:
        self.audio.copy_(audio)
        self.labels.copy_(labels)
        self.rate.fill_(rate)
        self.graph.replay()
        return self.loss.clone()
