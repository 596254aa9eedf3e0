"""A tiny built data set of real sounds: tones, sweeps and noise in a folder of classes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE, WINDOW = 8000, 729


def sound(kind: str, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(WINDOW) / RATE
    if kind == "low":
        wave = np.sin(2 * np.pi * rng.uniform(150, 300) * time + rng.uniform(0, 6))
    elif kind == "high":
        wave = np.sin(2 * np.pi * rng.uniform(1500, 2500) * time + rng.uniform(0, 6))
    else:
        wave = rng.standard_normal(WINDOW)
    return 0.3 * wave + 0.01 * rng.standard_normal(WINDOW)


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """DATA with the built multiclass data set "sounds" and the multilabel one "labels"."""
    from samplecnn import build

    folder = tmp_path_factory.mktemp("training")
    rng = np.random.default_rng(0)
    rows = ["path,labels"]
    for kind in ("high", "low", "noise"):
        for index in range(30):
            path = folder / "sounds" / kind / f"{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound(kind, rng), RATE)
            rows.append(f"sounds/{kind}/{index}.wav,{kind}{'|tonal' if kind != 'noise' else ''}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    for spec in ("sounds", "labels.csv"):
        build(str(folder / spec), folder / "data", workers=1, sample_rate=RATE, window=WINDOW)
    return folder
