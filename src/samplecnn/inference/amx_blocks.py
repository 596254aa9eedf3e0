"""Plain blocks by matrix tiles, spread over threads: sample by sample, and the rest by parts of their time.

Arrays are [rows, features], a row a step of time; bfloat16 comes as uint16.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from samplecnn.inference import amx_kernels
from samplecnn.kernels.amx_forward import packed, padded_length
from samplecnn.kernels.amx_tiles import CONFIG
from samplecnn.kernels.threads import parallel_for, run

__all__ = ["Block", "chain", "convolve", "packed", "single"]

WORTH = 2048  # rows of a sample that are worth a thread

First = tuple[np.ndarray, np.ndarray]  # the first convolution's weight, float32 [3, features], and its bias


class Block(NamedTuple):
    """A plain block as the kernels want it: the convolution, packed, its bias, and the excitation's four arrays."""

    weight: np.ndarray
    bias: np.ndarray
    squeeze: tuple[np.ndarray, ...] | None


def chain(x: np.ndarray, samples: int, first: First | None, blocks: Sequence[Block], out: np.ndarray) -> None:
    """Blocks one after the other, on x [rows, channels], or where there is a `first` on float32 [rows, 3], to `out`.

    A thread takes a sample through all of them, so that what a block makes is in the caches for the next. One that
    would be left for a single thread is shared by all.
    """
    steps = len(x) // samples
    last = len(out) // samples
    alone = samples - (samples % torch.get_num_threads() == 1)

    def take(sample: int, together: bool) -> None:
        seen, long = x[sample * steps : (sample + 1) * steps], steps
        for number, block in enumerate(blocks):
            made = out[sample * last : (sample + 1) * last]
            if number < len(blocks) - 1:
                made = np.empty((long // 3, len(block.bias)), np.uint16)
            given = seen, first if number == 0 else None, long, *block, made
            if together:
                _together(*given)
            else:
                amx_kernels.block(0, 1, *given, CONFIG)
            seen, long = made, long // 3

    run(take, [(sample, False) for sample in range(alone)])
    if alone < samples:
        take(alone, True)


def single(x: np.ndarray, samples: int, block: Block, out: np.ndarray) -> None:
    """One block on x [rows, channels], to `out`."""
    if samples == 1:
        chain(x, samples, None, [block], out)
    else:
        parallel_for(
            amx_kernels.block, samples, out.size // samples * 3, x, None, len(x) // samples, *block, out, CONFIG
        )


def convolve(x: np.ndarray, samples: int, weight: np.ndarray, bias: np.ndarray, floor: float, out: np.ndarray) -> None:
    """A convolution of x [rows, channels], not below `floor`, to `out`."""
    steps = len(x) // samples
    given = x, steps, weight, bias, np.float32(floor), out, CONFIG
    parallel_for(amx_kernels.convolve, samples * padded_length(steps), len(bias), *given)


def _together(
    x: np.ndarray,
    first: First | None,
    steps: int,
    weight: np.ndarray,
    bias: np.ndarray,
    squeeze: tuple[np.ndarray, ...] | None,
    out: np.ndarray,
) -> None:
    """`tiled.block` for one sample, by all threads."""
    rows = padded_length(steps)
    count = max(1, min(torch.get_num_threads(), rows // WORTH))
    cuts = [rows // 3 * part // count * 3 for part in range(count + 1)]
    sums = np.zeros((count, 1, len(bias)), np.float32)
    given = x, first, steps, weight, bias, out
    parts = zip(itertools.pairwise(cuts), sums, strict=True)
    run(amx_kernels.pooled, [(*part, *given, own, 0, CONFIG) for part, own in parts])
    if squeeze is not None:
        scale = amx_kernels.factors(sums.sum((0, 1)) / np.float32(len(out)), squeeze)
        places = [min(cut // 3, len(out)) for cut in cuts]
        run(amx_kernels.rescale, [(*part, out, scale) for part in itertools.pairwise(places)])
