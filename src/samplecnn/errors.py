"""Errors for users, each with its exit code.

Every message names the file or option and the remedy, in one line; a failed download lists its files and addresses.
The command line prints the message without a traceback.
"""

CONTINUE = "continue with --resume"
_REMEDY = "remedy: "  # begins a note of an exception


def add_remedy(error: BaseException, remedy: str) -> None:
    """Notes how the work that an error of the system has stopped is continued; of several, the last one counts."""
    error.add_note(_REMEDY + remedy)


def noted_remedy(error: BaseException) -> str | None:
    """The remedy of `add_remedy`; None if none is noted."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(_REMEDY)]
    return notes[-1].removeprefix(_REMEDY) if notes else None


class SampleCNNError(Exception):
    """Work that failed: a damaged file, a full disk, a loss that is not finite. Exit code 1."""

    exit_code = 1


class UsageError(SampleCNNError):
    """A request that cannot be met: an unknown data set, a missing file, contradicting options. Exit code 2."""

    exit_code = 2


class OptionError(UsageError):
    """A value that an option cannot have.

    Args:
        option: the argument's name in Python; on the command line it is `--option-name`.
        problem: the rest of the sentence, such as "must be at least 1, not 0".
        positional: on the command line it is a positional argument, `OPTION_NAME`.
    """

    def __init__(self, option: str, problem: str, positional: bool = False) -> None:
        super().__init__(option, problem, positional)
        self.option, self.problem, self.positional = option, problem, positional

    def __str__(self) -> str:
        return f"{self.option} {self.problem}"

    @property
    def on_command_line(self) -> str:
        """The same message with the name that the command line uses."""
        name = self.option.upper() if self.positional else f"--{self.option.replace('_', '-')}"
        return f"{name} {self.problem}"


class AudioError(SampleCNNError):
    """A recording that cannot be used; in a batch it is skipped, counted and listed."""
