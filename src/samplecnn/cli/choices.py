"""Options whose values are the names in a registry, which is imported when they are needed and not before.

A registry is named by its place, "module:NAME". `samplecnn --help` imports none; `samplecnn train --help`, a value on
the command line and shell completion look them up, so a block or an engine that is added to its registry is an option
at once.
"""

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, get_args

import typer

from samplecnn.system.arguments import suggestion

# Where the names that options can have are listed. The value is a mapping, a sequence or a Literal.
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

AUTO = "auto"  # the first choice where a program may choose for itself


def names_of(place: str) -> tuple[str, ...]:
    """The names in a registry; "auto+module:NAME" puts "auto" in front of them."""
    first, plus, rest = place.rpartition("+")
    module, _, name = rest.partition(":")
    registry = getattr(import_module(module), name)
    names: Iterable[str] = registry if isinstance(registry, dict | tuple | list) else get_args(registry)
    return (first, *names) if plus else tuple(names)


def choice(*flags: str, of: str, help: str, several: bool = False, **more: Any) -> Any:
    """A typer option that takes the names in a registry.

    Args:
        flags: as `typer.Option` takes them; by default the parameter's name.
        of: the registry's place, as `names_of` takes it.
        help, more: as `typer.Option` takes them.
        several: more than one name may be given, separated by commas.
    """
    check, complete = _check(of, several), _complete(of, several)
    return typer.Option(*flags, help=help, metavar=of, callback=check, autocompletion=complete, **more)


def by_recipe(field: str, metavar: str, help: str) -> Any:
    """A typer option whose default is that of the recipe; the help names its value in each.

    Args:
        field: of `samplecnn.training.recipes.Recipe`.
        metavar: what the value is; the place of a registry for the options that take its names; "" for a flag.
        help: as `typer.Option` takes it.
    """
    help = f"{help} [{{{RECIPES}.{field}}}]"
    if ":" in metavar:
        return choice(of=metavar, help=help)
    return typer.Option(help=help, metavar=metavar or None)


def choice_argument(of: str, help: str, **more: Any) -> Any:
    """The same as a positional argument; its metavar stays the parameter's name."""
    return typer.Argument(help=help, callback=_check(of), autocompletion=_complete(of), **more)


def _check(place: str, several: bool = False) -> Callable[..., Any]:
    def check(context: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
        if value is None or context.resilient_parsing or value == param.default:
            return value
        known = names_of(place)
        for name in map(str.strip, value.split(",")) if several else [value]:
            if name not in known:
                raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}{_near(name, known)}")
        return value

    return check


def _near(value: str, known: tuple[str, ...]) -> str:
    said = suggestion(value, known)
    return said if said.endswith("?") else ""


def _complete(place: str, several: bool = False) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        return [f"{before}{comma}{name}" for name in names_of(place) if name.startswith(last)]

    return complete


def filled(text: str) -> str:
    """A metavar or help text with the names of the registries that it refers to: "{samplecnn.models:BLOCKS}"."""
    if text.startswith(("samplecnn.", f"{AUTO}+samplecnn.")):
        return f"[{'|'.join(names_of(text))}]"
    for place in (DATA_SETS, PUBLISHED, SPLITS):
        text = text.replace(f"{{{place}}}", ", ".join(names_of(place))) if place in text else text
    if RECIPES in text:
        from samplecnn.training.recipes import said

        text = re.sub(rf"\{{{RECIPES}\.(\w+)\}}", lambda found: said(found[1]), text)
    if BENCHMARKS in text:
        from samplecnn.bench import BENCHMARKS as benchmarks

        described = "; ".join(f"{name}: {benchmark.about}" for name, benchmark in benchmarks.items())
        text = text.replace(f"{{{BENCHMARKS}}}", described)
    return text
