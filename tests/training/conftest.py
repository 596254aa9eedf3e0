"""Fixtures for tests of training."""

from contextlib import contextmanager

import pytest

from samplecnn.training import loop
from samplecnn.training.checkpoint import CHECKPOINT


@pytest.fixture
def every_checkpoint(monkeypatch):
    """every_checkpoint() -> a list that grows by the bytes of each checkpoint, one a step."""

    @contextmanager
    def kept():
        copies: list[bytes] = []
        original = loop.save_checkpoint

        def keep(run, checkpoint) -> None:
            original(run, checkpoint)
            copies.append((run / CHECKPOINT).read_bytes())

        monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", -1.0)
        monkeypatch.setattr(loop, "save_checkpoint", keep)
        yield copies
        monkeypatch.setattr(loop, "save_checkpoint", original)

    return kept


@pytest.fixture
def interrupted_epoch(monkeypatch):
    """interrupted_epoch(): within it, a training is interrupted at the end of its first epoch."""

    @contextmanager
    def interrupted():
        original = loop.Run.end_epoch

        def interrupt(self, figures):
            original(self, figures)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(loop.Run, "end_epoch", interrupt)
            yield

    return interrupted
