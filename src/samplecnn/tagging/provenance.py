"""Provenance of tags: model, program version, engine and decoders, as plain values for outputs."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn import __version__
from samplecnn.extras import is_installed
from samplecnn.mixing import RESAMPLING_QUALITY
from samplecnn.model_files import WEIGHTS, calibration_of
from samplecnn.zoo.packaged import resolved

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.tagging.tagger import Tagger


def model_digest(model: "SampleCNN | str | Path") -> str:
    """SHA-256 of a model's weights file; "" for a model in memory."""
    if not isinstance(model, str | Path):
        return ""
    import hashlib

    path = resolved(model)
    with suppress(OSError), (path / WEIGHTS if path.is_dir() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return ""


def scores_digest(model: "SampleCNN | str | Path", digest: str) -> str:
    """A hash of everything that determines a model's scores: its weights and, if it has one, its calibration."""
    calibration = calibration_of(model) if isinstance(model, str | Path) and digest else None
    if calibration is None:
        return digest
    import hashlib

    return hashlib.sha256(f"{digest}{json.dumps(calibration, sort_keys=True)}".encode()).hexdigest()


def decoder() -> str:
    """Names and versions of the libraries that decode and resample.

    Example:
        >>> decoder().startswith("libsndfile ")
        True
    """
    import soundfile
    import soxr

    libraries = [f"libsndfile {soundfile.__libsndfile_version__}", f"soxr {soxr.__version__} {RESAMPLING_QUALITY}"]
    if is_installed("av"):
        from importlib.metadata import version

        libraries.insert(1, f"PyAV {version('av')}")
    return ", ".join(libraries)


def provenance(tagger: "Tagger", digest: str) -> dict[str, Any]:
    """Provenance of a tagger's tags: program version, hash of the model, engine, precision, hop in seconds,
    decoders.
    """
    return {
        "samplecnn": __version__,
        "model_sha256": digest,
        "engine": tagger.engine.name,
        "precision": tagger.engine.precision,
        "hop": tagger.hop / tagger.task.sample_rate,
        "sample_rate": tagger.task.sample_rate,
        "decoder": decoder(),
    }


def provenance_lines(about: dict[str, Any]) -> list[str]:
    """Lines such as "engine: openvino" for a comment in a text file."""
    flat = {**about, **about.get("provenance", {})}
    return [f"{key}: {value}" for key, value in flat.items() if key != "provenance" and value not in ("", None)]
