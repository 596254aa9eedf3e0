"""Which parts of a sound a model's answer rests on: integrated gradients, and what happens when a part is taken away.

A sound is split into moments and into frequency bands. Both splits are partitions of unity: the parts, added up, are
the sound again, to the last bit of rounding. What integrated gradients say of the parts therefore adds up, too.

Integrated gradients: Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017. The path leads from
silence to the sound. Along it, the model's answer changes most where the sound is still faint, so the steps lie closer
together there.

What is explained is the logit of a tag's probability, log(p / (1 - p)): for a sigmoid that is the network's own output,
for a softmax it is the output's lead over all other classes together.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samplecnn.analysis.mel import hertz, mel
from samplecnn.audio import fit
from samplecnn.evaluation.probabilities import full_precision
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

CROSS_FADE = 0.15  # half-width of the fade between two bands, as a share of a band
FIRST_ALPHA = 1e-4  # -80 dB: below, 16-bit sound has vanished
Answer = Callable[[Tensor], Tensor]


def band_edges(bands: int, rate: int) -> np.ndarray:
    """Edges in Hz of bands equally wide in mel, from 0 to half the sample rate: float64 [bands + 1]."""
    edges = hertz(np.linspace(0, mel(rate / 2), bands + 1))
    edges[-1] = rate / 2  # to the bit
    return edges


def split_bands(wave: np.ndarray, bands: int, rate: int) -> np.ndarray:
    """A sound in its frequency bands, without a shift of phase.

    Args:
        wave: float [samples].
        bands: how many, equally wide in mel; neighbours fade into each other.
        rate: Hz.

    Returns:
        float32 [bands, samples], whose sum over the bands is `wave`.
    """
    length = len(wave) + rate // 4  # silence behind the end, so that no filter reaches round to the beginning
    spectrum = np.fft.rfft(wave, length)
    place = mel(np.fft.rfftfreq(length, 1 / rate)) * bands / mel(rate / 2)  # in bands
    fade = np.clip((place - np.arange(1, bands)[:, None]) / CROSS_FADE, -1, 1)
    above = np.concatenate([np.ones((1, len(place))), (1 + np.sin(np.pi / 2 * fade)) / 2, np.zeros((1, len(place)))])
    return np.fft.irfft(spectrum * (above[:-1] - above[1:]), length)[:, : len(wave)].astype(np.float32)


def moment_weights(samples: int, moments: int) -> np.ndarray:
    """Weights that split a sound into moments: float32 [moments, samples], which add up to 1 at every sample.

    Triangles that overlap by half; the first and the last stay at 1 towards the ends.
    """
    place = (np.arange(samples) + 0.5) * moments / samples - 0.5  # in moments, from the middle of the first
    place = np.clip(place, 0, moments - 1)
    return np.clip(1 - np.abs(place - np.arange(moments)[:, None]), 0, None).astype(np.float32)


@contextmanager
def answering(model: "SampleCNN", tags: list[int], samples: int) -> Iterator[Answer]:
    """The model as a function of the waveform: float32 [batch, samples] -> logits of the tags' probabilities.

    A clip shorter than the model's window is filled up inside, so that gradients reach the samples of the clip.
    Parameters take no gradient meanwhile.
    """
    task = model.task
    assert task is not None
    device = next(model.parameters()).device
    source = torch.from_numpy(_filled(samples, task)).to(device)
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def answer(wave: Tensor) -> Tensor:
        wave = wave.to(device)
        if samples < task.window:
            silence = wave.new_zeros(len(wave), 1)
            wave = torch.cat([wave, silence], dim=1)[:, source]
        return log_odds(model((wave - task.mean) / task.std), tags, task)

    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        with full_precision(model), torch.inference_mode(False), torch.enable_grad():
            yield answer
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def log_odds(outputs: Tensor, tags: list[int], task: Task) -> Tensor:
    """Logits of probabilities, log(p / (1 - p)): the network's outputs [batch, classes] -> [batch, tags]."""
    chosen = outputs[:, tags]
    if task.kind == "multilabel" or task.num_classes == 1:
        return chosen
    own = torch.nn.functional.one_hot(torch.tensor(tags, device=outputs.device), task.num_classes).bool()
    others = outputs[:, None].masked_fill(own, -torch.inf)
    return chosen - others.logsumexp(dim=2)


def integrated_gradients(
    answer: Answer, wave: np.ndarray, steps: int, batch_size: int, tell: Callable[[int], None] = lambda done: None
) -> tuple[np.ndarray, np.ndarray]:
    """The mean gradient along the way from silence to the sound, and what the answers rise by on the way.

    Args:
        answer: see `answering`.
        wave: float32 [samples].
        steps: points on the way, closer together near silence (Gauss-Legendre in the logarithm of the level).
        batch_size: points at once.
        tell: called with the number of points done.

    Returns:
        gradients float32 [tags, samples], which times `wave` give the attributions; rise float64 [tags], the answers at
        the sound less those at silence. The attributions of a tag add up to its rise, but for the steps' width.
    """
    sound = torch.from_numpy(wave)
    with torch.no_grad():
        ends = answer(torch.stack([torch.zeros_like(sound), sound])).double().cpu().numpy()
    alphas, weights = path(steps)
    total: np.ndarray | None = None
    for first in range(0, len(alphas), batch_size):
        chosen = slice(first, first + batch_size)
        points = (torch.from_numpy(alphas[chosen]).float()[:, None] * sound).requires_grad_()
        answers = answer(points)
        parts = []
        for tag in range(answers.shape[1]):
            last = tag == answers.shape[1] - 1
            [gradient] = torch.autograd.grad(answers[:, tag].sum(), points, retain_graph=not last)
            parts.append(np.tensordot(weights[chosen], gradient.double().cpu().numpy(), axes=1))
        total = np.stack(parts) if total is None else total + np.stack(parts)
        tell(len(points))
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


def without(
    answer: Answer,
    wave: np.ndarray,
    parts: np.ndarray,
    batch_size: int,
    tell: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """What the answers lose when a part of the sound is taken away, one part after the other.

    Args:
        parts: float32 [parts, samples], to be subtracted from `wave`.

    Returns:
        float32 [tags, parts]; positive where the part spoke for the tag.
    """
    lost = []
    with torch.no_grad():
        whole = answer(torch.from_numpy(wave)[None])
        for first in range(0, len(parts), batch_size):
            rest = torch.from_numpy(wave - parts[first : first + batch_size])
            lost.append((whole - answer(rest)).cpu().numpy())
            tell(len(rest))
    return np.concatenate(lost).T.astype(np.float32)


def _filled(samples: int, task: Task) -> np.ndarray:
    """Which sample of the clip each sample of the window is, int64 [window]; `samples` stands for silence."""
    if samples >= task.window:
        return np.arange(task.window)
    numbers = fit(np.arange(1, samples + 1), task.window, task.padding)
    return np.where(numbers == 0, samples, numbers - 1)
