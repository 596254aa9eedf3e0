"""Streams spliced from recordings of single words or sounds, for which it is known what is to be heard when."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from samplecnn.listening.detector import Heard

GAPS = (1.0, 2.5)  # seconds between two utterances, drawn evenly
LATE = 1.0  # seconds after its recording's end in which an utterance may be heard
LEVEL = 0.01  # root mean square of the noise: -40 dB of full scale
LOUD = 0.01  # share of the loudest frame's power above which a frame counts as loud


class Utterance(NamedTuple):
    """A recording in a stream.

    Args:
        label: its class; "" for one that no class stands for.
        start, end: in seconds.
    """

    label: str
    start: float
    end: float


class Outcome(NamedTuple):
    """How a detector did on a stream.

    Args:
        heard: utterances of a class whose first event has that class.
        utterances: of a class.
        wrong: those with another class's event, or with more than one.
        alarms: utterances of no class with an event.
        others: utterances of no class.
        between: events outside of all utterances.
    """

    heard: int
    utterances: int
    wrong: int
    alarms: int
    others: int
    between: int


def spliced(
    clips: Sequence[tuple[str, np.ndarray]], noises: Sequence[np.ndarray], snr: float | None, rate: int, seed: int
) -> tuple[np.ndarray, list[Utterance]]:
    """A stream of recordings with gaps between them, in noise that goes on.

    Args:
        clips: label and waveform of each, float32 [samples], at `rate`; their order is drawn.
        noises: recordings at `rate`, joined in an order that is drawn and repeated as often as needed.
        snr: mean power of a clip where it is loud (`loud_power`) over that of the noise, in dB; None: no noise, and
            clips as loud as they are.
        rate: Hz.
        seed: of all that is drawn.

    Returns:
        float32 [samples], and the utterances in order.
    """
    rng = np.random.default_rng(seed)
    parts, utterances, at = [], [], 0
    for index in rng.permutation(len(clips)):
        label, wave = clips[index]
        if snr is not None:
            wave = wave * np.float32(LEVEL * 10 ** (snr / 20) / np.sqrt(max(loud_power(wave, rate), 1e-12)))
        gap = np.zeros(round(rng.uniform(*GAPS) * rate), np.float32)
        start = at + len(gap)
        at = start + len(wave)
        utterances.append(Utterance(label, start / rate, at / rate))
        parts += [gap, wave]
    stream = np.concatenate([*parts, np.zeros(round(LATE * rate), np.float32)]).astype(np.float32)
    if snr is not None:
        order = rng.permutation(len(noises))
        noise = np.resize(np.concatenate([levelled(noises[index]) for index in order]), len(stream))
        stream += noise
    return np.clip(stream, -1, 1), utterances


def levelled(noise: np.ndarray) -> np.ndarray:
    """A recording of noise at `LEVEL`."""
    return noise * np.float32(LEVEL / max(float(np.sqrt(np.mean(np.square(noise, dtype=np.float64)))), 1e-9))


def loud_power(wave: np.ndarray, rate: int) -> float:
    """Mean power of the frames of 10 ms that have at least a hundredth of the loudest frame's power.

    Example:
        >>> round(loud_power(np.concatenate((np.zeros(800), np.ones(800))), 8000), 3)
        1.0
    """
    frame = max(rate // 100, 1)
    if len(wave) < frame:
        return float(np.mean(np.square(wave, dtype=np.float64))) if len(wave) else 0.0
    power = np.square(wave[: len(wave) // frame * frame].reshape(-1, frame), dtype=np.float64).mean(axis=1)
    return float(power[power >= LOUD * power.max()].mean())


def outcome(utterances: Sequence[Utterance], heard: Sequence[Heard]) -> Outcome:
    """Assigns events to utterances by their time: from an utterance's start to `LATE` after its end.

    Example:
        >>> event = Heard("event", "yes", 0.9, 0.5, 2.2, 1.0, 2.2)
        >>> outcome([Utterance("yes", 1.0, 2.0), Utterance("", 4.0, 5.0)], [event])
        Outcome(heard=1, utterances=1, wrong=0, alarms=0, others=1, between=0)
    """
    events = [each for each in heard if each.kind == "event"]
    right = wrong = alarms = used = 0
    for utterance, found in zip(utterances, _within(utterances, events), strict=True):
        used += len(found)
        labels = [each.label for each in found]
        right += bool(labels) and labels[0] == utterance.label
        wrong += utterance.label != "" and any(label != utterance.label for label in labels)
        alarms += utterance.label == "" and bool(labels)
    asked = sum(each.label != "" for each in utterances)
    return Outcome(right, asked, wrong, alarms, len(utterances) - asked, len(events) - used)


def _within(utterances: Sequence[Utterance], events: Sequence[Heard]) -> Iterator[list[Heard]]:
    number = 0
    for utterance in utterances:
        found = []
        while number < len(events) and events[number].time <= utterance.end + LATE:
            if events[number].time >= utterance.start:
                found.append(events[number])
            number += 1
        yield found
