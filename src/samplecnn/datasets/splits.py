"""Seeded, stratified, group-disjoint splits for recordings that come without one.

The method is iterative stratification (Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data, 2011)
with whole groups as units: classes are dealt from the rarest to the most frequent, and each unit goes to the split that
still lacks most of that class. With one label a clip and no groups this meets every quota exactly.
"""

from collections.abc import Hashable, Sequence
from hashlib import blake2b

from samplecnn.datasets.base import SPLITS

SHARES = {"val": 0.1, "test": 0.1}
UNLABELLED = -1  # clips without any label are dealt out like a class of their own


def draw(
    keys: Sequence[str],
    labels: Sequence[tuple[int, ...]],
    seed: int = 0,
    groups: Sequence[str] | None = None,
    splits: tuple[str, ...] = ("val", "test"),
) -> list[str]:
    """The split of every clip: "train" or one of `splits`, each about a tenth of every class.

    The draw depends on keys, labels, groups and seed, not on the order of the clips. A class found in as many units as
    there are splits is found in each of them, unless its units were needed by rarer classes.

    Args:
        keys: unique name of each clip.
        labels: class indices of each clip.
        groups: clips of one group (a speaker, an album) stay in one split; "" is a clip of its own.
        splits: what is split off from train.
    """
    units = keys
    if groups:  # no key holds a NUL, so that no group is taken for a clip
        units = [f"\0{group}" if group else key for key, group in zip(keys, groups, strict=True)]
    counts = _labels_of_units(units, labels, grouped=bool(groups))
    order = sorted(counts, key=lambda unit: (-sum(counts[unit].values()).bit_length(), _shuffled(seed, unit)))
    split_of = _deal(order, counts, ("train", *(split for split in SPLITS if split in splits)))
    return [split_of[unit] for unit in units]


def _labels_of_units(
    units: Sequence[str], labels: Sequence[tuple[int, ...]], grouped: bool
) -> dict[str, dict[int, int]]:
    """Clips of each label in each unit."""
    if not grouped:  # equal label sets share one dictionary, which keeps a million clips small
        shared: dict[Hashable, dict[int, int]] = {}
        return {
            unit: shared.setdefault(own, dict.fromkeys(own or (UNLABELLED,), 1))
            for unit, own in zip(units, labels, strict=True)
        }
    counts: dict[str, dict[int, int]] = {}
    for unit, own in zip(units, labels, strict=True):
        count = counts.setdefault(unit, {})
        for label in own or (UNLABELLED,):
            count[label] = count.get(label, 0) + 1
    return counts


def _shuffled(seed: int, unit: str) -> bytes:
    """A key that sorts units as if shuffled: the same on every machine, and steady when clips are added."""
    return blake2b(f"{seed} {unit}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _deal(order: list[str], counts: dict[str, dict[int, int]], splits: tuple[str, ...]) -> dict[str, str]:
    units_of: dict[int, list[str]] = {}
    for unit in order:
        for label in counts[unit]:
            units_of.setdefault(label, []).append(unit)
    clips_of = {label: sum(counts[unit][label] for unit in units) for label, units in units_of.items()}
    wanted = {label: _quota(clips, splits) for label, clips in clips_of.items()}
    wanted_in_all = [sum(quota[place] for quota in wanted.values()) for place in range(len(splits))]
    absent = {label: set(range(len(splits))) for label in units_of}  # places that have no clip of the label yet
    left = {label: len(units) for label, units in units_of.items()}

    place_of: dict[str, int] = {}
    for label in sorted(units_of, key=lambda label: (clips_of[label], label)):
        for unit in units_of[label]:
            if unit in place_of:
                continue
            # the last units of a class are kept for the splits that have none of it
            places = sorted(absent[label]) if left[label] <= len(absent[label]) else range(len(splits))
            quota = wanted[label]
            place = max(places, key=lambda place: (quota[place], wanted_in_all[place]))
            place_of[unit] = place
            for own, count in counts[unit].items():
                wanted[own][place] -= count
                wanted_in_all[place] -= count
                absent[own].discard(place)
                left[own] -= 1
    return {unit: splits[place] for unit, place in place_of.items()}


def _quota(clips: int, splits: tuple[str, ...]) -> list[int]:
    """Clips of a class wanted in each split; train, the first, gets what the shares of the others leave."""
    if clips < len(splits):
        return [clips] + [0] * (len(splits) - 1)
    others = [max(1, round(clips * SHARES[split])) for split in splits[1:]]
    return [clips - sum(others), *others]
