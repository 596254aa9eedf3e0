"""Shared by all commands: --config, --quiet, --verbose, options from the environment, choices in help, completion."""

import functools
import inspect
import math
import os
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from samplecnn.cli.choices import resolve_names
from samplecnn.cli.config_file import CONFIG, NOT_FROM_FILES, read_config
from samplecnn.errors import UsageError
from samplecnn.system import log
from samplecnn.system.arguments import suggestion

COMPLETE_VARIABLE = "_SAMPLECNN_COMPLETE"  # set by the scripts of `samplecnn completion`
PATHS = {  # metavars of options that take a path, and what messages call it
    **dict.fromkeys(("FILE", "PATH", "JOURNAL", "MODEL", "RUN"), "file"),
    **dict.fromkeys(("DIR", "FOLDER", "MODEL_DIR"), "folder"),
}
PREFIX = "SAMPLECNN"  # prefix of environment variables: SAMPLECNN_TRAIN_BATCH_SIZE is --batch-size of `samplecnn train`

SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,  # plain help: importing rich would take longer than everything else
    "context_settings": {
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
        "auto_envvar_prefix": PREFIX,
    },
}


def _config(context: typer.Context, value: str | None) -> str | None:
    if value is None or context.resilient_parsing:
        return value
    tables = read_config(value, context.find_root().command)
    for name in _path(context):
        tables = tables.get(name, {})
    context.default_map = {**(context.default_map or {}), **tables}
    context.meta[CONFIG] = value
    return value


def _quiet(context: typer.Context, value: bool) -> bool:
    if value and not context.resilient_parsing:
        log.set_verbosity(log.Verbosity.QUIET)
    return value


def _verbose(context: typer.Context, value: bool) -> bool:
    if value and not context.resilient_parsing:
        log.set_verbosity(log.Verbosity.VERBOSE)
    return value


Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=_config,
        help="Read options from a TOML file with a table for each command.",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", is_eager=True, callback=_quiet, help="Show results and warnings only.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", is_eager=True, callback=_verbose, help="Also show details on stderr.")
]
COMMON = {"config": (Config, None), "quiet": (Quiet, False), "verbose": (Verbose, False)}


def with_common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the options that every verb has; they act before it is called, and it does not receive them."""
    signature = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in COMMON.items()
    ]

    @functools.wraps(command)
    def call(**options: Any) -> Any:
        return command(**{name: value for name, value in options.items() if name not in COMMON})

    given = [param.replace(kind=inspect.Parameter.KEYWORD_ONLY) for param in signature.parameters.values()]
    call.__signature__ = signature.replace(parameters=[*given, *added])  # type: ignore[attr-defined]
    call.__annotations__ = {param.name: param.annotation for param in [*given, *added]}
    return call


class Commands(TyperGroup):
    """A group of commands; the message about an unknown one leads to those that there are."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            message = getattr(error, "message", "")
            if message.startswith("No such command") and "Did you mean" not in message:
                below = args[1:2] if args[0] == "help" and args[1:2] and args[1] in self.commands else []
                hint = f"`{' '.join([ctx.command_path, *below])} --help` describes {'it' if below else 'all'}"
                if args[0] == "list" and self.invoke_without_command:
                    hint = f"`{ctx.command_path}` lists them"
                error.message = f"{message.rstrip('.')}; {hint}"  # type: ignore[attr-defined]
            raise


class Verb(TyperCommand):
    """A command with choices from registries, and with the source of wrong values in error messages."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for param in self.params:
            for attribute in ("metavar", "help"):
                if text := getattr(param, attribute, None):
                    setattr(param, attribute, resolve_names(text))
            if not isinstance(param.get_help_record, functools.partial):
                record = functools.partial(_help_record, param, param.get_help_record)
                param.get_help_record = record  # type: ignore[method-assign]
            if hasattr(param, "show_envvar"):  # the epilog describes all of them
                param.show_envvar = False
        names = [param.name for param in self.params if _configurable(param)]
        if names:
            example = "data_dir" if "data_dir" in names else names[0]
            self.epilog = (
                f"Options can also be set in the table [{'.'.join(_path(ctx))}] of a --config file, or by environment "
                f"variables: {_variable(ctx, example)} sets --{example.replace('_', '-')}."
            )
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _warn_about_unknown_variables(ctx, self.params)
            _refuse_empty(args)
        try:
            rest: list[str] = super().parse_args(ctx, args)
        except Exception as error:
            _name_source(ctx, error)
            raise
        if not ctx.resilient_parsing:
            _refuse_unusable(ctx, self.params)
        _show_options(ctx, self.params)
        return rest


def _help_record(param: Any, record: Callable[[Any], Any], context: Any) -> Any:
    """A parameter in the help, without typer's types of arguments (<list[str]>) and the range of <int range>."""
    found = record(context)
    if found is None:
        return None
    name, text = found
    if param.param_type_name == "argument":
        name = re.sub(r" <[^<>]*>$", "", name)
    return name.replace(" range>", ">"), text


def _configurable(param: Any) -> bool:
    """Whether a file or a variable can set a parameter: all options except those in NOT_FROM_FILES."""
    return param.param_type_name == "option" and param.name not in NOT_FROM_FILES


def _path(context: Any) -> list[str]:
    """The names of a command's context below the program: ["analyze", "filters"]."""
    names: list[str] = []
    while context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return names


def _variable(context: Any, name: str) -> str:
    return f"{context.auto_envvar_prefix}_{name.upper()}"


def _source(context: Any, name: str) -> str:
    """Where a parameter's value comes from: COMMANDLINE, ENVIRONMENT, DEFAULT_MAP or DEFAULT."""
    return getattr(context.get_parameter_source(name), "name", "")


def _origin(context: Any, name: str) -> str:
    """The source for messages; "" for the command line and for defaults."""
    source = _source(context, name)
    if source == "ENVIRONMENT":
        return _variable(context, name)
    return str(context.meta.get(CONFIG, "--config")) if source == "DEFAULT_MAP" else ""


def _name_source(context: Any, error: Exception) -> None:
    """Adds the source of a wrong value to click's message, unless it is the command line."""
    param, message = getattr(error, "param", None), getattr(error, "message", None)
    if param is not None and isinstance(message, str):
        origin = _origin(context, param.name)
        if origin:
            error.message = f"{message} (from {origin})"  # type: ignore[attr-defined]


def _refuse_empty(args: list[str]) -> None:
    """Refuses empty arguments: a path would be that of the current folder.

    Raises:
        UsageError: `"$OUT"` of a script where OUT is not set, or `--output=`.
    """
    for before, argument in pairwise(["", *args]):
        option, equals, value = argument.partition("=")
        if argument == "":
            what = f"the argument after {before}" if before else "the first argument"
        elif option.startswith("--") and equals and not value:
            what = option
        else:
            continue
        raise UsageError(f"{what} is empty; give it a value, or set the shell variable that has none")


def _refuse_unusable(context: Any, params: list[Any]) -> None:
    """Refuses what click accepts and no command can use: numbers that are not finite, and options taken for paths.

    Raises:
        UsageError: `--hop inf`, or `--about --format csv`, where the value of --about is missing.
    """
    for param in params:
        if param.param_type_name != "option" or _source(context, param.name) in ("DEFAULT", ""):
            continue
        flag, origin = f"--{param.name.replace('_', '-')}", _origin(context, param.name)
        source = f" (from {origin})" if origin else ""
        found = context.params.get(param.name)
        for value in found if isinstance(found, list | tuple) else [found]:
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{flag} must be a finite number, not {value}{source}")
            text, what = str(value), PATHS.get(param.metavar or "")
            if what and text.startswith("-") and (text != "-" or what == "folder"):
                raise UsageError(f"{flag} needs a {what}, not {text}; a {what} of that name is ./{text}{source}")


def _show_options(context: Any, params: list[Any]) -> None:
    """With --verbose: prints the given options and their source."""
    for param in params:
        source = _source(context, param.name)
        if param.param_type_name == "option" and param.name not in COMMON and source not in ("DEFAULT", ""):
            origin = _origin(context, param.name) or "command line"
            log.detail(f"--{param.name.replace('_', '-')} {context.params.get(param.name)} ({origin})")


def _warn_about_unknown_variables(context: Any, params: list[Any]) -> None:
    """Warns about variables with this command's prefix that are not options of it, and so have no effect."""
    prefix = f"{context.auto_envvar_prefix}_"
    known = [_variable(context, param.name) for param in params if _configurable(param)]
    common = [_variable(context, name) for name in COMMON]
    for name in sorted(os.environ):
        if name.startswith(prefix) and name not in (*known, *common):
            log.warn(
                f"{name} has no effect: it is not an option of {' '.join(_path(context))}{suggestion(name, known)}"
            )
