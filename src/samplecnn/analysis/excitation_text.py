"""Summary of excitation statistics in sentences."""

import math
from itertools import pairwise

import numpy as np

from samplecnn.analysis.excitation_result import Excitations

MAX_CHANCE = 0.5  # eta squared expected by chance, above which no statement about classes is made
MAX_EXCEPTIONS = 3  # blocks named as exceptions to a trend


def sentences(found: Excitations) -> list[str]:
    """A sentence for each block, and a last one about all of them."""
    lines = [
        f"{block.name}: {block.units} units, mean {block.mean.mean():.3f}, spread across classes "
        f"{found.spread[index]:.4f}, between classes {_percent(found.eta_squared[index])} of the variance, "
        f"correlation with loudness |r| {_figure(found.loudness_correlation[index])}"
        for index, block in enumerate(found.blocks)
    ]
    if found.chance > MAX_CHANCE:
        labels, present = int(found.counts.sum()), np.count_nonzero(found.counts)
        lines.append(
            f"{labels:,} segments of {present:,} classes are too few for a statement about classes: by chance "
            f"{_percent(found.chance)} of the variance would lie between classes"
        )
    elif len(found.blocks) > 1 and not np.isnan(found.eta_squared).any():
        line = f"the share between classes {trend(found.names, found.eta_squared)}; by chance {_percent(found.chance)}"
        if not np.isnan(found.loudness_correlation).all():
            largest = int(np.nanargmax(found.loudness_correlation))
            line += (
                f"; the correlation with loudness is largest in {found.names[largest]} "
                f"(|r| {_figure(found.loudness_correlation[largest])})"
            )
        lines.append(line)
    return lines


def trend(names: list[str], shares: np.ndarray) -> str:
    """How shares (0 to 1) change from block to block, with every exception: "grows with depth, from ...".

    Changes refer to the printed values: differences below 0.1 % count as none.
    """
    shown = np.round(100 * np.asarray(shares, dtype=np.float64), 1)
    steps = np.diff(shown)
    ends = f"from {_percent(shares[0])} in {names[0]} to {_percent(shares[-1])} in {names[-1]}"
    if not steps.any():
        return f"is {_percent(shares[0])} in every block"
    if shown[0] == shown[-1]:
        low, high = int(shown.argmin()), int(shown.argmax())
        return (
            f"is the same in the first and the last block ({_percent(shares[0])}), between {_percent(shares[low])} "
            f"({names[low]}) and {_percent(shares[high])} ({names[high]})"
        )
    sign = 1 if shown[-1] > shown[0] else -1
    verb = "grows" if sign > 0 else "falls"
    against = [index for index, step in enumerate(steps, start=1) if sign * step < 0]
    if not against:
        return f"{verb} with depth, {ends}{'' if steps.all() else ', in some blocks not at all'}"
    changes = list(pairwise(shares))
    exceptions = [
        f"{names[index]} ({_percent(changes[index - 1][0])} to {_percent(changes[index - 1][1])})"
        for index in against[:MAX_EXCEPTIONS]
    ]
    more = f" and {len(against) - MAX_EXCEPTIONS} more" if len(against) > MAX_EXCEPTIONS else ""
    other = "falls" if sign > 0 else "grows"
    return f"{verb} {ends}, but not steadily: it {other} in {', '.join(exceptions)}{more}"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
