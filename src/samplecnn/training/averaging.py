"""The weights that a run is scored with: averages over its last steps, with batch-norm statistics of their own.

Running averages that keep 0.99 take about a hundred batches to follow the weights. With few steps per epoch and fast
changing weights they lag behind, and validation measures the lag. So they can be re-estimated before every validation,
from training segments without augmentation.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from samplecnn.models import SampleCNN
from samplecnn.models.layers import BatchNorm
from samplecnn.processes import Share, sharing

Inputs = Iterable[tuple[Tensor, Share | None]]  # batches, or what a process has of them


def set_norm_update(model: SampleCNN, share: float) -> None:
    """Sets the share of each batch's statistics in the running averages of all batch norms."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.UPDATE = share


@torch.no_grad()
def estimate_norms(model: SampleCNN, batches: Inputs) -> None:
    """Replaces the running averages of all batch norms by means over `batches`, inputs of the model."""
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    before = [norm.UPDATE for norm in norms]
    training = model.training
    model.train()
    try:
        for number, (batch, share) in enumerate(batches, start=1):
            for norm in norms:
                norm.UPDATE = 1 / number  # the mean of all batches so far
            with sharing(share):
                model(batch)
    finally:
        model.train(training)
        for norm, update in zip(norms, before, strict=True):
            norm.UPDATE = update


def trained(model: SampleCNN) -> list[tuple[str, nn.Parameter]]:
    """The parameters that are not frozen, by name."""
    return [(name, value) for name, value in model.named_parameters() if value.requires_grad]


class Average:
    """Exponential moving averages of those of a model's parameters that are trained.

    Args:
        model: whose parameters are averaged.
        steps: time constant; after this many steps, a weight's old value has a share of 1/e in its average.
    """

    def __init__(self, model: SampleCNN, steps: float) -> None:
        self.model, self.steps = model, steps
        self.count = 0
        self.values = {name: value.detach().clone() for name, value in trained(model)}

    @torch.no_grad()
    def update(self) -> None:
        """Call after every step. The first steps have equal weights, so that the initial values are forgotten."""
        self.count += 1
        share = max(1 / self.steps, 1 / self.count) if self.steps > 1 else 1.0
        torch._foreach_lerp_(list(self.values.values()), [value.detach() for _, value in trained(self.model)], share)

    @torch.no_grad()
    def load_into(self, model: SampleCNN) -> None:
        for name, value in trained(model):
            value.copy_(self.values[name])

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "values": self.values}

    def load_state(self, state: dict[str, Any]) -> None:
        self.count = state["count"]
        if {name: value.shape for name, value in state["values"].items()} != {
            name: value.shape for name, value in self.values.items()
        }:
            raise ValueError("its averaged weights are not those of its model")
        for name, value in state["values"].items():
            self.values[name].copy_(value)


@contextmanager
def scored_weights(model: SampleCNN, average: Average | None, inputs: Inputs | None) -> Iterator[None]:
    """A context in which the model has the weights that are scored and kept.

    Args:
        model: of the run.
        average: of its weights; None: they stay as they are.
        inputs: batches from which the batch norms' statistics are estimated; None: the running averages stay.
    """
    if average is None and inputs is None:
        yield
        return
    before = {name: value.clone() for name, value in model.state_dict().items()}
    if average is not None:
        average.load_into(model)
    if inputs is not None:
        estimate_norms(model, inputs)
    try:
        yield
    finally:
        model.load_state_dict(before)
