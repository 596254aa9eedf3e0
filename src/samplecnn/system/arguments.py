"""Checks of the arguments of public functions: a wrong name, type or value becomes one line that names the argument.

>>> @checked
... def train(dataset: str, *, max_epochs: int = 100) -> None: ...
>>> train("demo", epochs=3)
Traceback (most recent call last):
...
samplecnn.errors.UsageError: train has no option 'epochs'; did you mean max_epochs?
>>> train("demo", max_epochs="3")
Traceback (most recent call last):
...
samplecnn.errors.UsageError: train: max_epochs must be an integer, not '3'
"""

import inspect
import numbers
import types
import typing
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from samplecnn.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

# Names of the checked types in messages. Values of other types are not checked.
NAMES: dict[Any, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "True or False",
    Path: "a path",
    type(None): "None",
}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: raises UsageError instead of TypeError for invalid arguments."""
    signature = inspect.signature(function)
    name = function.__name__

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for keyword in kwargs:
            if keyword not in signature.parameters:
                raise UsageError(f"{name} has no option {keyword!r}{suggestion(keyword, signature.parameters)}")
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UsageError(f"{name}: {error}; it takes {', '.join(signature.parameters)}") from error
        for argument, value in bound.arguments.items():
            problem = type_problem(value, signature.parameters[argument].annotation)
            if problem:
                raise UsageError(f"{name}: {argument} must be {problem}, not {value!r}")
        return function(*args, **kwargs)

    return call


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known name, or all names if none is near."""
    names = list(known)
    name = name[:100]  # the time of comparisons is quadratic in the length
    near = get_close_matches(name, names, n=1, cutoff=0.5) or [other for other in names if name and name in other][:1]
    return f"; did you mean {near[0]}?" if near else f"; use {', '.join(names)}"


def type_problem(value: Any, annotation: Any) -> str:
    """A description of the allowed types if a value has another type; "" if it is valid or cannot be checked."""
    allowed = _alternatives(annotation)
    if not allowed or any(_fits(value, kind) for kind in allowed):
        return ""
    words = [repr(kind.value) if isinstance(kind, _Value) else NAMES[kind] for kind in allowed]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


class _Value(typing.NamedTuple):
    """One value of a Literal."""

    value: Any


def _alternatives(annotation: Any) -> list[Any]:
    """The types and values that an annotation allows; empty if one of them is not in NAMES."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return [_Value(value) for value in typing.get_args(annotation)]
    if origin in (typing.Union, types.UnionType):
        parts = [_alternatives(part) for part in typing.get_args(annotation)]
        return [kind for part in parts for kind in part] if all(parts) else []
    kind = type(None) if annotation is None else annotation
    return [kind] if isinstance(kind, type) and kind in NAMES else []


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, _Value):
        return bool(value == kind.value)
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, numbers.Real)
    if kind is int:
        return hasattr(value, "__index__")
    return isinstance(value, kind)
