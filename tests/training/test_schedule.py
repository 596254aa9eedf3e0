"""The epochs that are left of a run, which its progress shows."""

import pytest

from samplecnn.training import TrainOptions
from samplecnn.training.checkpoint import RunState
from samplecnn.training.schedule import epochs_left


def run_lengths(stages: int, patience: int, max_epochs: int, stage=0, epoch=0, bad=0) -> set[int]:
    """How many epochs are left, for every possible course of the validation loss."""
    if epoch == max_epochs or bad == patience:
        return {0} if stage + 1 == stages else run_lengths(stages, patience, max_epochs, stage + 1)
    outcomes = (True,) if epoch == 0 else (True, False)
    return {
        1 + left
        for better in outcomes
        for left in run_lengths(stages, patience, max_epochs, stage, epoch + 1, 0 if better else bad + 1)
    }


@pytest.mark.parametrize(
    ("stages", "patience", "max_epochs"), [(1, 1, 1), (1, 2, 5), (2, 2, 4), (3, 1, 3), (2, 5, 3), (2, 0, 4)]
)
def test_the_epochs_left_are_the_shortest_and_the_longest_course(stages, patience, max_epochs):
    options = TrainOptions("scd", num_stages=stages, patience=patience, max_epochs=max_epochs)
    for stage in range(stages):
        for epoch in range(1, max_epochs + 1):
            for bad in range(min(epoch, max(patience, 1) + 1)):
                lengths = run_lengths(stages, max(patience, 1), max_epochs, stage, epoch, bad)
                state = RunState(stage=stage, epoch=epoch, bad_epochs=bad)
                assert epochs_left(options, state) == (min(lengths), max(lengths))
