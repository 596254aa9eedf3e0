"""One step of training: forward, backward and optimizer, optionally with CUDA graphs or torch.compile.

On a GPU a step of this network is hundreds of short kernels, which Python launches more slowly than they run. Mode
"graph" records a step once as a CUDA graph and replays it as a whole: the mode of one process on a GPU. "compile" lets
torch.compile fuse the operations between the convolutions, in place of `kernels.gpu`; "compile+graph" does both. If a
mode is unavailable, that is reported in one line and steps run in mode "eager".
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from samplecnn.models import SampleCNN
from samplecnn.processes import Share, sharing
from samplecnn.task import Task
from samplecnn.training.batches import standardised
from samplecnn.training.depth import by_depth
from samplecnn.training.losses import Loss, cross_entropy
from samplecnn.training.options import TrainOptions

MODES = ("eager", "compile", "graph", "compile+graph")
WARMUP_STEPS = 3  # before a graph is recorded: cuDNN tries its algorithms, the optimizer allocates its buffers


def mode_of(compile: bool, device: torch.device, log: Callable[[str], None], processes: int = 1) -> str:
    """How steps run, one of MODES; --compile has no effect on a CPU, which is reported."""
    if compile and device.type == "cpu":
        log("--compile is for GPUs: on a CPU the operations that matter are compiled already")
    elif compile and processes > 1:
        log("--compile is for one process: several exchange sums in the middle of a step, which runs without it")
    if device.type == "cpu" or processes > 1:
        return "eager"
    if device.type == "cuda":
        return "compile+graph" if compile else "graph"
    return "compile" if compile else "eager"


def new_optimizer(model: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """A new optimizer of the parameters that are trained: SGD with Nesterov momentum, or AdamW.

    With SGD, the penalty wd * sum(w ** 2) on convolution kernels has the gradient 2 * wd * w, which is PyTorch's weight
    decay of 2 * wd. AdamW shrinks all kernels and matrices by wd * rate a step; not biases and batch norms.

    A group's "rate_factor", 1 if absent, is its share of the learning rate.
    """
    fused = all(value.device.type in ("cpu", "cuda") for value in model.parameters())
    adamw = options.optimizer == "adamw"
    convolutions = {id(module.weight) for module in model.modules() if isinstance(module, nn.Conv1d)}
    decay = options.weight_decay * (1 if adamw else 2)
    groups: list[dict[str, Any]] = []
    for values, factor in _parts(model, options):
        decayed = [value for value in values if (value.ndim > 1 if adamw else id(value) in convolutions)]
        chosen = {id(value) for value in decayed}
        others = [value for value in values if id(value) not in chosen]
        share = {} if factor == 1 else {"rate_factor": factor}
        for params, own in ((decayed, decay), (others, 0.0)):
            groups.append({"params": params, "weight_decay": own, **share})
    if adamw:
        on_gpu = next(model.parameters()).device.type == "cuda"
        betas = (options.momentum, 0.999)
        # capturable: the count of steps is on the device, so that a graph can record it
        return torch.optim.AdamW(groups, lr=options.lr, betas=betas, fused=fused, capturable=on_gpu)
    return torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum, nesterov=options.momentum > 0, fused=fused)


def _parts(model: nn.Module, options: TrainOptions) -> list[tuple[list[nn.Parameter], float]]:
    """The parameters that are trained, in parts with the same learning rate, and its factor."""
    if options.depth_rate == 1:
        return [([value for value in model.parameters() if value.requires_grad], 1.0)]
    assert isinstance(model, SampleCNN)
    return [(values, options.depth_rate**depth) for depth, (_, values) in enumerate(by_depth(model))]


class Step:
    """Takes steps with a network, with batches of any size.

    Args:
        model: [batch, samples] -> logits [batch, classes], on its device and in training mode.
        task: decides how audio is standardised, and which loss is used.
        mode: one of MODES. It applies to batches of the first batch's size; others (the last of an epoch) run eagerly.
        on_failure: is called with one line if the mode is unavailable.
        loss: of logits and labels; None: `cross_entropy`.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        mode: str = "eager",
        on_failure: Callable[[str], None] = print,
        loss: Loss | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"{mode!r}: expected one of {', '.join(MODES)}")
        self._loss = loss or partial(cross_entropy, task=task)
        self.model, self.task, self.mode, self.on_failure = model, task, mode, on_failure
        self._compiled = torch.compile(self.loss, dynamic=False) if "compile" in mode else self.loss
        self._shape: torch.Size | None = None
        self._warm = 0
        self._graph: _Graph | None = None

    def loss(self, audio: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch."""
        return self._loss(self.model(standardised(audio, self.task)), labels)

    def __call__(
        self, optimizer: torch.optim.Optimizer, audio: Tensor, labels: Tensor, rate: float, share: Share | None = None
    ) -> Tensor:
        """Takes a step.

        Args:
            optimizer: of the model's parameters; may be a new one.
            audio: int16, or float32 in [-1, 1], [batch, window], on the model's device.
            labels: float32 [batch, classes], on the model's device.
            rate: the learning rate; groups with a "rate_factor" take that share of it.
            share: what `audio` is of a batch that several processes divide; then steps run in mode "eager".

        Returns:
            The loss before the step, on the device; reading it waits for the device.
        """
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        if share is not None:
            return _divided_step(self.loss, optimizer, audio, labels, share)
        self._shape = self._shape or audio.shape
        if self.mode == "eager" or audio.shape != self._shape:
            return _eager_step(self.loss, optimizer, audio, labels)
        if self._graph is not None and self._graph.optimizer is optimizer:
            return self._graph.replay(audio, labels)
        try:
            return self._faster_step(optimizer, audio, labels)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler or a driver raises; no weight has been changed yet
            first_line = str(error).strip().partition("\n")[0] or type(error).__name__
            self.on_failure(f"training without {self.mode}, which failed here: {first_line}")
            self.mode, self._graph = "eager", None
            return _eager_step(self.loss, optimizer, audio, labels)

    def _faster_step(self, optimizer: torch.optim.Optimizer, audio: Tensor, labels: Tensor) -> Tensor:
        if "graph" not in self.mode:
            return _eager_step(self._compiled, optimizer, audio, labels)
        if audio.device.type != "cuda":
            raise RuntimeError(f"CUDA graphs are for NVIDIA GPUs, not for this {audio.device.type}")
        if self._graph is not None:
            self._graph, self._warm = None, 0  # it belongs to the previous optimizer
        if self._warm >= WARMUP_STEPS:
            with torch.cuda.device(audio.device):  # graphs are recorded on the current one
                self._graph = _Graph(self._compiled, optimizer, audio, labels)
            return self._graph.replay(audio, labels)
        current, side = torch.cuda.current_stream(audio.device), torch.cuda.Stream(audio.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):  # memory belongs to the stream of its first use: not to the default one
            loss = _eager_step(self._compiled, optimizer, audio, labels)
        current.wait_stream(side)
        self._warm += 1
        return loss


def _eager_step(
    loss_of: Callable[[Tensor, Tensor], Tensor], optimizer: torch.optim.Optimizer, audio: Tensor, labels: Tensor
) -> Tensor:
    loss = loss_of(audio, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def _divided_step(
    loss_of: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    audio: Tensor,
    labels: Tensor,
    share: Share,
) -> Tensor:
    """A step with a batch that several processes divide; returns the loss of the whole batch.

    All gradients are added up at once, always in the same order: the buckets in which DistributedDataParallel overlaps
    them with the backward pass change after its first step, and with them the last bits after a resume.
    """
    with sharing(share):
        loss = loss_of(audio, labels) * share.weight
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
    parameters = [value for group in optimizer.param_groups for value in group["params"] if value.grad is not None]
    total = torch.cat([*(value.grad.flatten() for value in parameters), loss.detach().reshape(1)])
    share.processes.add_up(total)
    for value, gradient in zip(parameters, total.split([*(value.numel() for value in parameters), 1]), strict=False):
        value.grad.copy_(gradient.view_as(value))
    optimizer.step()
    return total[-1].clone()


class _Graph:
    """A whole step as a CUDA graph, which reads batch and learning rate from fixed addresses."""

    def __init__(
        self,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        audio: Tensor,
        labels: Tensor,
    ) -> None:
        self.optimizer, self.audio, self.labels = optimizer, audio.clone(), labels.clone()
        self.graph = torch.cuda.CUDAGraph()
        rates = [group["lr"] for group in optimizer.param_groups]
        self.rates = [torch.zeros((), device=audio.device) for _ in rates]
        optimizer.zero_grad(set_to_none=True)  # so that the graph writes gradients instead of adding to them
        try:
            for group, value in zip(optimizer.param_groups, self.rates, strict=True):
                group["lr"] = value
            # Nothing runs in here, it is only recorded; the threads that read batches keep running.
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.loss = _eager_step(loss_of, optimizer, self.audio, self.labels)
        finally:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate

    def replay(self, audio: Tensor, labels: Tensor) -> Tensor:
        self.audio.copy_(audio)
        self.labels.copy_(labels)
        for value, group in zip(self.rates, self.optimizer.param_groups, strict=True):
            value.fill_(group["lr"])
        self.graph.replay()
        return self.loss.clone()
