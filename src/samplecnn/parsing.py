"""Files that may hold anything: read with bounds, then checked value by value against rules.

A rule is a function of a value and its key. It returns "" for a value that is allowed, else what is wrong in words:

>>> whole(1, 50)("8", "num_blocks")
"num_blocks must be a whole number from 1 to 50, not '8'"

Every parser of the package reads through `read_text` or `read_object` (or asks for `require_file` before it hands a
file to a library) and gives its rules to `check`, so that any fault is one line with the file, the key and the remedy,
and nothing that a small file announces is computed or allocated before it is checked.
"""

import json
import math
import reprlib
import stat
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from samplecnn.errors import SampleCNNError

MAX_BYTES = 256 << 20  # of a description; 100,000 classes and the longest training stay far below
MAX_PATH = 100_000  # characters
SHOWN = 60  # characters of a wrong value that a message shows

Rule = Callable[[Any, str], str]


def require_file(path: Path, remedy: str, error: type[SampleCNNError] = SampleCNNError) -> int:
    """The size of a regular file in bytes. Anything else would be read for ever, or fail with an error of its own.

    Raises:
        SampleCNNError: nothing there, or a folder, FIFO, socket or device; of the type `error`.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"{path}: not found; {remedy}") from None
    except ValueError:  # a name that no file can have
        raise error(f"{str(path)!r}: not a file name; {remedy}") from None
    if stat.S_ISDIR(status.st_mode):
        raise error(f"{path}: a folder where a file is expected; {remedy}")
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{path}: not a regular file; {remedy}")
    return status.st_size


def read_bytes(path: Path, remedy: str, error: type[SampleCNNError] = SampleCNNError) -> bytes:
    """The content of a regular file of at most MAX_BYTES. Raises as `require_file`, and for a larger file."""
    size = require_file(path, remedy, error)
    if size > MAX_BYTES:
        raise error(f"{path}: {size:,} bytes, more than the {MAX_BYTES:,} that such a file can have; {remedy}")
    return path.read_bytes()


def read_text(path: Path, remedy: str, error: type[SampleCNNError] = SampleCNNError) -> str:
    """The text of a UTF-8 file, without byte order mark. Raises as `read_bytes`, and where it is not UTF-8."""
    return decoded(read_bytes(path, remedy, error), path, remedy, error)


def decoded(data: bytes, path: Path, remedy: str, error: type[SampleCNNError] = SampleCNNError) -> str:
    """The text of bytes that were read from a UTF-8 file, without byte order mark. Raises where they are not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise error(f"{path}, line {line}: not UTF-8 text; {remedy}") from None


def read_object(path: Path, remedy: str, rule: Rule, error: type[SampleCNNError] = SampleCNNError) -> dict[str, Any]:
    """The JSON object in a file, checked. Raises as `read_text`, and where it is not JSON or breaks the rule."""
    return parse_object(read_text(path, remedy, error), str(path), remedy, rule, error)


def parse_object(
    text: str | bytes, where: str, remedy: str, rule: Rule, error: type[SampleCNNError] = SampleCNNError
) -> dict[str, Any]:
    """The JSON object in a text, checked. `where` begins the message: a file, or a line of it."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise error(f"{where}: damaged, not JSON ({_reason(fault)}); {remedy}") from fault
    check(values, rule, where, remedy, error)
    return values


def find_object(path: Path, rule: Rule) -> dict[str, Any] | None:
    """The same for a file that can be made again: None where it is absent, damaged or breaks the rule."""
    try:
        return read_object(path, "", rule)
    except (OSError, SampleCNNError):
        return None


def check(value: Any, rule: Rule, where: str, remedy: str, error: type[SampleCNNError] = SampleCNNError) -> None:
    """Raises the error, in one line, where a value breaks a rule."""
    problem = rule(value, "")
    if problem:
        raise error(f"{where}: {problem}; {remedy}")


def is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) <= most


def is_number(value: Any) -> bool:
    """Whether it is a finite real number; also false for an integer that no float can hold."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def is_text(value: Any, most: int) -> bool:
    """Whether it is a text of at most that many characters that UTF-8 can hold."""
    if not isinstance(value, str) or len(value) > most:
        return False
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def whole(least: int, most: int) -> Rule:
    return _rule(f"a whole number from {least:,} to {most:,}", lambda value: is_whole(value, least, most))


def number(least: float = -math.inf, most: float = math.inf, above: bool = False) -> Rule:
    """A finite number from `least` to `most`; with `above`, more than `least`."""
    words = "a finite number"
    if least > -math.inf:
        words += f" {'above' if above else 'of at least'} {least:g}"
    if most < math.inf:
        words += f"{' and' if least > -math.inf else ' of'} at most {most:g}"

    def fits(value: Any) -> bool:
        return is_number(value) and least <= value <= most and not (above and value == least)

    return _rule(words, fits)


def score() -> Rule:
    """A number that is NaN or null where it is not defined, as the ROC-AUC of a class without clips."""
    return _rule("a number", lambda value: value is None or is_number(value) or value != value)


def text(most: int, least: int = 0) -> Rule:
    words = f"a text of {f'{least} to' if least else 'at most'} {most:,} characters"
    return _rule(words, lambda value: is_text(value, most) and len(value) >= least)


def line(most: int) -> Rule:
    """A text without control characters, as a header of HTTP takes it."""
    words = f"one line of at most {most:,} characters"
    return _rule(words, lambda value: is_text(value, most) and (not value or value.isprintable()))


def file_name() -> Rule:
    """A path as Python represents it: bytes that are not UTF-8 are lone surrogates."""
    return _rule("a path", lambda value: isinstance(value, str) and len(value) <= MAX_PATH)


def choice(*names: str) -> Rule:
    words = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return _rule(words, lambda value: isinstance(value, str) and value in names)


def flag() -> Rule:
    return _rule("true or false", lambda value: isinstance(value, bool))


def anything() -> Rule:
    return lambda value, key: ""


def or_null(rule: Rule) -> Rule:
    return lambda value, key: "" if value is None else rule(value, key)


def list_of(rule: Rule, most: int = MAX_BYTES, least: int = 0) -> Rule:
    def problem(value: Any, key: str) -> str:
        if not isinstance(value, list | tuple):
            return _wrong(key, "a list", value)
        if not least <= len(value) <= most:
            return f"{key or 'the list'} must have {least:,} to {most:,} entries, not {len(value):,}"
        return next(filter(None, (rule(item, f"{key}[{number}]") for number, item in enumerate(value))), "")

    return problem


def row_of(*rules: Rule) -> Rule:
    """A list with as many entries as there are rules, one for each."""

    def problem(value: Any, key: str) -> str:
        if not isinstance(value, list | tuple) or len(value) != len(rules):
            return _wrong(key, f"a list of {len(rules)} entries", value)
        pairs = enumerate(zip(rules, value, strict=True))
        return next(filter(None, (rule(item, f"{key}[{number}]") for number, (rule, item) in pairs)), "")

    return problem


def table_of(rule: Rule, names: Rule | None = None) -> Rule:
    """An object of any keys, whose values are all alike."""

    def problem(value: Any, key: str) -> str:
        if not isinstance(value, dict):
            return _wrong(key, "an object", value)
        for name, item in value.items():
            found = (names or _NAME)(name, f"a key of {key or 'the object'}") or rule(item, _inner(key, name))
            if found:
                return found
        return ""

    return problem


def fields(rules: Mapping[str, Rule], optional: Iterable[str] = ()) -> Rule:
    """An object with these keys; other keys are allowed, so that later versions can add some."""
    spare = frozenset(optional)

    def problem(value: Any, key: str) -> str:
        if not isinstance(value, dict):
            return _wrong(key, "an object", value)
        for name, rule in rules.items():
            if name in value:
                found = rule(value[name], _inner(key, name))
                if found:
                    return found
            elif name not in spare:
                return f"{_inner(key, name)} is missing"
        return ""

    return problem


def shown(value: Any) -> str:
    """A wrong value for a message: short, in one line, whatever it is."""
    try:
        words = reprlib.repr(value)
    except Exception:  # a number of more digits than Python prints, an object whose repr fails
        words = f"a {type(value).__name__}"
    return words if len(words) <= SHOWN else f"{words[: SHOWN - 1]}…"


def _rule(words: str, fits: Callable[[Any], bool]) -> Rule:
    return lambda value, key: "" if fits(value) else _wrong(key, words, value)


def _wrong(key: str, words: str, value: Any) -> str:
    return f"{key or 'it'} must be {words}, not {shown(value)}"


def _inner(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)


def _reason(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).partition("\n")[0]


_NAME = text(10_000)
