"""The grid of a comparison: options of training and the values that each of them takes.

Options and their types are those of `TrainOptions`: a new option of training can be compared at once.
"""

import itertools
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from samplecnn.errors import UsageError
from samplecnn.system.arguments import suggestion, type_problem
from samplecnn.training.options import TrainOptions

Grid = dict[str, list[Any]]

# Options that a comparison sets itself, and what to use instead.
RESERVED = {
    "dataset": "it is the first argument",
    "name": "runs are named by their options",
    "log_dir": "use --out",
    "seed": "use --seeds",
    "fold": "use --folds",
    "baseline": "use --no-baselines",
}
TOGETHER = "+"  # between options that have the same value in each combination
WORDS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


def read_grid(words: Iterable[str]) -> Grid:
    """A grid as the command line has it.

    Args:
        words: "NAME=VALUE,VALUE,...", with names as `samplecnn train` has them, dashes or underscores. NAME+NAME are
            options with the same value in each combination.

    Raises:
        UsageError: no such option, or a value that it cannot have.

    Example:
        >>> read_grid(["block=basic,se features=32,64", "multi=no,yes"])
        {'block': ['basic', 'se'], 'features': [32, 64], 'multi': [False, True]}
    """
    grid: Grid = {}
    for word in (part for text in words for part in text.split()):
        name, equals, values = word.partition("=")
        if not equals or not values:
            raise UsageError(f"--grid {word!r}: expected NAME=VALUE,VALUE,... such as features=32,64")
        name = name.strip("-").replace("-", "_")
        _check_names(name)
        if name in grid:
            raise UsageError(f"--grid: {name} is there twice; give all its values in one list")
        grid[name] = [_value(name.split(TOGETHER)[0], text) for text in values.split(",")]
    return checked_grid(grid)


def checked_grid(grid: Mapping[str, Any]) -> Grid:
    """A grid as Python has it, {option: value or list of values}, with every value in a list.

    Raises:
        UsageError: no such option, an option that a comparison sets itself, or a value of the wrong type.
    """
    hints = typing.get_type_hints(TrainOptions)
    checked: Grid = {}
    names = [part for name in grid for part in name.split(TOGETHER)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"grid: {twice} is there twice; give all its values in one list")
    for name, given in grid.items():
        _check_names(name)
        values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        if not values:
            raise UsageError(f"grid: {name} has no value")
        for part, value in itertools.product(name.split(TOGETHER), values):
            problem = type_problem(value, hints[part])
            if problem:
                raise UsageError(f"grid: {part} must be {problem}, not {value!r}")
        if len(set(values)) < len(values):
            raise UsageError(f"grid: {name} has a value twice")
        checked[name] = values
    return checked


def points(grid: Grid) -> list[dict[str, Any]]:
    """Every combination of the values, the last option varying fastest.

    Example:
        >>> points({"block": ["basic", "se"], "lr": [0.01]})
        [{'block': 'basic', 'lr': 0.01}, {'block': 'se', 'lr': 0.01}]
        >>> points({"pool_size+filter_size": [2, 3]})
        [{'pool_size': 2, 'filter_size': 2}, {'pool_size': 3, 'filter_size': 3}]
    """
    return [
        {part: value for name, value in zip(grid, values, strict=True) for part in name.split(TOGETHER)}
        for values in itertools.product(*grid.values())
    ]


def label_of(point: Mapping[str, Any], grid: Grid) -> str:
    """A combination in words: the options that vary, or all of them if none does."""
    varying = [name for name in grid if len(grid[name]) > 1] or list(grid)
    return words_of({name: [point[name.split(TOGETHER)[0]]] for name in varying}) or "the defaults"


def words_of(grid: Grid) -> str:
    """A grid as `read_grid` takes it.

    Example:
        >>> words_of({"block": ["basic", "se"], "max_epochs": [2], "multi": [True]})
        'block=basic,se max-epochs=2 multi=yes'
    """
    return " ".join(f"{name.replace('_', '-')}={','.join(map(_word, values))}" for name, values in grid.items())


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _check_names(names: str) -> None:
    for name in names.split(TOGETHER):
        _check_name(name)


def _check_name(name: str) -> None:
    known = [field for field in TrainOptions.__dataclass_fields__ if field not in RESERVED]
    if name in RESERVED:
        raise UsageError(f"grid: {name} cannot vary here: {RESERVED[name]}")
    if name not in known:
        raise UsageError(f"grid: train has no option {name!r}{suggestion(name, known)}")


def _value(name: str, text: str) -> Any:
    """A value from its text, by the type of the option."""
    hint = typing.get_type_hints(TrainOptions)[name]
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) else (hint,)
    if type(None) in kinds and text.lower() == "none":
        return None
    if bool in kinds:
        if text.lower() not in WORDS:
            raise UsageError(f"--grid {name}: {text!r} is neither yes nor no")
        return WORDS[text.lower()]
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    if str in kinds:
        return text
    raise UsageError(f"--grid {name}: {text!r} is not {'an integer' if int in kinds else 'a number'}")
