"""The errors a user can cause or must hear of: one clear line each, and the exit code that goes with it.

Every message names the file (or option) and says what to do. The command line prints the message without a traceback.
"""


class SampleCNNError(Exception):
    """Work that failed: a damaged file, a full disk, a loss that is not a number. Exit code 1."""

    exit_code = 1


class UsageError(SampleCNNError):
    """A request that cannot be met as asked: unknown data set, missing file, contradicting options. Exit code 2."""

    exit_code = 2


class AudioError(SampleCNNError):
    """A recording that cannot be used; in a batch it is skipped, counted and listed."""
