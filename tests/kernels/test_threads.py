"""The threads of the passes: any number of them, and after a fork."""

import os
import signal
import time

import pytest
import torch
import torch.nn.functional as F
from gradients import needs_numba

from samplecnn.kernels import batch_norm
from samplecnn.kernels.threads import run


@needs_numba
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_row_is_processed_with_any_number_of_threads(threads):
    torch.manual_seed(0)
    x = torch.randn(7, 1000, 8)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y, _, _ = batch_norm(x, torch.ones(8), torch.zeros(8), 1e-3, True, True)
    finally:
        torch.set_num_threads(before)
    z = F.batch_norm(x.view(-1, 8), None, None, training=True, eps=1e-3).view(7, 1000, 8)
    torch.testing.assert_close(y, F.max_pool1d(F.relu(z).transpose(1, 2), 3).transpose(1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_threads_run_in_a_forked_process_too(monkeypatch):
    """The parent's threads do not exist in the child; without new ones it would wait until the alarm ends it."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    done: list[int] = []
    calls = [(number,) for number in range(8)]
    run(done.append, calls)
    assert sorted(done) == list(range(8))
    time.sleep(0.1)  # the parent's thread is idle
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        run(done.append, calls)
        os._exit(0 if len(done) == 16 else 1)
    assert os.waitpid(child, 0)[1] == 0
