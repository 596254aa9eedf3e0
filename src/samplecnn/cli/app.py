"""The command `samplecnn`: one verb per module, imported light so that --help answers at once."""

import errno
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from samplecnn import __version__
from samplecnn.cli.analyze import analyze
from samplecnn.cli.bench import bench
from samplecnn.cli.build import build
from samplecnn.cli.completion import completion
from samplecnn.cli.convert import convert_command
from samplecnn.cli.demo import demo
from samplecnn.cli.doctor import doctor
from samplecnn.cli.eval import evaluate_command
from samplecnn.cli.export import export_command
from samplecnn.cli.info import info_command
from samplecnn.cli.prepare import prepare
from samplecnn.cli.tag import tag_command
from samplecnn.cli.train import train
from samplecnn.cli.verbs import COMPLETE_VARIABLE, PROGRAM, SETTINGS, Verb, Verbs, with_common
from samplecnn.errors import OptionError, SampleCNNError
from samplecnn.extras import explained

app = typer.Typer(name=PROGRAM, cls=Verbs, no_args_is_help=True, **SETTINGS)

VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "prepare": prepare,
    "build": build,
    "train": train,
    "eval": evaluate_command,
    "tag": tag_command,
    "export": export_command,
    "convert": convert_command,
    "bench": bench,
    "info": info_command,
    "doctor": doctor,
    "completion": completion,
}


def summary_of(command: Callable[..., None]) -> str:
    """A verb in a few words for the list of verbs: its docstring up to the first colon."""
    return (command.__doc__ or "").split(":")[0].split("\n")[0].rstrip(".")


for verb, command in VERBS.items():
    app.command(verb, cls=Verb, short_help=summary_of(command))(with_common(command))
app.add_typer(analyze, name="analyze", short_help="Analyze a trained network")


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


def run(command: Callable[[], Any]) -> None:
    """Runs a command; an error that the user can correct becomes one line on stderr and the exit code it carries."""
    # PyTorch's threads wait for their next task by spinning, on the cores that decoding and the compiled passes need
    # meanwhile: a training step took a sixth longer. OpenMP reads this once, when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        command()
    except OptionError as error:
        print(f"error: {error.on_command_line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SampleCNNError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:  # of an extra that no check asked for before the work began
        print(f"error: {explained(PROGRAM, error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of our output went away (`| head`)
            sys.exit(0)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        where = f"{error.filename}: " if error.filename else ""
        remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the permissions"
        print(f"error: {where}{error.strerror}; {remedy} and run the same command again", file=sys.stderr)
        sys.exit(1)


def run_script(verb: str) -> None:
    """Runs one verb as a program of its own, as the original's scripts do: `train.py` is `samplecnn train`."""
    run(lambda: app([verb, *sys.argv[1:]], prog_name=PROGRAM))


def main() -> None:
    if COMPLETE_VARIABLE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()  # typer's shells, which it does not offer where --install-completion is left out
    run(lambda: app(prog_name=PROGRAM))
