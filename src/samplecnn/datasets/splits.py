"""Splits: the names that people give them, and drawing them for recordings that come without any.

Drawn splits are seeded, stratified and group-disjoint. The method is iterative stratification (Sechidis, Tsoumakas,
Vlahavas: On the Stratification of Multi-Label Data, 2011) with whole groups as units: classes are assigned from the
rarest to the most frequent, and each unit goes to the split that still lacks most clips of the class. With one label
per clip and no groups this meets every quota exactly.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from hashlib import blake2b

from samplecnn.datasets.base import SPLITS

# Names of splits in lower case. "eval" and "evaluation" are not among them: they mean one or the other, see below.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "devel": "val",
    "test": "test",
    "testing": "test",
}
EVALUATION = ("eval", "evaluation")

SHARES = {"val": 0.1, "test": 0.1}
UNLABELLED = -1  # clips without any label are stratified like a class


def is_split_name(name: str) -> bool:
    """Whether a folder or a value in a manifest is a common name of a split, in any case."""
    return name.lower() in SPLIT_NAMES or name.lower() in EVALUATION


def standard_splits(names: Iterable[str]) -> dict[str, str]:
    """The split ("train", "val" or "test") that each of the names of a data set's splits means.

    "eval" is the validation set of a data set that has a test set and no other validation set, else its test set.

    Args:
        names: all the names that occur in the data set, each of them one for which `is_split_name` holds.

    Example:
        >>> standard_splits(["Train", "eval"])
        {'Train': 'train', 'eval': 'test'}
        >>> standard_splits(["training", "eval", "test"])
        {'training': 'train', 'eval': 'val', 'test': 'test'}
    """
    names = list(dict.fromkeys(names))
    known = {SPLIT_NAMES.get(name.lower()) for name in names}
    evaluation = "val" if "test" in known and "val" not in known else "test"
    return {name: SPLIT_NAMES.get(name.lower(), evaluation) for name in names}


def draw_splits(
    keys: Sequence[str],
    labels: Sequence[tuple[int, ...]],
    seed: int = 0,
    groups: Sequence[str] | None = None,
    splits: tuple[str, ...] = ("val", "test"),
) -> list[str]:
    """The split of every clip: "train" or one of `splits`, each about a tenth of every class.

    The result depends on keys, labels, groups and seed, not on the order of the clips. A class that occurs in at least
    as many units as there are splits occurs in each split, unless its units were needed for rarer classes.

    Args:
        keys: unique name of each clip.
        labels: class indices of each clip.
        seed: other seeds give other splits.
        groups: clips of one group (a speaker, an album) stay in one split; "" is a group of one clip.
        splits: drawn in addition to train.
    """
    return _draw(keys, labels, seed, groups, ("train", *(split for split in SPLITS if split in splits)), _quota)


def draw_folds(
    keys: Sequence[str],
    labels: Sequence[tuple[int, ...]],
    count: int,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> list[str]:
    """The fold of every clip, "1" to `count`: as `draw_splits`, with an equal share of every class in each fold.

    Example:
        >>> folds = draw_folds([f"{n}.wav" for n in range(12)], [(n % 2,) for n in range(12)], count=3)
        >>> sorted(folds.count(name) for name in ("1", "2", "3"))
        [4, 4, 4]
    """
    names = tuple(str(number + 1) for number in range(count))
    return _draw(keys, labels, seed, groups, names, lambda clips, folds: [clips / len(folds)] * len(folds))


Quota = Callable[[int, tuple[str, ...]], list[float]]  # (clips of a class, splits) -> clips wanted in each split


def _draw(
    keys: Sequence[str],
    labels: Sequence[tuple[int, ...]],
    seed: int,
    groups: Sequence[str] | None,
    splits: tuple[str, ...],
    quota: Quota,
) -> list[str]:
    units = keys
    if groups:  # no key contains a NUL, so no group has the name of a clip
        units = [f"\0{group}" if group else key for key, group in zip(keys, groups, strict=True)]
    counts = _labels_of_units(units, labels, grouped=bool(groups))
    order = sorted(counts, key=lambda unit: (-sum(counts[unit].values()).bit_length(), _shuffled(seed, unit)))
    split_of = _assign(order, counts, splits, quota)
    return [split_of[unit] for unit in units]


def _labels_of_units(
    units: Sequence[str], labels: Sequence[tuple[int, ...]], grouped: bool
) -> dict[str, dict[int, int]]:
    """Number of clips of each label in each unit."""
    if not grouped:  # equal label sets share one dictionary, which saves memory for a million clips
        shared: dict[Hashable, dict[int, int]] = {}
        return {
            unit: shared.setdefault(clip_labels, dict.fromkeys(clip_labels or (UNLABELLED,), 1))
            for unit, clip_labels in zip(units, labels, strict=True)
        }
    counts: dict[str, dict[int, int]] = {}
    for unit, clip_labels in zip(units, labels, strict=True):
        count = counts.setdefault(unit, {})
        for label in clip_labels or (UNLABELLED,):
            count[label] = count.get(label, 0) + 1
    return counts


def _shuffled(seed: int, unit: str) -> bytes:
    """A pseudo-random sort key: the same on every machine, and unchanged when clips are added."""
    return blake2b(f"{seed} {unit}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _assign(
    order: list[str], counts: dict[str, dict[int, int]], splits: tuple[str, ...], quota_of: Quota
) -> dict[str, str]:
    units_of: dict[int, list[str]] = {}
    for unit in order:
        for label in counts[unit]:
            units_of.setdefault(label, []).append(unit)
    clips_of = {label: sum(counts[unit][label] for unit in units) for label, units in units_of.items()}
    wanted = {label: quota_of(clips, splits) for label, clips in clips_of.items()}
    wanted_total = [sum(quota[split] for quota in wanted.values()) for split in range(len(splits))]
    lacking = {label: set(range(len(splits))) for label in units_of}  # splits that have no clip of the label yet
    remaining = {label: len(units) for label, units in units_of.items()}

    split_of: dict[str, int] = {}
    for label in sorted(units_of, key=lambda label: (clips_of[label], label)):
        for unit in units_of[label]:
            if unit in split_of:
                continue
            # the last units of a class are reserved for the splits that have none of it
            candidates = sorted(lacking[label]) if remaining[label] <= len(lacking[label]) else range(len(splits))
            quota = wanted[label]
            chosen = max(candidates, key=lambda split: (quota[split], wanted_total[split]))
            split_of[unit] = chosen
            for other, count in counts[unit].items():
                wanted[other][chosen] -= count
                wanted_total[chosen] -= count
                lacking[other].discard(chosen)
                remaining[other] -= 1
    return {unit: splits[split] for unit, split in split_of.items()}


def _quota(clips: int, splits: tuple[str, ...]) -> list[float]:
    """Clips of a class wanted in each split; train, the first, gets what remains."""
    if clips < len(splits):
        return [clips] + [0.0] * (len(splits) - 1)
    others = [max(1, round(clips * SHARES[split])) for split in splits[1:]]
    return [clips - sum(others), *others]
