"""Ten kinds of synthetic sounds with random pitch, envelope, level, position and background, from a seed.

The kinds differ in their spectrum and envelope; pitch, loudness and position are random and do not identify them.
Every kind is a function (random generator, time in seconds [samples]) -> wave [samples] of about unit amplitude.
"""

from collections.abc import Callable

import numpy as np

RATE = 22050  # Hz
SECONDS = 1.0  # of every recording
Wave = np.ndarray
Kind = Callable[[np.random.Generator, Wave], Wave]


def pitch(rng: np.random.Generator, low: float = 150.0, high: float = 2500.0) -> float:
    """A frequency in Hz, log-uniform between `low` and `high`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def sine(rng: np.random.Generator, time: Wave) -> Wave:
    return np.sin(2 * np.pi * pitch(rng) * time + rng.uniform(0, 2 * np.pi))


def pulse(rng: np.random.Generator, time: Wave) -> Wave:
    """A hollow or reedy tone: partials of a pulse wave, cut off below half the sample rate (so it does not alias)."""
    base, width = pitch(rng, 120, 1200), rng.uniform(0.15, 0.5)
    wave = np.zeros_like(time)
    for number in range(1, min(24, int(0.45 * RATE / base)) + 1):
        wave += np.sin(np.pi * number * width) / number * np.cos(2 * np.pi * number * base * time)
    return wave


def _sweep(rng: np.random.Generator, time: Wave, up: bool) -> Wave:
    """Glides over one to two octaves, 4 to 9 per second, one after the other."""
    low, octaves, rate = pitch(rng, 200, 1200), rng.uniform(1.0, 2.0), rng.uniform(4, 9)
    phase = (time * rate + rng.uniform()) % 1.0  # position in the current glide, 0 to 1
    frequency = low * 2 ** (octaves * (phase if up else 1 - phase))
    return np.sin(2 * np.pi * np.cumsum(frequency) / RATE)


def sweep_up(rng: np.random.Generator, time: Wave) -> Wave:
    return _sweep(rng, time, up=True)


def sweep_down(rng: np.random.Generator, time: Wave) -> Wave:
    return _sweep(rng, time, up=False)


def noise(rng: np.random.Generator, time: Wave) -> Wave:
    return rng.standard_normal(len(time))


def band(rng: np.random.Generator, time: Wave) -> Wave:
    """Band-limited noise, a third of an octave to two octaves wide."""
    centre, octaves = pitch(rng, 300, 5000), rng.uniform(0.3, 2.2)
    spectrum = np.fft.rfft(rng.standard_normal(len(time)))
    frequency = np.fft.rfftfreq(len(time), 1 / RATE)
    distance = np.log2(np.maximum(frequency, 1.0) / centre) / octaves
    return np.fft.irfft(spectrum * np.exp(-0.5 * (2.5 * distance) ** 2), len(time))


def clicks(rng: np.random.Generator, time: Wave) -> Wave:
    """Short clicks, 6 to 30 per second, at slightly irregular intervals."""
    rate, ring = rng.uniform(6, 30), pitch(rng, 800, 5000)
    wave = np.zeros_like(time)
    tail = np.arange(int(0.012 * RATE)) / RATE
    knock = np.exp(-tail * rng.uniform(300, 900)) * np.sin(2 * np.pi * ring * tail)
    at = rng.uniform(0, 1 / rate)
    while (start := int(at * RATE)) < len(time) - len(knock):
        wave[start : start + len(knock)] += knock * rng.uniform(0.6, 1.0)
        at += rng.uniform(0.85, 1.15) / rate
    return wave


def bell(rng: np.random.Generator, time: Wave) -> Wave:
    """Inharmonic partials with exponential decay, faster for higher partials."""
    base, decay = pitch(rng, 200, 900), rng.uniform(4, 12)
    wave = np.zeros_like(time)
    for ratio in (1.0, 2.76, 5.4, 8.93):
        stretched = base * ratio * rng.uniform(0.97, 1.03)
        if stretched < 0.45 * RATE:
            wave += rng.uniform(0.4, 1.0) * np.exp(-decay * ratio**0.5 * time) * np.sin(2 * np.pi * stretched * time)
    return wave


def tremolo(rng: np.random.Generator, time: Wave) -> Wave:
    """A tone with amplitude modulation of 5 to 14 Hz."""
    beat = 2 * np.pi * rng.uniform(5, 14) * time + rng.uniform(0, 2 * np.pi)
    return sine(rng, time) * (1 - rng.uniform(0.55, 1.0) * (0.5 + 0.5 * np.sin(beat)))


def chord(rng: np.random.Generator, time: Wave) -> Wave:
    """Three notes of a major or minor triad, each with an overtone."""
    base, third = pitch(rng, 150, 800), (3, 4)[rng.integers(2)]
    wave = np.zeros_like(time)
    for semitones in (0, third, 7):
        turn = 2 * np.pi * base * 2 ** (semitones / 12) * time + rng.uniform(0, 2 * np.pi)
        wave += np.sin(turn) + 0.3 * np.sin(2 * turn)
    return wave


KINDS: dict[str, Kind] = {
    "band": band,
    "bell": bell,
    "chord": chord,
    "clicks": clicks,
    "noise": noise,
    "pulse": pulse,
    "sine": sine,
    "sweep_down": sweep_down,
    "sweep_up": sweep_up,
    "tremolo": tremolo,
}


def background(rng: np.random.Generator, samples: int) -> Wave:
    """Noise of unit RMS with a spectrum between white and brown, [samples]."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 20.0)
    wave = np.fft.irfft(spectrum * frequency ** -rng.uniform(0.0, 1.0), samples)
    return wave / np.sqrt(np.mean(wave**2))


def render(kind: str, seed: int, index: int) -> Wave:
    """Recording number `index` of a kind: int16 [22,050]; equal arguments give equal samples.

    The sound lasts 0.75 to 0.98 s, starts at a random position, peaks between -20 and -3 dB of full scale and is 4 to
    36 dB above a background noise.
    """
    rng = np.random.default_rng([seed, sorted(KINDS).index(kind), index])
    samples = int(SECONDS * RATE)
    length = int(rng.uniform(0.75, 0.98) * RATE)
    time = np.arange(length) / RATE
    attack, release = rng.uniform(0.002, 0.08), rng.uniform(0.01, 0.15)
    envelope = np.minimum(1, time / attack) * np.minimum(1, (time[-1] - time) / release)
    sound = KINDS[kind](rng, time) * envelope
    sound /= max(np.abs(sound).max(), 1e-9)

    wave = np.zeros(samples)
    start = rng.integers(samples - length + 1)
    wave[start : start + length] = sound
    over_noise = 10 ** (rng.uniform(4, 36) / 20)
    wave += background(rng, samples) * np.sqrt(np.mean(sound**2)) / over_noise
    wave *= 10 ** (rng.uniform(-20, -3) / 20) / np.abs(wave).max()
    return np.round(wave * 32767).astype(np.int16)
