"""Batches of an epoch: every segment once, whoever reads them, and the same model input from every stored type."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplecnn.audio import from_int16
from samplecnn.shards import open_split
from samplecnn.task import Task
from samplecnn.training.batches import batches, epoch_order, standardised


class Rows:
    """Segments whose audio tells their number."""

    dtype = np.int16

    def __init__(self, count: int) -> None:
        self.labels = np.arange(count, dtype=np.uint8)[:, None]

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return np.asarray(indices, np.int16)[:, None]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 120),
    batch_size=st.integers(1, 50),
    readers=st.integers(1, 8),
    epoch=st.integers(0, 3),
    data=st.data(),
)
def test_every_segment_once_an_epoch_wherever_it_was_resumed(count, batch_size, readers, epoch, data):
    order = epoch_order(count, seed=5, stage=0, epoch=epoch)
    assert sorted(order) == list(range(count))
    stop = data.draw(st.integers(0, -(-count // batch_size)))  # interrupted after so many batches
    read = []
    for number, (audio, labels) in enumerate(batches(Rows(count), order, batch_size, readers)):
        if number == stop:
            break
        assert audio.flatten().tolist() == labels.flatten().tolist()
        read += audio.flatten().tolist()
    other_readers = data.draw(st.integers(1, 8))
    for audio, _ in batches(Rows(count), order, batch_size, other_readers, first=stop):
        assert 0 < len(audio) <= batch_size
        read += audio.flatten().tolist()
    assert read == order.tolist()


READ_BY_WORKERS = """
import sys

import numpy as np
from torch.utils.data import DataLoader

from samplecnn.shards import open_split
from samplecnn.training.batches import epoch_order

if __name__ == "__main__":
    segments = open_split("sounds", sys.argv[1], "train")
    order = epoch_order(len(segments), 0, 0, 0)
    chunks = [order[start : start + 7] for start in range(0, len(order), 7)]
    for method in ("fork", "spawn"):
        how = {"num_workers": 2, "multiprocessing_context": method}
        read = list(DataLoader(chunks, batch_size=None, collate_fn=segments.gather, **how))
        assert np.array_equal(np.concatenate(read), segments.gather(order)) and len(read) == len(chunks), method
"""


def test_worker_processes_of_a_data_loader_read_the_same(built, tmp_path):
    """In a new process: forking one in which other tests have left threads is not safe."""
    program = tmp_path / "read.py"
    program.write_text(READ_BY_WORKERS)
    subprocess.run([sys.executable, program, built / "data"], check=True, timeout=200)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-0.0001650025078561157, 0.1551193743944168), (0.3, 1e-4)])
def test_standardised_is_the_formula_to_the_same_bits_by_every_way(mean, std):
    task = Task("t", ("a", "b"), mean=mean, std=std)
    values = np.concatenate([[-32768, -1, 0, 1, 32767], np.random.default_rng(0).integers(-32768, 32768, 3003)])
    audio = torch.from_numpy(values.astype(np.int16).reshape(2, -1))
    before = audio.clone()
    x = standardised(audio, task)
    assert x.dtype == torch.float32 and x.shape == audio.shape and torch.equal(audio, before)
    exact = (audio.double() / 32768 - mean) / std
    torch.testing.assert_close(x.double(), exact, rtol=3e-7, atol=3e-7 * (1 + abs(mean)) / std)
    assert torch.equal(x, standardised(torch.from_numpy(from_int16(audio.numpy())), task))  # PyTorch's own operations
    assert torch.equal(standardised(audio[:0], task), torch.empty(0, audio.shape[1]))
    assert torch.equal(standardised(audio[:, ::2], task), x[:, ::2])


def test_batches_hold_every_segment_once_in_a_shuffled_order(built):
    segments = open_split(str(built / "sounds"), built / "data", "train")
    order = epoch_order(len(segments), 0, 0, 0)
    assert sorted(order) == list(range(len(segments)))
    assert (order != epoch_order(len(segments), 0, 0, 1)).any() and (order != epoch_order(len(segments), 1, 0, 0)).any()
    for readers in (1, 3):
        read = list(batches(segments, order, 7, readers))
        assert np.array_equal(torch.cat([audio for audio, _ in read]).numpy(), segments.gather(order))
        assert np.array_equal(torch.cat([labels for _, labels in read]).numpy(), segments.labels[order])
    rest = list(batches(segments, order, 7, 2, first=3))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(rest, read[3:], strict=True))


def test_inputs_are_standardised_as_the_original_does():
    task = Task(name="t", classes=("a", "b"), mean=-0.001, std=0.2)
    audio = torch.tensor([[-32768, -1, 0, 16384, 32767]], dtype=torch.int16)
    expected = (audio.double() / 32768 - task.mean) / task.std
    torch.testing.assert_close(standardised(audio, task).double(), expected, rtol=1e-6, atol=1e-6)
