"""Plain blocks computed in one pass, in parallel over samples or, with too few samples, over time.

Arrays are [rows, features] with one row per time step; bfloat16 is stored as uint16. `unit` is the micro-kernel, or
`FLOAT_VECTORS` for float32.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from samplecnn.kernels import conv_forward, conv_inference, winograd_inference
from samplecnn.kernels.conv_forward import BiasFloor
from samplecnn.kernels.operands import Batch, ConvBlock, PooledResult
from samplecnn.kernels.passes import scale
from samplecnn.kernels.staging import padded_length
from samplecnn.kernels.threads import parallel_for, run

__all__ = ["BiasFloor", "Block", "FirstConv", "chain", "convolve", "packed", "single"]

MIN_ROWS_PER_THREAD = 2048  # if several threads share a sample

FirstConv = tuple[np.ndarray, np.ndarray]  # the first convolution's weight, float32 [3, features], and its bias
packed = conv_forward.packed


class Block(NamedTuple):
    """The arguments of the kernels for a plain block: packed weight and bias of the convolution, 4 excitation
    arrays.
    """

    weight: np.ndarray
    bias: np.ndarray
    squeeze: tuple[np.ndarray, ...] | None


def chain(
    unit: Any, x: np.ndarray, samples: int, first: FirstConv | None, blocks: Sequence[Block], out: np.ndarray
) -> None:
    """Applies consecutive blocks to x [rows, channels], or with `first` to frames, float32 [rows, 3]; result in `out`.

    Each thread runs a sample through all blocks, so that a block's result is still in the caches for the next block. A
    last sample that would occupy one thread while the others are idle is shared by all threads.
    """
    steps = len(x) // samples
    last_steps = len(out) // samples
    unshared = samples - (samples % torch.get_num_threads() == 1)

    def one_sample(sample: int, shared: bool) -> None:
        values = Batch(x[sample * steps : (sample + 1) * steps], steps)
        for number, block in enumerate(blocks):
            result = out[sample * last_steps : (sample + 1) * last_steps]
            if number < len(blocks) - 1:
                result = np.empty((values.steps // 3, len(block.bias)), out.dtype)
            conv0 = first if number == 0 else None
            if shared:
                _shared_sample(unit, values, conv0, block, result)
            else:
                _pooled_block(0, 1, unit, values, conv0, block, result)
            values = Batch(result, values.steps // 3)

    run(one_sample, [(sample, False) for sample in range(unshared)])
    if unshared < samples:
        one_sample(unshared, True)


def single(unit: Any, x: np.ndarray, samples: int, block: Block, out: np.ndarray) -> None:
    """Applies one block to x [rows, channels]; result in `out`."""
    if samples == 1:
        chain(unit, x, samples, None, [block], out)
    else:
        values = Batch(x, len(x) // samples)
        parallel_for(_pooled_block, samples, out.size // samples * 3, unit, values, None, block, out)


def convolve(unit: Any, x: Batch, weight: np.ndarray, epilogue: BiasFloor, out: np.ndarray) -> None:
    """Applies a convolution with a bias and optionally a ReLU; result in `out` [rows, features]."""
    count = len(x.rows) // x.steps * padded_length(x.steps)
    operands = x, weight, Batch(out, x.steps), epilogue
    if isinstance(unit, winograd_inference.FloatVectors):
        parallel_for(winograd_inference.convolve, count, out.shape[1], *operands)
    else:
        parallel_for(conv_forward.convolve, count, out.shape[1], unit, *operands)


def _pooled_block(
    lo: int, hi: int, unit: Any, x: Batch, first: FirstConv | None, block: Block, out: np.ndarray
) -> None:
    conv = ConvBlock(block.weight, block.bias)
    conv_inference.pooled_block(lo, hi, unit, x, first, conv, block.squeeze, out)


def _shared_sample(unit: Any, x: Batch, first: FirstConv | None, block: Block, out: np.ndarray) -> None:
    """`conv_inference.pooled_block` for one sample, on all threads."""
    rows = padded_length(x.steps)
    count = max(1, min(torch.get_num_threads(), rows // MIN_ROWS_PER_THREAD))
    cuts = [rows // 3 * part // count * 3 for part in range(count + 1)]
    sums = np.zeros((count, 1, len(block.bias)), np.float32)
    operands = unit, x, first, ConvBlock(block.weight, block.bias)
    parts = zip(itertools.pairwise(cuts), sums, strict=True)
    results = [(*part, *operands, PooledResult(out, own, 0)) for part, own in parts]
    run(conv_inference.pooled_rows, results)
    if block.squeeze is not None:
        means = sums.sum((0, 1)) / np.float32(len(out))
        factors = conv_inference.excitation_factors(means, block.squeeze)[None]
        pooled_cuts = [min(cut // 3, len(out)) for cut in cuts]
        run(scale, [(*part, len(out), out, factors) for part in itertools.pairwise(pooled_cuts)])
