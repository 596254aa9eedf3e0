"""The HEAR API (Holistic Evaluation of Audio Representations, 2021; version 2021.0.6): embeddings for its benchmarks.

    hear-validator samplecnn.hear --model log/20261122_101500-sounds-se_multi

A scene's embedding is the mean over windows as in tagging. A timestamp's embedding is that of the window around it;
beyond the ends of the sound there is silence. Both are of the last hidden layer.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from samplecnn.audio import standardise, to_int16
from samplecnn.errors import UsageError
from samplecnn.inference import open_engine
from samplecnn.inference.windows import windows
from samplecnn.model_files import load_graph
from samplecnn.models.embedding import HIDDEN, embedding_size, with_embedding

TIMESTAMP_MILLISECONDS = 50  # from one timestamp to the next, as HEAR advises
BATCH = 32  # windows that go through the network together


class HearModel(torch.nn.Module):
    """What `load_model` gives.

    Args:
        path: of the model, as `samplecnn.load` takes it.

    Attributes:
        sample_rate: Hz, of the sound that the functions take.
        scene_embedding_size, timestamp_embedding_size: lengths of the vectors.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        net = with_embedding(load_graph(path), HIDDEN)
        self.task = net.task
        self.engine = open_engine(net, precision="fp32", device="cpu")
        self.sample_rate = net.task.sample_rate
        self.scene_embedding_size = self.timestamp_embedding_size = embedding_size(net)

    def embed(self, segments: np.ndarray) -> np.ndarray:
        """float32 [windows, size] of standardised windows [windows, samples]."""
        parts = [self.engine.columns(segments[at : at + BATCH]) for at in range(0, len(segments), BATCH)]
        return np.concatenate(parts)[:, self.task.num_classes :]


def load_model(model_file_path: str = "") -> torch.nn.Module:
    """A model for the functions below.

    Args:
        model_file_path: as `samplecnn.load` takes it.

    Raises:
        UsageError: no path, or no model there.
    """
    if not model_file_path:
        raise UsageError("load_model needs the path of a model; samplecnn downloads none")
    return HearModel(model_file_path)


def get_timestamp_embeddings(audio: Tensor, model: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """Embeddings every 50 ms.

    Args:
        audio: float [sounds, samples] in [-1, 1] at `model.sample_rate`.
        model: of `load_model`.

    Returns:
        Embeddings float32 [sounds, timestamps, size], and the timestamps float32 [sounds, timestamps] in milliseconds:
        the middles of the windows.
    """
    waves = _checked(audio, model)
    assert isinstance(model, HearModel)
    seconds = waves.shape[1] / model.sample_rate
    count = max(int(seconds * 1000 // TIMESTAMP_MILLISECONDS), 1)
    times = (np.arange(count) + 0.5) * TIMESTAMP_MILLISECONDS
    if seconds * 1000 < TIMESTAMP_MILLISECONDS:
        times = np.array([seconds * 500])
    window = model.task.window
    starts = np.rint(times / 1000 * model.sample_rate).astype(int)  # in the sound with half a window of silence before
    padded = np.pad(waves, ((0, 0), (window // 2, window)))
    found = []
    for wave in padded:
        around = np.lib.stride_tricks.sliding_window_view(wave, window)
        parts = [around[starts[at : at + BATCH]] for at in range(0, count, BATCH)]
        found.append(np.concatenate([model.embed(standardise(to_int16(part), model.task)) for part in parts]))
    stamps = np.tile(times.astype(np.float32), (len(waves), 1))
    return torch.from_numpy(np.stack(found)).to(audio.device), torch.from_numpy(stamps).to(audio.device)


def get_scene_embeddings(audio: Tensor, model: torch.nn.Module) -> Tensor:
    """An embedding of every sound, float32 [sounds, size]; arguments as above."""
    waves = _checked(audio, model)
    assert isinstance(model, HearModel)
    found = []
    for wave in waves:
        parts = [model.embed(part.segments) for part in windows([wave], model.task, BATCH) if len(part.segments)]
        found.append(np.concatenate(parts).mean(axis=0, dtype=np.float64).astype(np.float32))
    return torch.from_numpy(np.stack(found)).to(audio.device)


def _checked(audio: Tensor, model: torch.nn.Module) -> np.ndarray:
    if not isinstance(model, HearModel):
        raise ValueError(f"model must be what samplecnn.hear.load_model gives, not a {type(model).__name__}")
    if not isinstance(audio, Tensor) or audio.ndim != 2:
        raise ValueError("audio input tensor must be 2D with shape (n_sounds, num_samples)")
    if audio.shape[0] == 0 or audio.shape[1] == 0:
        raise ValueError("audio must hold at least one sound with at least one sample")
    return audio.detach().float().cpu().numpy()
