"""Options whose values are the names in a registry, which is imported lazily.

A registry is given as "module:NAME". `samplecnn --help` imports none; `samplecnn train --help`, a value on the command
line and shell completion look the names up, so a block or an engine added to its registry is immediately an option.
"""

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, get_args

import typer

from samplecnn.system.arguments import suggestion

# Registries of option values. Each is a mapping, a sequence or a Literal.
BLOCKS = "samplecnn.models:BLOCKS"
ENGINES = "samplecnn.inference:ENGINES"
PRECISIONS = "samplecnn.inference:PRECISIONS"
TRAIN_PRECISIONS = "samplecnn.training.options:PRECISIONS"
RECIPES = "samplecnn.training.recipes:RECIPES"
OPTIMIZERS = "samplecnn.training.recipes:OPTIMIZERS"
SCHEDULES = "samplecnn.training.recipes:SCHEDULES"
MIXINGS = "samplecnn.training.recipes:MIXINGS"
SHARD_FORMATS = "samplecnn.shards.formats:FORMATS"
TAG_FORMATS = "samplecnn.tagging.formats:FORMATS"
SMOOTHINGS = "samplecnn.tagging.events:Smoothing"
EXPORT_FORMATS = "samplecnn.interop.export:FORMATS"
DATA_SETS = "samplecnn.datasets:REGISTRY"
PUBLISHED = "samplecnn.datasets.published:PUBLISHED"
SPLITS = "samplecnn.datasets:SPLITS"
PADDINGS = "samplecnn.task:Padding"
FRONTENDS = "samplecnn.models.fitting:Frontend"
POOLINGS = "samplecnn.models.config:Pooling"
KINDS = "samplecnn.task:Kind"
LISTEN_FORMATS = "samplecnn.listening.outputs:FORMATS"
PCM_FORMATS = "samplecnn.listening.sources:PCM_FORMATS"
BENCHMARKS = "samplecnn.bench:BENCHMARKS"
SHELLS = "samplecnn.cli.completion:SHELLS"

AUTO = "auto"  # an additional choice: selected automatically


def names_of(reference: str) -> tuple[str, ...]:
    """The names in a registry; "auto+module:NAME" prepends "auto"."""
    first, plus, rest = reference.rpartition("+")
    module, _, name = rest.partition(":")
    registry = getattr(import_module(module), name)
    names: Iterable[str] = registry if isinstance(registry, dict | tuple | list) else get_args(registry)
    return (first, *names) if plus else tuple(names)


def choice(*flags: str, of: str, help: str, several: bool = False, **more: Any) -> Any:
    """A typer option whose values are the names in a registry.

    Args:
        flags: see `typer.Option`; by default the parameter's name.
        of: reference of the registry, see `names_of`.
        help, more: see `typer.Option`.
        several: allows several names, separated by commas or by repeating the option.
    """
    check, complete = _check(of, several), _complete(of, several)
    return typer.Option(*flags, help=help, metavar=of, callback=check, autocompletion=complete, **more)


def by_recipe(field: str, metavar: str, help: str) -> Any:
    """A typer option whose default depends on the recipe; the help lists the default of each recipe.

    Args:
        field: a field of `samplecnn.training.recipes.Recipe`.
        metavar: the value's metavar; the reference of a registry for options with its names; "" for a flag.
        help: see `typer.Option`.
    """
    help = f"{help} [{{{RECIPES}.{field}}}]"
    if ":" in metavar:
        return choice(of=metavar, help=help)
    return typer.Option(help=help, metavar=metavar or None)


def choice_argument(of: str, help: str, **more: Any) -> Any:
    """`choice` as a positional argument; its metavar is the parameter's name."""
    return typer.Argument(help=help, callback=_check(of), autocompletion=_complete(of), **more)


def _check(reference: str, several: bool = False) -> Callable[..., Any]:
    def check(context: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
        if value is None or context.resilient_parsing or value == param.default:
            return value
        known = names_of(reference)
        given = [value] if isinstance(value, str) else value
        for name in [name.strip() for text in given for name in text.split(",")] if several else given:
            if name not in known:
                raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}{_hint(name, known)}")
        return value

    return check


def _hint(value: str, known: tuple[str, ...]) -> str:
    hint = suggestion(value, known)
    return hint if hint.endswith("?") else ""


def _complete(reference: str, several: bool = False) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        return [f"{before}{comma}{name}" for name in names_of(reference) if name.startswith(last)]

    return complete


def resolve_names(text: str) -> str:
    """Replaces references to registries in a metavar or help text, such as "{samplecnn.models:BLOCKS}", by their
    names.
    """
    if text.startswith(("samplecnn.", f"{AUTO}+samplecnn.")):
        return f"[{'|'.join(names_of(text))}]"
    for reference in (DATA_SETS, PUBLISHED, SPLITS):
        text = text.replace(f"{{{reference}}}", ", ".join(names_of(reference))) if reference in text else text
    if RECIPES in text:
        from samplecnn.training.recipes import values_text

        text = re.sub(rf"\{{{RECIPES}\.(\w+)\}}", lambda found: values_text(found[1]), text)
    if BENCHMARKS in text:
        from samplecnn.bench import BENCHMARKS as benchmarks

        described = "; ".join(f"{name}: {benchmark.about}" for name, benchmark in benchmarks.items())
        text = text.replace(f"{{{BENCHMARKS}}}", described)
    return text
