"""Taggers in other processes, after pickling and after a fork."""

import multiprocessing
import pickle

import numpy as np
import pytest
import torch

from samplecnn import ModelConfig, SampleCNN, Tagger, Task
from samplecnn.errors import UsageError

RATE = 8000
WAVE = np.random.default_rng(0).uniform(-0.5, 0.5, 2000)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = ModelConfig("basic", num_blocks=3, num_classes=2, features=8)
    return SampleCNN(config, Task("t", ("a", "b"), "multiclass", RATE, 243)).eval()


@pytest.mark.parametrize("engine", ["numpy", "torch"])
@pytest.mark.parametrize("hop", [None, 0.01])
def test_a_tagger_is_pickled_and_gives_the_same_tags(model, engine, hop):
    tagger = Tagger(model, engine=engine, precision="fp32", hop=hop)
    again = pickle.loads(pickle.dumps(tagger))
    assert (again.engine.name, again.engine.precision, again.hop) == (engine, "fp32", tagger.hop)
    assert (again.sharing is None) == (tagger.sharing is None)
    np.testing.assert_allclose(again(WAVE, RATE).over_time, tagger(WAVE, RATE).over_time, rtol=0, atol=1e-6)


def _send_tags(tagger, pipe):
    try:
        pipe.send(tagger(WAVE, RATE).scores)
    except UsageError as error:
        pipe.send(str(error))


def forked(tagger):
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_send_tags, args=(tagger, there))
    process.start()
    replied = here.poll(60)
    process.kill()
    process.join()
    assert replied, "the forked process hangs"
    return here.recv()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_after_a_fork_engines_with_threads_are_refused_and_numpy_works(model):
    assert "open a Tagger in each process" in forked(Tagger(model, engine="torch"))
    tagger = Tagger(model, engine="numpy", precision="fp32")
    np.testing.assert_allclose(forked(tagger), tagger(WAVE, RATE).scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (torch.ones(900, requires_grad=True), "detach"),
        (torch.ones(900, dtype=torch.bfloat16), "detach"),
        ([[1.0, 2.0], [3.0]], "a NumPy array"),
    ],
)
def test_values_that_are_not_arrays_are_refused_in_one_line(model, wave, message):
    with pytest.raises(UsageError, match=message) as raised:
        Tagger(model, engine="numpy")(wave, RATE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("rate", ["8000", float("nan"), 8000.5, 0, -1, [8000]])
def test_a_sample_rate_is_a_whole_number(model, rate):
    with pytest.raises(UsageError, match="whole number of Hz"):
        Tagger(model, engine="numpy")(WAVE, rate)
