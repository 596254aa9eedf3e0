"""The interface of micro-kernels, which multiply inside the loops over rows and are interchangeable.

The loops (`conv_forward`, `conv_backward`, `conv_inference`) bring rows into the caches, call a micro-kernel there, and
apply the following operations to its result. A micro-kernel is a NamedTuple. Its type selects the implementation of the
functions below that numba compiles into the loops; `numba.extending.overload` adds implementations (see
`amx_products`).
"""

GROUP = 32  # channels or features processed at a time by micro-kernels: one cache line in bfloat16


def configure(unit):  # type: ignore[no-untyped-def]
    """Prepares a micro-kernel on this thread; returns the `state` for the functions below."""
    raise NotImplementedError


def release(state):  # type: ignore[no-untyped-def]
    """Releases what `configure` acquired."""
    raise NotImplementedError


def pack_weight(unit, weight, backward):  # type: ignore[no-untyped-def]
    """A weight, float32 [features, channels, taps], in the layout of `products`.

    With `backward`, the weight of the convolution that computes the gradient of the input from that of the output.
    """
    raise NotImplementedError


def products(state, staged, weight, group, scratch, prefetch):  # type: ignore[no-untyped-def]
    """scratch [2, BLOCK_ROWS, 16] = for 32 features, the sum over taps and channels of BLOCK_ROWS rows.

    Args:
        state: from `configure`.
        staged: bfloat16 [BLOCK_ROWS + 2, channels], with the row before the block and the row after it.
        weight: from `pack_weight`.
        group: index of the group of 32 features.
        scratch: float32; all rows' first 16 features, then their second 16.
        prefetch: address range to fetch into the caches meanwhile.
    """
    raise NotImplementedError


def gradient_workspace(unit, channels, features):  # type: ignore[no-untyped-def]
    """Memory for `add_weight_gradient`."""
    raise NotImplementedError


def add_weight_gradient(state, workspace, source, gradient, count, sums):  # type: ignore[no-untyped-def]
    """Adds the contribution of GRADIENT_ROWS rows to the gradient of a weight.

    Args:
        state: from `configure`.
        workspace: from `gradient_workspace`.
        source: the address of the input's rows, bfloat16 [GRADIENT_ROWS, channels].
        gradient: the output's, bfloat16 [GRADIENT_ROWS + 2, features], with the row before and the row after.
        count: number of rows that are not 0.
        sums: float32 [taps, channels / 32, features / 32, 1024], each 1024 in the order of `gradient_index`.
    """
    raise NotImplementedError


def gradient_index(unit, channel, feature):  # type: ignore[no-untyped-def]
    """Index of the weight's gradient of a channel and a feature, both below 32, among 1024 sums."""
    raise NotImplementedError
