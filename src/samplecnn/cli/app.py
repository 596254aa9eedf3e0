"""The program `samplecnn`: one module per command, with lazy imports so that --help is fast."""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from samplecnn import __version__
from samplecnn.cli.analyze import analyze
from samplecnn.cli.bench import bench
from samplecnn.cli.build import build
from samplecnn.cli.compare import compare_command
from samplecnn.cli.completion import completion
from samplecnn.cli.convert import convert_command
from samplecnn.cli.demo import demo
from samplecnn.cli.doctor import doctor
from samplecnn.cli.eval import evaluate_command
from samplecnn.cli.export import export_command
from samplecnn.cli.index import index
from samplecnn.cli.info import info_command
from samplecnn.cli.listen import listen_command
from samplecnn.cli.models import models
from samplecnn.cli.prepare import prepare
from samplecnn.cli.process import PROGRAM, run
from samplecnn.cli.pull import pull_command
from samplecnn.cli.push import push_command
from samplecnn.cli.serve import serve_command
from samplecnn.cli.tag import tag_command
from samplecnn.cli.train import train
from samplecnn.cli.verbs import COMPLETE_VARIABLE, SETTINGS, Verb, with_common

app = typer.Typer(name=PROGRAM, no_args_is_help=True, **SETTINGS)

VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "prepare": prepare,
    "build": build,
    "train": train,
    "eval": evaluate_command,
    "compare": compare_command,
    "tag": tag_command,
    "listen": listen_command,
    "serve": serve_command,
    "export": export_command,
    "convert": convert_command,
    "push": push_command,
    "pull": pull_command,
    "bench": bench,
    "info": info_command,
    "doctor": doctor,
    "completion": completion,
}


def summary_of(command: Callable[..., None]) -> str:
    """A short help for the list of commands: the docstring up to the first colon."""
    return (command.__doc__ or "").split(":")[0].split("\n")[0].rstrip(".")


for verb, command in VERBS.items():
    app.command(verb, cls=Verb, short_help=summary_of(command))(with_common(command))
app.add_typer(analyze, name="analyze", short_help="Analyze a trained network")
app.add_typer(index, name="index", short_help="Keep an index of a collection")
app.add_typer(models, name="models", short_help="List the packaged models, which are used by name")


def about(
    version: Annotated[
        bool, typer.Option("--version", allow_from_autoenv=False, help="Show the version and exit.")
    ] = False,
) -> None:
    """Audio classification straight from the waveform: from recordings to a trained, scored model that tags files."""
    if version:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit()


app.callback(invoke_without_command=True)(with_common(about))


def run_script(verb: str) -> None:
    """Runs one command as a script, like the original's scripts: `train.py` is `samplecnn train`."""
    run(lambda: app([verb, *sys.argv[1:]], prog_name=PROGRAM))


def main() -> None:
    if COMPLETE_VARIABLE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()  # registers typer's shells, which it omits without --install-completion
    run(lambda: app(prog_name=PROGRAM))
