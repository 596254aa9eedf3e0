"""Options from a TOML file with a table for each command; keys as on the command line, with dashes or underscores.

    [train]
    lr = 0.02
    batch-size = 46

    [analyze.filters]
    steps = 12

In order of precedence: the command line, environment variables, the file, the defaults.
"""

import tomllib
from pathlib import Path
from typing import Any

from samplecnn.errors import UsageError
from samplecnn.parsing import SHOWN, read_text, shown
from samplecnn.system.arguments import suggestion

CONFIG = "samplecnn.config"  # where a context keeps the file's path
NOT_FROM_FILES = {"config", "quiet", "verbose", "version", "help", "resume"}


def read_config(path: str, root: Any) -> dict[str, Any]:
    """The defaults in a TOML file, checked against the commands below `root`.

    Returns:
        {command: {parameter: value}}, nested for subcommands, as in click's `default_map`.

    Raises:
        UsageError: no such file, not TOML, or a table or key that is not a command or one of its options, with a
            suggestion.
    """
    text = read_text(Path(path), "--config expects a TOML file", UsageError)
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for numbers with thousands of digits
        reason = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise UsageError(f"{path}: not TOML ({reason})") from error
    return _group(tables, root, path, "")


def _group(tables: dict[str, Any], group: Any, path: str, where: str) -> dict[str, Any]:
    """The tables of a group of commands."""
    for name, table in tables.items():
        if name not in group.commands:
            what = "table" if isinstance(table, dict) else "key"
            near = suggestion(name, group.commands)
            raise UsageError(f"{path}: {what} {where}{_short(name)} is not a command of samplecnn{near}")
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {where}{name} must be a table: [{where}{name}]")
    return {
        name: _group(table, group.commands[name], path, f"{where}{name}.")
        if hasattr(group.commands[name], "commands")
        else _command(table, group.commands[name], path, f"{where}{name}")
        for name, table in tables.items()
    }


def _command(table: dict[str, Any], command: Any, path: str, name: str) -> dict[str, Any]:
    """The options of one command, by the names of its parameters."""
    options = {param.name: param for param in command.params if param.param_type_name == "option"}
    known = [name.replace("_", "-") for name in options if name not in NOT_FROM_FILES]
    values = {}
    for key, value in table.items():
        dashed = key.replace("_", "-")
        if dashed not in known:
            if dashed == "resume":
                raise UsageError(f"{path}: [{name}] resume: give --resume on the command line, not in a file")
            raise UsageError(f"{path}: [{name}] has no option {_short(key)}{suggestion(dashed, known)}")
        param = options[dashed.replace("-", "_")]
        values[param.name] = _value(value, param, f"{path}: [{name}] {key}")
    return values


def _short(name: str) -> str:
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}…"


def _value(value: Any, param: Any, where: str) -> Any:
    """A TOML value as it would be given on the command line: flags are booleans, all others are text."""
    if getattr(param, "is_flag", False):
        if not isinstance(value, bool):
            raise UsageError(f"{where} must be true or false, not {shown(value)}")
        return value
    if "" in (value if isinstance(value, list) else [value]):
        raise UsageError(f"{where} is empty; give it a value, or leave it out")
    if getattr(param, "multiple", False):
        if isinstance(value, str) and param.default:  # such as formats, which have one by default
            return [value]
        if not isinstance(value, list):
            raise UsageError(f"{where} must be a list, not {shown(value)}")
        return [str(item) for item in value]
    if isinstance(value, bool | list | dict):
        raise UsageError(f"{where} must be a single value, not {shown(value)}")
    return str(value)
