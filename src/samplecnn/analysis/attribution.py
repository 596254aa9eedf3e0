"""Attribution of a model's output to parts of a sound: integrated gradients and occlusion.

A sound is split into moments (intervals of time) and into frequency bands. Both splits are partitions of unity: the
parts add up to the sound, up to rounding. Integrated gradients of the parts therefore add up, too.

Integrated gradients: Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017. The path leads from
silence to the sound. The output changes most while the sound is still faint, so the steps are denser there. Occlusion:
a part is subtracted from the sound, and the change of the output is measured.

The explained output is the logit of a class's probability, log(p / (1 - p)): for a sigmoid this is the network's
output, for a softmax the output minus the log-sum-exp of all other outputs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samplecnn.audio import fit
from samplecnn.evaluation.probabilities import full_precision
from samplecnn.mel import hertz, mel
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

CROSS_FADE = 0.15  # half-width of the cross-fade between two bands, as a share of a band
FIRST_ALPHA = 1e-4  # -80 dB: below this level 16-bit sound vanishes
LogitFunction = Callable[[Tensor], Tensor]
OnProgress = Callable[[int], None]


def no_progress(done: int) -> None:
    """Ignores progress."""


def band_edges(bands: int, rate: int) -> np.ndarray:
    """Edges in Hz of bands equally wide in mel, from 0 to half the sample rate: float64 [bands + 1]."""
    edges = hertz(np.linspace(0, mel(rate / 2), bands + 1))
    edges[-1] = rate / 2  # without rounding error
    return edges


def split_bands(wave: np.ndarray, bands: int, rate: int) -> np.ndarray:
    """A sound split into frequency bands with zero phase.

    Args:
        wave: float [samples].
        bands: number of bands, equally wide in mel; neighbours cross-fade.
        rate: Hz.

    Returns:
        float32 [bands, samples], whose sum over the bands is `wave`.
    """
    length = len(wave) + rate // 4  # zero padding, so that no filter wraps around from the end to the start
    spectrum = np.fft.rfft(wave, length)
    position = mel(np.fft.rfftfreq(length, 1 / rate)) * bands / mel(rate / 2)  # in bands
    fade = np.clip((position - np.arange(1, bands)[:, None]) / CROSS_FADE, -1, 1)
    above = np.concatenate(
        [np.ones((1, len(position))), (1 + np.sin(np.pi / 2 * fade)) / 2, np.zeros((1, len(position)))]
    )
    return np.fft.irfft(spectrum * (above[:-1] - above[1:]), length)[:, : len(wave)].astype(np.float32)


def moment_weights(samples: int, moments: int) -> np.ndarray:
    """Weights that split a sound into moments: float32 [moments, samples], which add up to 1 at every sample.

    Triangles that overlap by half; the first and the last stay at 1 towards the ends.
    """
    position = (np.arange(samples) + 0.5) * moments / samples - 0.5  # in moments, from the middle of the first
    position = np.clip(position, 0, moments - 1)
    return np.clip(1 - np.abs(position - np.arange(moments)[:, None]), 0, None).astype(np.float32)


@contextmanager
def logit_function(model: "SampleCNN", classes: list[int], samples: int) -> Iterator[LogitFunction]:
    """The model as a differentiable function of the waveform.

    A clip shorter than the model's window is padded inside the function, so that gradients reach the clip's samples.
    The model's parameters require no gradient inside the context.

    Args:
        model: a model with its task.
        classes: indices of the classes to explain.
        samples: length of the waveforms.

    Yields:
        float32 [batch, samples] -> logits of the classes' probabilities [batch, classes].
    """
    task = model.task
    assert task is not None
    device = next(model.parameters()).device
    source = torch.from_numpy(_padding_index(samples, task)).to(device)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def logits(wave: Tensor) -> Tensor:
        wave = wave.to(device)
        if samples < task.window:
            silence = wave.new_zeros(len(wave), 1)
            wave = torch.cat([wave, silence], dim=1)[:, source]
        return log_odds(model((wave - task.mean) / task.std), classes, task)

    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with full_precision(model), torch.inference_mode(False), torch.enable_grad():
            yield logits
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def log_odds(outputs: Tensor, classes: list[int], task: Task) -> Tensor:
    """Logits of probabilities, log(p / (1 - p)): the network's outputs [batch, all classes] -> [batch, classes]."""
    chosen = outputs[:, classes]
    if task.kind == "multilabel" or task.num_classes == 1:
        return chosen
    own = torch.nn.functional.one_hot(torch.tensor(classes, device=outputs.device), task.num_classes).bool()
    others = outputs[:, None].masked_fill(own, -torch.inf)
    return chosen - others.logsumexp(dim=2)


def integrated_gradients(
    logits: LogitFunction, wave: np.ndarray, steps: int, batch_size: int, on_progress: OnProgress = no_progress
) -> tuple[np.ndarray, np.ndarray]:
    """The mean gradient along the path from silence to the sound, and the rise of the logits along it.

    Args:
        logits: see `logit_function`.
        wave: float32 [samples].
        steps: points on the path, denser near silence (Gauss-Legendre in the logarithm of the level).
        batch_size: points per batch.
        on_progress: called with the number of completed points.

    Returns:
        gradients float32 [classes, samples], which times `wave` are the attributions; rise float64 [classes], the
        logits at the sound minus those at silence. The attributions of a class add up to its rise, up to the error of
        the quadrature.
    """
    sound = torch.from_numpy(wave)
    with torch.no_grad():
        ends = logits(torch.stack([torch.zeros_like(sound), sound])).double().cpu().numpy()
    alphas, weights = path(steps)
    total: np.ndarray | None = None
    for first in range(0, len(alphas), batch_size):
        batch = slice(first, first + batch_size)
        points = (torch.from_numpy(alphas[batch]).float()[:, None] * sound).requires_grad_()
        outputs = logits(points)
        parts = []
        for index in range(outputs.shape[1]):
            last = index == outputs.shape[1] - 1
            [gradient] = torch.autograd.grad(outputs[:, index].sum(), points, retain_graph=not last)
            parts.append(np.tensordot(weights[batch], gradient.double().cpu().numpy(), axes=1))
        total = np.stack(parts) if total is None else total + np.stack(parts)
        on_progress(len(points))
    assert total is not None
    return total.astype(np.float32), ends[1] - ends[0]


def path(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels between silence (0) and the sound (1), float64 [steps], and the weight of each; the weights add up to 1.

    Gauss-Legendre in u, with level = (r ** u - 1) / (r - 1) and r = 1 / FIRST_ALPHA: equal steps in decibels.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    u, ratio = (nodes + 1) / 2, 1 / FIRST_ALPHA
    slope = ratio**u * np.log(ratio) / (ratio - 1)
    weights = weights / 2 * slope
    return (ratio**u - 1) / (ratio - 1), weights / weights.sum()


def occlusion(
    logits: LogitFunction,
    wave: np.ndarray,
    parts: np.ndarray,
    batch_size: int,
    on_progress: OnProgress = no_progress,
) -> np.ndarray:
    """The decrease of the logits when one part of the sound is removed, for each part.

    Args:
        logits: see `logit_function`.
        wave: float32 [samples].
        parts: float32 [parts, samples], subtracted from `wave` in turn.
        batch_size: waveforms per batch.
        on_progress: called with the number of completed parts.

    Returns:
        float32 [classes, parts]; positive if the part raises the class's score.
    """
    losses = []
    with torch.no_grad():
        whole = logits(torch.from_numpy(wave)[None])
        for first in range(0, len(parts), batch_size):
            rest = torch.from_numpy(wave - parts[first : first + batch_size])
            losses.append((whole - logits(rest)).cpu().numpy())
            on_progress(len(rest))
    return np.concatenate(losses).T.astype(np.float32)


def _padding_index(samples: int, task: Task) -> np.ndarray:
    """For each sample of the padded window, the index of the clip's sample, int64 [window]; `samples` is silence."""
    if samples >= task.window:
        return np.arange(task.window)
    numbers = fit(np.arange(1, samples + 1), task.window, task.padding)
    return np.where(numbers == 0, samples, numbers - 1)
