"""samplecnn completion SHELL: a script that completes commands, options and their choices."""

from typing import Annotated

import typer

from samplecnn.cli import choices
from samplecnn.cli.process import PROGRAM
from samplecnn.cli.verbs import COMPLETE_VARIABLE

SHELLS = ("bash", "zsh", "fish")


def completion(
    shell: Annotated[
        str,
        choices.choice_argument(of=choices.SHELLS, metavar="SHELL", help="The shell to write for: bash, zsh or fish."),
    ],
) -> None:
    """Print a shell script that completes commands, options and choices.

    bash: add `eval "$(samplecnn completion bash)"` to ~/.bashrc. zsh: the same with zsh in ~/.zshrc, after compinit.
    fish: samplecnn completion fish > ~/.config/fish/completions/samplecnn.fish
    """
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, shell=shell)
    typer.echo(script)
