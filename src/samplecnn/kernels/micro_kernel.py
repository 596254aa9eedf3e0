"""The micro-kernel: what multiplies inside the loops over rows, interchangeable.

The loops (`conv_forward`, `conv_backward`, `conv_inference`) bring rows into the caches, call a micro-kernel there, and
do with its result what follows the convolution. A micro-kernel is a NamedTuple. Its type says which implementation of
the functions below numba compiles into the loops; `numba.extending.overload` adds them (see `amx_products`).
"""

GROUP = 32  # channels or features: a line of the caches in bfloat16, and what micro-kernels take at a time


def configure(unit):  # type: ignore[no-untyped-def]
    """Makes a micro-kernel ready on this thread; returns the `state` that the functions below take."""
    raise NotImplementedError


def release(state):  # type: ignore[no-untyped-def]
    """Gives back what `configure` took."""
    raise NotImplementedError


def pack_weight(unit, weight, backward):  # type: ignore[no-untyped-def]
    """A weight, float32 [features, channels, taps], as `products` takes it.

    With `backward`, that of the convolution which gives the gradient of the input from the gradient of the output.
    """
    raise NotImplementedError


def products(state, staged, weight, group, scratch, prefetch):  # type: ignore[no-untyped-def]
    """scratch [2, BLOCK_ROWS, 16] = for 32 features, the sum over taps and channels of BLOCK_ROWS rows.

    Args:
        state: of `configure`.
        staged: bfloat16 [BLOCK_ROWS + 2, channels], the row before the block and the row after it included.
        weight: of `pack_weight`.
        group: number of the 32 features.
        scratch: float32; all rows' first 16 features, then their second 16.
        prefetch: first and last address of what is fetched into the caches meanwhile.
    """
    raise NotImplementedError


def gradient_workspace(unit, channels, features):  # type: ignore[no-untyped-def]
    """Memory for `add_weight_gradient`."""
    raise NotImplementedError


def add_weight_gradient(state, workspace, source, gradient, count, sums):  # type: ignore[no-untyped-def]
    """Adds to `sums` what GRADIENT_ROWS rows give to the gradient of a weight.

    Args:
        state: of `configure`.
        workspace: of `gradient_workspace`.
        source: the address of the input's rows, bfloat16 [GRADIENT_ROWS, channels].
        gradient: of the output, bfloat16 [GRADIENT_ROWS + 2, features], the row before and the row after included.
        count: number of rows that are not 0.
        sums: float32 [taps, channels / 32, features / 32, 1024], each 1024 in the order of `gradient_index`.
    """
    raise NotImplementedError


def gradient_index(unit, channel, feature):  # type: ignore[no-untyped-def]
    """Where the weight's gradient of a channel and a feature, both below 32, lies among 1024 sums."""
    raise NotImplementedError
