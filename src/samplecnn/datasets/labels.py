"""Maps class names to class indices."""

from collections.abc import Iterable, Sequence


class LabelEncoder:
    """Encodes label names as the indices of a task's classes.

    Args:
        classes: class names in the order of the model's outputs.

    Example:
        >>> encoder = LabelEncoder(("cat", "dog", "owl"))
        >>> encoder.encode(["owl", "cat"]), encoder.encode([])
        ((0, 2), ())
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._index = {name: index for index, name in enumerate(classes)}
        self._encoded: dict[tuple[str, ...], tuple[int, ...]] = {}  # equal label sets share one tuple

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def encode(self, names: Iterable[str]) -> tuple[int, ...]:
        """Indices of the names, ascending, each once. Raises KeyError for a name that is not a class."""
        key = tuple(names)
        found = self._encoded.get(key)
        if found is None:
            found = self._encoded[key] = tuple(sorted({self._index[name] for name in key}))
        return found
