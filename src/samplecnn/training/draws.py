"""The random numbers of a batch's augmentation, drawn at once for the whole batch.

They come from generators seeded with the run's seed and the batch's stage, epoch and number alone. So a resumed run
sees the same batches as an uninterrupted one, and a checkpoint need not hold their state; and of several processes that
divide a batch, each changes its segments as one process would.
"""

from dataclasses import dataclass, replace

import numpy as np

from samplecnn.training.options import TrainOptions

CROPS, EFFECTS = 1, 2  # last number of a generator's seed: its purpose
NOISE_DB = (5.0, 40.0)  # of a segment over the noise that is added to it
BACKGROUND_DB = (0.0, 30.0)  # of a segment over the recording that is mixed with it
BACKGROUND_SHARE = 0.7  # of the segments
REVERB_SHARE = 0.5  # of the segments
SHORTEST_REVERB = 0.1  # s, or the longest, if that is shorter
DIRECT_DB = (-3.0, 15.0)  # energy of a sound over that of its echoes
SLOPES = (0.0, 2.0)  # power of noise falls with the frequency to this power: white, pink, brown
FILTER_BANDS = 6  # points of a random frequency response, spaced by octaves from the highest frequency down


@dataclass(frozen=True)
class Position:
    """The position of a batch in a run, and the run's seed."""

    seed: int
    stage: int
    epoch: int
    step: int

    def next(self) -> "Position":
        return replace(self, step=self.step + 1)

    def generator(self, use: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, self.stage, self.epoch, self.step, use]))


@dataclass(frozen=True, eq=False)
class Picked:
    """The segments of a batch that a process reads: its share, and those that are mixed with it.

    Args:
        rows: their indices in the batch, int64 [n]; the share comes first.
        own: number of segments in the share.
        total: segments of the batch.
    """

    rows: np.ndarray
    own: int
    total: int

    @classmethod
    def whole(cls, count: int) -> "Picked":
        return cls(np.arange(count), count, count)

    def local(self, rows: np.ndarray) -> np.ndarray:
        """Where the batch's segments `rows`, which are among those that were read, are in what was read."""
        found = np.full(self.total, -1)
        found[self.rows] = np.arange(len(self.rows))
        return found[rows]


@dataclass(frozen=True, eq=False)
class Draws:
    """The draws of `Augmentation`, for every segment of a batch; None: the option is not used.

    Args:
        noise_seed: of the generator of noise.
        speed: octaves.
        reverb: whether a segment gets echoes, their reverberation time in seconds, and dB of the sound over them.
        noisy: whether a segment gets a filter or noise, and whether noise.
        levels, slopes: of the noise.
        bands: a frequency response, dB [count, FILTER_BANDS].
        background: start of the excerpt, dB, and whether it is mixed.
        mask: length, as a share of the longest, and start, as a share of the possible ones.
        gain: dB.
        sign: 1 or -1.
        partner: the segment that is mixed with it, and the first one's share.
    """

    noise_seed: int
    speed: np.ndarray | None = None
    reverb: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    noisy: tuple[np.ndarray, np.ndarray] | None = None
    levels: np.ndarray | None = None
    slopes: np.ndarray | None = None
    bands: np.ndarray | None = None
    background: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    mask: tuple[np.ndarray, np.ndarray] | None = None
    gain: np.ndarray | None = None
    sign: np.ndarray | None = None
    partner: tuple[np.ndarray, np.ndarray] | None = None


def drawn(options: TrainOptions, position: Position, count: int, background_starts: int = 0) -> Draws:
    """The draws for a batch.

    Args:
        options: of the run.
        position: of the batch.
        count: segments of the batch.
        background_starts: positions at which an excerpt of the background can begin; 0: there is no background.
    """
    rng = position.generator(EFFECTS)
    found: dict[str, object] = {"noise_seed": int(rng.integers(2**63))}
    if options.speed:
        found["speed"] = options.speed * rng.uniform(-1, 1, count)
    if options.reverb:
        seconds = rng.uniform(min(SHORTEST_REVERB, options.reverb), options.reverb, count)
        found["reverb"] = rng.random(count) < REVERB_SHARE, seconds, rng.uniform(*DIRECT_DB, count)
    if options.filter or options.noise:
        share = max(options.noise, 0.5 if options.filter else 0.0)
        chosen = rng.random(count) < share
        found["levels"], found["slopes"] = rng.uniform(*NOISE_DB, count), rng.uniform(*SLOPES, count)
        found["noisy"] = chosen, rng.random(count) * share < options.noise
        found["bands"] = rng.uniform(-1, 1, (count, FILTER_BANDS)) * options.filter
    if background_starts:
        starts = rng.integers(0, background_starts, count)
        found["background"] = starts, rng.uniform(*BACKGROUND_DB, count), rng.random(count) < BACKGROUND_SHARE
    if options.mask:
        found["mask"] = rng.random(count), rng.random(count)
    if options.gain or options.polarity:
        found["gain"] = options.gain * rng.uniform(-1, 1, count)
        found["sign"] = rng.choice([-1.0, 1.0], count) if options.polarity else np.ones(count)
    if options.mixing != "none":
        order = rng.permutation(count)
        partner = np.roll(order, 1)[np.argsort(order)]  # never the segment itself
        between = options.mixing == "between-class"
        share_of_first = rng.random(count) if between else rng.beta(0.4, 0.4, count)
        mixed = rng.random(count) < options.mixing_share
        found["partner"] = partner, np.where(mixed, share_of_first, 1.0)
    return Draws(**found)  # type: ignore[arg-type]


def picked(
    options: TrainOptions, position: Position, share: np.ndarray, total: int, background_starts: int = 0
) -> Picked:
    """What a process reads of a batch of `total` segments of which it has the `share`, indices in the batch."""
    if options.mixing == "none":
        return Picked(share, len(share), total)
    partners = drawn(options, position, total, background_starts).partner
    assert partners is not None
    return Picked(np.concatenate((share, np.setdiff1d(partners[0][share], share))), len(share), total)
