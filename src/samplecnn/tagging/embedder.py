"""Embeddings as features for scikit-learn, which need not be installed."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.errors import AudioError, UsageError
from samplecnn.tagging.sources import as_file
from samplecnn.tagging.tagger import Tagger

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN


class Embedder:
    """Turns recordings into vectors: a transformer for scikit-learn pipelines. Nothing is fitted.

    Args:
        model: see `Tagger`.
        layer: "hidden", the last hidden layer, or a block's number; see `Tagger`.
        hop, batch_size, device, engine, precision: see `Tagger`.

    Example:
        >>> embedder = Embedder("log/20261122_101500-sounds-se_multi")
        >>> embedder.transform(["hum.wav", {"array": np.zeros(8000), "sampling_rate": 8000}]).shape
        (2, 64)
    """

    def __init__(
        self,
        model: "SampleCNN | str | Path",
        layer: int | str = "hidden",
        *,
        hop: float | None = None,
        batch_size: int = 32,
        device: str | None = None,
        engine: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.model, self.layer, self.hop, self.batch_size = model, layer, hop, batch_size
        self.device, self.engine, self.precision = device, engine, precision
        self._opened: tuple[dict[str, Any], Tagger] | None = None

    @property
    def tagger(self) -> Tagger:
        """A Tagger with the current parameters, opened on first use.

        Raises:
            UsageError: see `Tagger`.
        """
        options = self.get_params()
        if self._opened is None or self._opened[0] != options:
            options = dict(options)
            model, layer = options.pop("model"), options.pop("layer")
            self._opened = self.get_params(), Tagger(model, embedding=layer, **options)
        return self._opened[1]

    def fit(self, recordings: Any, labels: Any = None) -> "Embedder":
        """Only checks that the model can be opened."""
        _ = self.tagger
        return self

    def transform(self, recordings: Iterable[Any]) -> np.ndarray:
        """The embedding of every recording, the mean over its windows, float32 [recordings, size].

        Args:
            recordings: paths, open files, bytes, or {"array": waveform, "sampling_rate": Hz}.

        Raises:
            AudioError: the first recording that cannot be used.
        """
        if isinstance(recordings, str | bytes | Path):
            raise UsageError("the Embedder takes a list of recordings, not one")
        found = []
        for _, tags in self.tagger.tag_files([as_file(each, None) for each in recordings]):  # type: ignore[misc]
            if isinstance(tags, AudioError):
                raise tags
            found.append(tags.embedding)
        return np.stack(found) if found else np.empty((0, self.size), np.float32)

    def fit_transform(self, recordings: Iterable[Any], labels: Any = None, **parameters: Any) -> np.ndarray:
        """`transform`."""
        return self.transform(recordings)

    @property
    def size(self) -> int:
        """Length of an embedding."""
        return self.tagger.engine.width - len(self.tagger.classes)

    def get_feature_names_out(self, names: Any = None) -> np.ndarray:
        """Names of the features, required by scikit-learn."""
        return np.array([f"embedding{number}" for number in range(self.size)], dtype=object)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments, by name."""
        names = ("model", "layer", "hop", "batch_size", "device", "engine", "precision")
        return {name: getattr(self, name) for name in names}

    def set_params(self, **parameters: Any) -> "Embedder":
        """Sets parameters.

        Raises:
            UsageError: an unknown one.
        """
        for name, value in parameters.items():
            if name not in self.get_params():
                raise UsageError(f"an Embedder has no parameter {name!r}; use {', '.join(self.get_params())}")
            setattr(self, name, value)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        """Estimator tags for scikit-learn 1.6 and later; as only scikit-learn calls this, it can be imported here."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="transformer",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(),
            input_tags=InputTags(string=True, two_d_array=False),
            requires_fit=False,
        )

    def __getstate__(self) -> dict[str, Any]:
        """The state without the open engine, which is opened again on first use."""
        return {**self.__dict__, "_opened": None}

    def __repr__(self) -> str:
        return f"Embedder({self.model!r}, layer={self.layer!r})"
