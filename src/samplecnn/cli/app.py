"""The program `samplecnn`: one module per command, which is imported when the command is used or described."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.main import get_command

from samplecnn import __version__
from samplecnn.cli.process import PROGRAM, run
from samplecnn.cli.verbs import COMPLETE_VARIABLE, SETTINGS, Commands, Verb, with_common

# Commands in the order of the help: a module of this package, and its function or group of commands.
VERBS = {
    "demo": "demo:demo",
    "prepare": "prepare:prepare",
    "build": "build:build",
    "train": "train:train",
    "eval": "eval:evaluate_command",
    "compare": "compare:compare_command",
    "tag": "tag:tag_command",
    "listen": "listen:listen_command",
    "serve": "serve:serve_command",
    "export": "export:export_command",
    "convert": "convert:convert_command",
    "push": "push:push_command",
    "pull": "pull:pull_command",
    "bench": "bench:bench",
    "info": "info:info_command",
    "doctor": "doctor:doctor",
    "completion": "completion:completion",
    "analyze": "analyze:analyze",
    "index": "index:index",
    "models": "models:models",
}


class LazyCommands(Mapping[str, Any]):
    """Click's commands by name. Each is built on first access: building all of them takes longer than most commands."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            self._built[name] = _build(name)
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in VERBS

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


def _build(name: str) -> Any:
    module, _, attribute = VERBS[name].partition(":")
    found = getattr(import_module(f"samplecnn.cli.{module}"), attribute)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name, cls=Verb)(with_common(found))
        found = single
    command = get_command(found)
    command.name, command.short_help = name, _short_help(command.help)
    for each in (command, *getattr(command, "commands", {}).values()):
        _convert_if_needed(each)
    return command


def _convert_if_needed(command: Any) -> None:
    """Lets text and defaults pass without typer's conversion, which imports pydantic: longer than all other parsing.

    Versions of typer that convert by click's types are left as they are.
    """
    params_of = command.get_params  # with --help, which is not in `command.params`

    def get_params(context: Any) -> list[Any]:
        params: list[Any] = params_of(context)
        for param in params:
            if hasattr(param, "type_descriptor") and not isinstance(param.process_value, partial):
                param.process_value = partial(_process_value, param, param.process_value)
        return params

    command.get_params = get_params


def _process_value(param: Any, convert: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    """A parameter's value for the command: what `convert` would return."""
    annotation, texts = param.type_descriptor.annotation, value if isinstance(value, list | tuple) else [value]
    is_text = annotation in (str, list[str]) and all(isinstance(text, str) for text in texts)
    if not (is_text or value is param.default) or (param.required and param.value_is_missing(value)):
        try:
            return convert(context, value)
        except typer.BadParameter as error:  # with a message of pydantic's
            message = error.message.removeprefix("Value error, ").partition(", unable to parse")[0]
            error.message = re.sub("^Input should be", "must be", message)
            raise
    return value if param.callback is None else param.callback(context, param, value)


def _short_help(help: str | None) -> str:
    """The help in the list of commands: up to the first colon."""
    return (help or "").split(":")[0].split("\n")[0].rstrip(".")


class Program(Commands):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands()  # type: ignore[assignment]
        _convert_if_needed(self)


app = typer.Typer(name=PROGRAM, cls=Program, no_args_is_help=True, **SETTINGS)


def about(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", allow_from_autoenv=False, help="Show the version and exit.")
    ] = False,
) -> None:
    """Audio classification straight from the waveform: from recordings to a trained, scored model that tags files."""
    if version:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        context.fail(f"Missing command; `{PROGRAM} --help` describes all")


app.callback(invoke_without_command=True)(with_common(about))


def run_script(verb: str) -> None:
    """Runs one command as a script, like the original's scripts: `train.py` is `samplecnn train`."""
    run(lambda: app([verb, *sys.argv[1:]], prog_name=PROGRAM))


def main() -> None:
    if COMPLETE_VARIABLE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()  # registers typer's shells, which it omits without --install-completion
    run(lambda: app(prog_name=PROGRAM))
