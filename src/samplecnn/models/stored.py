"""A trained model as data: weights by name, architecture and task, in NumPy arrays. PyTorch is not needed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.errors import SampleCNNError
from samplecnn.models.config import ModelConfig
from samplecnn.models.folding import fold_values
from samplecnn.models.graph import Graph
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN


@dataclass(frozen=True, eq=False)
class StoredModel:
    """What a model file holds.

    Args:
        values: weights and batch-norm statistics, by their names in `SampleCNN.state_dict`.
        config: the architecture.
        task: what it was trained for.
        card: what config.json says of the model for people, unchecked: usually nothing, or texts "about" and "licence".
        listening: the operating point of `samplecnn listen` in config.json, unchecked, if there is one.
    """

    values: dict[str, np.ndarray]
    config: ModelConfig
    task: Task
    card: Any = None
    listening: Any = None

    @classmethod
    def of(cls, model: "SampleCNN") -> "StoredModel":
        """A model's current values in float32, as copies on the CPU.

        Raises:
            SampleCNNError: the model has no task.
        """
        if model.task is None:
            raise SampleCNNError("a model without a task cannot be saved; give SampleCNN(config, task) one")
        return cls(values_of(model), model.config, model.task)

    def fold(self) -> Graph:
        """The network for inference, batch norms folded.

        Raises:
            SampleCNNError: the values are not those of the architecture.
        """
        return fold_values(self.values, self.config, self.task)

    def module(self) -> "SampleCNN":
        """The PyTorch module with these values, in eval mode.

        Raises:
            SampleCNNError: the values are not those of the architecture.
        """
        import torch

        from samplecnn.models import SampleCNN

        with torch.device("meta"):  # no initial values are drawn: all of them are replaced
            model = SampleCNN(self.config, self.task)
        state = {name: torch.from_numpy(np.array(value, order="C")) for name, value in self.values.items()}
        try:
            model.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise SampleCNNError(" ".join(str(error).split())[:300]) from error
        return model.eval()


def card_texts(model: "SampleCNN | StoredModel") -> dict[str, str]:
    """What the model's card says in one line each: "about" and "licence", as far as they are there."""
    card = getattr(model, "card", None)
    found = {name: card.get(name) for name in ("about", "licence")} if isinstance(card, dict) else {}
    return {name: text for name, text in found.items() if isinstance(text, str) and text}


def values_of(model: "SampleCNN") -> dict[str, np.ndarray]:
    """A model's current values by name, in float32, as copies on the CPU."""
    state = model.state_dict()
    return {name: np.array(value.detach().cpu().float().numpy(), order="C") for name, value in state.items()}
