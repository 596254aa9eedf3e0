"""Beginning with the weights of a trained model instead of random ones."""

import torch

from samplecnn import saved
from samplecnn.errors import UsageError
from samplecnn.models import SampleCNN


def initial_weights(model: SampleCNN, source: str) -> str:
    """Copies the weights of `source` wherever name and shape agree; the last layer only for the very same classes.

    Returns:
        One line that says what was copied and what stays fresh.

    Raises:
        UsageError: `source` is another architecture.
    """
    other = saved.load(source)
    ours, theirs = model.config, other.config
    for option in ("block", "features"):
        if getattr(ours, option) != getattr(theirs, option):
            raise UsageError(
                f"--init-from {source}: its {option} is {getattr(theirs, option)}, this run's {getattr(ours, option)}; "
                f"pass --{option} {getattr(theirs, option)}"
            )
    same_classes = model.task is not None and other.task is not None and model.task.classes == other.task.classes
    values, fresh = model.state_dict(), []
    with torch.no_grad():
        for name, value in other.state_dict().items():
            fits = name in values and values[name].shape == value.shape
            if fits and (same_classes or not name.startswith("logit.")):
                values[name].copy_(value)
            else:
                fresh.append(name.rsplit(".", 1)[0])
    left = ", ".join(dict.fromkeys(fresh)) or "nothing"
    return f"weights from {source}; fresh: {left}"
